//! The command line that every program built with the sdk has: `run`, `worker`, `submit`.
//!
//! The `gristmill` binary uses the same commands with the ready-made jobs and adds its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use gristmill_worker::Programs;

use crate::typed::Job;

pub mod code_args;
pub mod connect;
pub mod exit;
pub mod follow;
pub mod format_args;
pub mod job_args;
pub mod output_args;
pub mod pack;
pub mod paths;
pub mod progress;
pub mod ready;
pub mod run;
pub mod signals;
pub mod spec_file;
pub mod submit;
pub mod upload;
pub mod wasm_args;
pub mod words;
pub mod worker;

use exit::Exit;

/// A program of one or more jobs with a command line.
///
/// ```no_run
/// use gristmill_sdk::prelude::*;
/// fn main() -> ExitCode {
///     App::new().job("words", gristmill_sdk::jobs::word_count()).run()
/// }
/// ```
#[derive(Default)]
pub struct App {
    programs: Programs,
}

#[derive(Parser)]
#[command(version, about = "A Gristmill program: run its jobs here, serve them as a worker, or submit them")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a job in this process, without a server
    Run(Box<run::RunArgs>),
    /// Serve a coordinator with this machine's slots
    Worker(Box<worker::WorkerArgs>),
    /// Hand a job to a running coordinator
    Submit(Box<submit::SubmitArgs>),
}

impl App {
    /// Makes a program without jobs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job under a name.
    #[must_use]
    pub fn job(mut self, name: &str, job: impl Into<Job>) -> Self {
        self.programs = self.programs.with(name, Arc::new(job.into()));
        self
    }

    /// Reads the command line and does what it says.
    pub fn run(self) -> ExitCode {
        if let Some(code) = gristmill_worker::executor::run_if_asked(&self.programs) {
            return code;
        }
        let line = Line::parse();
        let programs = self.programs;
        let long_running = matches!(line.command, Command::Worker(_));
        block_on(long_running, async move {
            match line.command {
                Command::Run(args) => run::run(&args, programs).await,
                Command::Worker(args) => worker::run(&args, programs).await,
                Command::Submit(args) => submit::run(&args, &programs).await,
            }
        })
    }
}

/// Starts logging and the runtime, runs the command, and reports its error.
pub fn block_on(long_running: bool, command: impl Future<Output = anyhow::Result<Exit>>) -> ExitCode {
    start_logging(long_running);
    gristmill_client::install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(Err(error.into())).into(),
    };
    let exit = exit::report(runtime.block_on(command));
    // Reads of a terminal's stdin cannot be cancelled; they must not keep the process alive.
    runtime.shutdown_background();
    exit.into()
}

/// Logs to stderr: `GRISTMILL_LOG`, by default `info` for servers and nothing for commands.
fn start_logging(long_running: bool) {
    // A command says its errors itself; those of the coordinator within `run` are among them.
    let default = if long_running { "info" } else { "off" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GRISTMILL_LOG").unwrap_or_else(|_| default.into());
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).try_init();
}

/// Returns the number of processors that this process may use.
#[must_use]
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }
}
