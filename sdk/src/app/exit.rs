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
        if error.chain().any(|cause| cause.is::<Usage>()) {
            return Self::Usage;
        }
        match error.chain().find_map(|cause| cause.downcast_ref::<ClientError>()) {
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

/// A mistake on the command line that only shows when its parts are put together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Prints an error with its causes on stderr and returns its exit.
#[expect(clippy::print_stderr, reason = "this is where errors reach the person")]
pub fn report(result: anyhow::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {}", sentence(&error));
            Exit::of_error(&error)
        }
    }
}

/// Joins an error and its causes, leaving out causes that the text before quotes already.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_quoted_cause_is_said_once() {
        let inner = || anyhow::anyhow!("no such file");
        assert_eq!(sentence(&inner().context("cannot read a")), "cannot read a: no such file");
        assert_eq!(sentence(&inner().context("cannot read a: no such file")), "cannot read a: no such file");
    }

    #[test]
    fn the_exit_code_looks_through_the_context() {
        let refused = ClientError::Unauthorized { url: String::new(), detail: String::new() };
        let error = Err::<(), _>(refused).context("the worker ended").expect_err("an error");
        assert_eq!(Exit::of_error(&error), Exit::Unreachable);
    }
}
