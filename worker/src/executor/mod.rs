//! Where user code runs: one attempt at a time, in a process of its own or, embedded, on a thread. The same loop either way.
//!
//! An executor is told which tasks of which grant to run and says how they ended. It holds grants' tokens and never the
//! worker's. It may die at any moment: what it does before its reply is in its scratch directory or under names that only
//! this attempt uses.

mod arrivals;
mod attempt;
mod coordinator;
mod fetch;
mod guard;
mod inputs;
mod outputs;
mod pipe;
mod printed;
mod protocol;
mod replay;
mod sections;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::wire::Outcome;
use gristmill_common::{Reason, TaskRange};

pub(crate) use attempt::place;
pub(crate) use coordinator::{Coordinator, RemoteReader, worker_failure};
pub(crate) use outputs::file_body;
pub(crate) use pipe::ChannelLink;
pub(crate) use printed::{Printed, left_behind};
pub(crate) use protocol::{Hello, LINE_BYTES, Order, RangeResult, Reply};
pub use replay::{Replay, Replayed, replay};

use crate::command::{self, SPAWNER_ARGUMENT};
use crate::config::EXECUTOR_ARGUMENT;
use crate::position::Position;
use crate::program::Programs;
use crate::supervisor::clock::Stopwatch;
use attempt::{Attempts, Setback};
use pipe::{Link, PipeLink};

/// Results wait at most this long before they are sent, in microseconds.
const FLUSH_US: u64 = 20_000;
/// Results of this weight are sent at once: outputs inside them are kept in memory.
const FLUSH_RESULTS: usize = 64;
/// Name of the file in which an executor says where it is, in its scratch directory.
pub(crate) const POSITION_FILE: &str = "position";

/// Serves a supervisor, or an executor that runs commands, if this process was started for that; `None` if it was not. Call it first in `main`: everything that
/// a program prints before would disturb the protocol.
#[must_use]
pub fn run_if_asked(programs: &Programs) -> Option<ExitCode> {
    let argument = std::env::args_os().nth(1)?;
    if argument == EXECUTOR_ARGUMENT {
        return Some(main(programs));
    }
    (argument == SPAWNER_ARGUMENT).then(command::spawner_main)
}

/// Serves the supervisor at the other end of stdin and stdout, until it is gone.
#[must_use]
pub fn main(programs: &Programs) -> ExitCode {
    let served = PipeLink::take_stdio().and_then(|mut link| {
        let Some(Order::Hello(hello)) = link.receive() else {
            return Err(std::io::Error::other("this is started by a worker, not by a person"));
        };
        let position = Arc::new(Position::at_path(&hello.scratch.join(POSITION_FILE))?);
        let printed = Printed::take_stdio(&hello.scratch)?;
        serve(&mut link, &hello, programs, position, Arc::new(AtomicBool::new(false)), Some(printed))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the executor cannot work");
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "an executor has no log of its own; its stderr is the worker's")]
fn complain(error: &std::io::Error) {
    eprintln!("executor: {error}");
}

/// Runs what is ordered until there are no more orders. `printed` catches what native user code prints; a thread has no
/// standard streams of its own.
pub(crate) fn serve(
    link: &mut dyn Link,
    hello: &Hello,
    programs: &Programs,
    position: Arc<Position>,
    cancel: Arc<AtomicBool>,
    printed: Option<Printed>,
) -> std::io::Result<()> {
    let mut attempts = Attempts::new(hello, programs, position, Arc::clone(&cancel), printed)?;
    while let Some(order) = link.receive() {
        let Order::Run { token, tasks } = order else { continue };
        if !run_batch(link, &mut attempts, &token, tasks, &cancel) || !link.send(Reply::Idle) {
            break;
        }
    }
    Ok(())
}

/// Returns `false` when nobody wants the rest.
fn run_batch(
    link: &mut dyn Link,
    attempts: &mut Attempts<'_>,
    token: &str,
    tasks: TaskRange,
    cancel: &AtomicBool,
) -> bool {
    let batch = match attempts.prepare(token) {
        Ok(batch) => batch,
        Err(Setback::Failed(reason)) => return link.send(Reply::Ended(vec![failed(tasks, reason)])),
        Err(Setback::NotNow) => return link.send(Reply::Returned(tasks)),
    };
    let files = batch.files(tasks);
    if !link.send(Reply::Begun { progress_timeout_ms: batch.progress_timeout_ms(), files }) {
        return false;
    }
    let mut results: Vec<RangeResult> = Vec::new();
    let mut watch = Stopwatch::start();
    for task in tasks.iter() {
        if cancel.load(Ordering::Relaxed) {
            return false;
        }
        match attempts.run(&batch, task) {
            Some((outcome, took_us)) => add(&mut results, task, outcome, took_us),
            None if link.send(Reply::Returned(TaskRange::one(task))) => {}
            None => return false,
        }
        if results.len() >= FLUSH_RESULTS || watch.elapsed_us() >= FLUSH_US {
            if !link.send(Reply::Ended(std::mem::take(&mut results))) {
                return false;
            }
            watch = Stopwatch::start();
        }
    }
    results.is_empty() || link.send(Reply::Ended(results))
}

fn failed(tasks: TaskRange, reason: Reason) -> RangeResult {
    RangeResult { tasks, outcome: Outcome::Failed(reason), took_us: 0 }
}

/// Adds a result to the range before it if both ended alike.
fn add(results: &mut Vec<RangeResult>, task: u32, outcome: Outcome, took_us: u64) {
    match results.last_mut() {
        Some(last) if last.tasks.end() == task && last.outcome == outcome => {
            let before = u64::from(last.tasks.count);
            last.took_us = (last.took_us * before + took_us) / (before + 1);
            last.tasks.count += 1;
        }
        _ => results.push(RangeResult { tasks: TaskRange::one(task), outcome, took_us }),
    }
}
