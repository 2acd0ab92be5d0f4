//! The `gristmill` command: a table of contents, one command per file.
//!
//! `run`, `worker` and `submit` are the sdk's, so that a user's own program has the same ones. A library, so that a
//! binary with more programs (the tests' one) is the same command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gristmill_coordinator::CoordinatorArgs;
use gristmill_sdk::app::{self, run, submit, worker as serve};
use gristmill_worker::Programs;

mod commands;
mod hadoop;
mod save;
mod table;
mod transfer;
mod view;

use commands::{completion, coordinator, dev, hadoop as hadoop_command, job, output, store, worker};

/// MapReduce for any fleet you can reach over HTTP.
#[derive(Parser)]
#[command(name = "gristmill", version)]
#[command(after_help = "\
First minute:
  gristmill run word-count 'logs/*.gz' -o counts.tsv     a job on this machine, no server
  gristmill run --mapper ./map.py --reducer ./red.py books/ -o counts.tsv
                                                         your own code in any language
  gristmill coordinator --listen 0.0.0.0:4750            prints the line to paste on every worker
  gristmill submit word-count 'logs/*.gz'                the same job on all of them

Exit codes: 0 ok, 1 error, 2 usage, 3 job failed, 4 cancelled, 5 unreachable or refused, 124 wait timed out, 130 Ctrl-C")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a job in this process, without a server
    Run(Box<run::RunArgs>),
    /// Start a coordinator and workers in one process, to try things out
    Dev(dev::DevArgs),
    /// Start a coordinator: takes jobs, hands their tasks to workers
    Coordinator(Box<CoordinatorArgs>),
    /// Serve a coordinator with this machine's slots; `worker ls` and `worker drain` look after them
    Worker(Box<worker::WorkerLine>),
    /// Hand a job to a running coordinator
    Submit(Box<submit::SubmitArgs>),
    /// List, show, explain, wait for, cancel and remove jobs
    Job(job::JobArgs),
    /// Print the output of a job
    Output(output::OutputArgs),
    /// Upload files to the coordinator's store
    Put(store::PutArgs),
    /// Download files from the coordinator's store
    Get(store::GetArgs),
    /// List and delete files of the coordinator's store
    Store(store::StoreArgs),
    /// Print what makes bash, zsh or fish complete this command
    Completion(completion::CompletionArgs),
    /// Speak Hadoop: `hadoop fs`, `hadoop jar …streaming.jar`, for mrjob and scripts; also through a link named `hadoop`
    Hadoop(hadoop_command::HadoopArgs),
}

/// Reads the command line and does what it says, with these programs.
pub fn main(programs: Programs) -> ExitCode {
    if let Some(code) = gristmill_worker::executor::run_if_asked(&programs) {
        return code;
    }
    if let Some(args) = hadoop::called_as_hadoop(std::env::args_os()) {
        return app::block_on(false, async move { hadoop::run(&args).await });
    }
    let line = match app::ready::parse(std::env::args_os()) {
        None => Line::parse(),
        Some(Ok(app::ready::Line::Run(args))) => Line { command: Command::Run(args) },
        Some(Ok(app::ready::Line::Submit(args))) => Line { command: Command::Submit(args) },
        Some(Err(error)) => error.exit(),
    };
    let long_running = match &line.command {
        Command::Coordinator(_) => true,
        Command::Worker(args) => args.serves(),
        _ => false,
    };
    app::block_on(long_running, async move {
        match line.command {
            Command::Run(args) => run::run(&args, programs).await,
            Command::Coordinator(args) => coordinator::run(*args).await,
            Command::Worker(args) => match args.command {
                None => serve::run(&args.serve, programs).await,
                Some(command) => worker::run(&command).await,
            },
            Command::Submit(args) => submit::run(&args, &programs).await,
            Command::Job(args) => job::run(&args, programs).await,
            Command::Output(args) => output::run(&args).await,
            Command::Dev(args) => dev::run(&args, programs).await,
            Command::Put(args) => store::put(&args).await,
            Command::Get(args) => store::get(&args).await,
            Command::Store(args) => store::run(&args).await,
            Command::Completion(args) => completion::run::<Line>(&args),
            Command::Hadoop(args) => hadoop_command::run(&args).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn serving_and_looking_after_workers_do_not_mix() {
        assert!(Line::try_parse_from(["gristmill", "worker", "--join", "http://127.0.0.1#.t"]).is_ok());
        assert!(Line::try_parse_from(["gristmill", "worker", "ls"]).is_ok());
        assert!(Line::try_parse_from(["gristmill", "worker", "--join", "http://127.0.0.1#.t", "ls"]).is_err());
    }
}
