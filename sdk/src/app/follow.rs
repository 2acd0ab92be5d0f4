//! Waits for a job to end while a person watches, and hands its output on.

use std::time::Duration;

use anyhow::{Context, Result};
use gristmill_client::{Client, Download, retry};
use gristmill_common::JobId;
use gristmill_common::api::JobView;
use tokio::io::AsyncWriteExt as _;

use super::progress::Progress;
use super::signals;

/// How often the display is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// After this many redraws without a running task, three seconds, the reason is asked for.
const IDLE_REDRAWS: u64 = 15;

/// How long a coordinator may be away before watching gives up; the job is not affected.
const PATIENCE: Duration = Duration::from_secs(600);

/// How watching a job ended.
#[derive(Debug)]
pub enum Watched {
    /// The job is over.
    Over(Box<JobView>),
    /// Ctrl-C came first.
    Interrupted,
    /// The time given ran out first.
    TimedOut(Box<JobView>),
}

/// Watches a job until it is over, Ctrl-C, or `limit`.
///
/// # Errors
/// If the coordinator refuses, or stays out of reach longer than the client tries.
pub async fn watch(client: &Client, job: JobId, progress: &mut Progress, limit: Option<Duration>) -> Result<Watched> {
    let interrupt = signals::stop();
    let out_of_time = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(interrupt, out_of_time);
    let mut last = client.job(&job.to_string(), None).await?;
    let mut idle = Idle::default();
    loop {
        progress.show(&last);
        if last.state.is_over() {
            return Ok(Watched::Over(Box::new(last)));
        }
        if idle.is_due(&last)
            && let Ok(why) = client.explain(&job.to_string(), None).await
        {
            idle.say(&why.lines, progress);
        }
        let id = job.to_string();
        tokio::select! {
            view = retry::idempotent(PATIENCE, || client.job(&id, Some(REDRAW))) => last = view?,
            () = &mut interrupt => return Ok(Watched::Interrupted),
            () = &mut out_of_time => return Ok(Watched::TimedOut(Box::new(last))),
        }
    }
}

/// Says why a job stands still, once for each reason: no worker, no program, no room.
#[derive(Default)]
struct Idle {
    redraws: u64,
    won: u64,
    said: Vec<String>,
}

impl Idle {
    /// Says whether nothing has run for a while.
    fn is_due(&mut self, job: &JobView) -> bool {
        let won = job.stages.iter().map(|stage| u64::from(stage.won)).sum();
        if won != self.won || job.stages.iter().any(|stage| stage.running > 0) {
            (self.redraws, self.won) = (0, won);
            return false;
        }
        self.redraws += 1;
        self.redraws.is_multiple_of(IDLE_REDRAWS)
    }

    fn say(&mut self, why: &[String], progress: &Progress) {
        if self.said != why {
            progress.warn("nothing runs:");
            why.iter().for_each(|line| progress.warn(&format!("  {line}")));
            self.said = why.to_vec();
        }
    }
}

/// Copies the output of a succeeded job to stdout: merged by key, or concatenated when it has no order.
///
/// # Errors
/// If the output cannot be read or stdout cannot be written; a closed pipe is not an error.
pub async fn print_output(client: &Client, job: JobId, merged: bool) -> Result<()> {
    print(client.output(&job.to_string(), merged, None).await?).await
}

/// Copies what comes to stdout.
///
/// # Errors
/// If it cannot be read or stdout cannot be written; a closed pipe is not an error.
pub async fn print(mut download: Download) -> Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(chunk) = download.chunk().await? {
        match stdout.write_all(&chunk).await {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("cannot write to stdout")?,
        }
    }
    match stdout.flush().await {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Says whether a job's output has a key order: its last step has a reduce stage.
#[must_use]
pub fn is_ordered(job: &JobView) -> bool {
    job.spec.steps.last().is_some_and(|step| step.reduce)
}
