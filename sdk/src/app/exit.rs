//! Exit codes, the same for every command.

use std::process::ExitCode;

use gristmill_client::ClientError;
use gristmill_common::Code;
use gristmill_common::api::{JobState, JobView};

/// How a command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed; it was said on stderr.
    Error = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The job failed.
    JobFailed = 3,
    /// The job was cancelled.
    Cancelled = 4,
    /// The coordinator cannot be reached or refused.
    Unreachable = 5,
    /// The wait timed out.
    TimedOut = 124,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Returns the exit that tells how a job ended.
    #[must_use]
    pub fn of_job(job: &JobView) -> Self {
        match job.state {
            JobState::Succeeded => Self::Ok,
            JobState::Cancelled => Self::Cancelled,
            JobState::Failed => Self::JobFailed,
            JobState::Planning | JobState::Running | JobState::Committing => Self::TimedOut,
        }
    }

    /// Returns the exit that goes with an error.
    #[must_use]
    pub fn of_error(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Problem(problem)) => match problem.code {
                Code::Unauthorized | Code::Forbidden | Code::Unavailable => Self::Unreachable,
                _ => Self::Error,
            },
            Some(_) => Self::Unreachable,
            None => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints an error with its causes on stderr and returns its exit.
#[expect(clippy::print_stderr, reason = "this is where errors reach the person")]
pub fn report(result: anyhow::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::of_error(&error)
        }
    }
}
