//! Watches a job and says what happens to it, until it is over or Ctrl-C.

use std::time::Duration;

use anyhow::Result;
use gristmill_client::{Client, ClientError, retry};
use gristmill_common::api::{JobState, JobView};
use gristmill_common::{JobId, Reason, Stage, TaskName};
use gristmill_sdk::app::exit::Exit;
use gristmill_sdk::app::signals;
use serde::Deserialize;

use super::narrator::{FailedAttempt, Narrator};
use crate::hadoop::place::Place;

/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a coordinator may be away before watching gives up; the job is not affected.
const PATIENCE: Duration = Duration::from_secs(600);
/// After this many looks without a running task, three seconds, the reason is asked for.
const IDLE_LOOKS: u32 = 6;
/// Lines of a failed attempt's log that are shown.
const LOG_LINES: usize = 20;
/// Bytes of a failed attempt's log that are read: two halves, as they are kept, and its header.
const LOG_BYTES: usize = 4 << 20;
/// Events of a job asked for at a time.
const EVENTS: usize = 500;

/// A failed attempt among a job's events.
#[derive(Deserialize)]
struct Failed {
    step: u16,
    stage: Stage,
    task: u32,
    fence: u64,
    reason: Reason,
}

/// What was said so far.
struct Watch<'a> {
    client: &'a Client,
    job: JobId,
    narrator: Narrator,
    /// Sequence number of the last event that was looked at.
    seen: u64,
    cursor: Option<String>,
    idle: u32,
    why: Vec<String>,
}

/// Watches a job until it is over; says where its output is.
pub(super) async fn to_the_end(client: &Client, job: &JobView, narrator: Narrator, output: &Place) -> Result<Exit> {
    let mut watch = Watch { client, job: job.id, narrator, seen: 0, cursor: None, idle: 0, why: Vec::new() };
    let interrupt = signals::stop();
    tokio::pin!(interrupt);
    let id = job.id.to_string();
    let mut last = job.clone();
    while !last.state.is_over() {
        watch.narrator.progress(&last);
        watch.failures(&last).await;
        watch.explain_if_idle(&last).await;
        tokio::select! {
            view = retry::idempotent(PATIENCE, || client.job(&id, Some(LOOK))) => last = view?,
            () = &mut interrupt => {
                let advice = format!("the job goes on; end it with: gristmill job cancel {id}");
                watch.narrator.warn("streaming.StreamJob", &advice);
                return Ok(Exit::Interrupted);
            }
        }
    }
    watch.failures(&last).await;
    let is_success = last.state == JobState::Succeeded;
    watch.narrator.ended(&last, is_success);
    if is_success {
        watch.narrator.info("streaming.StreamJob", &format!("Output directory: {}", output.qualified()));
        return Ok(Exit::Ok);
    }
    watch.narrator.error("Job not successful!");
    Ok(Exit::Error)
}

impl Watch<'_> {
    /// Says which attempts failed since the last look. That the job can be watched matters more than this.
    async fn failures(&mut self, job: &JobView) {
        if job.stages.iter().all(|stage| stage.failures == 0) && job.failure.is_none() {
            return;
        }
        if let Err(error) = self.new_failures().await {
            tracing::debug!(%error, "the job's history cannot be read");
        }
    }

    async fn new_failures(&mut self) -> Result<(), ClientError> {
        loop {
            let page = self.client.events(&self.job.to_string(), Some(EVENTS), self.cursor.as_deref()).await?;
            for event in page.events.iter().filter(|event| event.seq > self.seen && event.kind == "failed") {
                if let Ok(failed) = serde_json::from_value::<Failed>(event.entry.clone()) {
                    self.failure(&failed).await;
                }
            }
            self.seen = page.events.last().map_or(self.seen, |event| event.seq.max(self.seen));
            // The last page is asked for again: it may have grown.
            let Some(next) = page.next_cursor else { return Ok(()) };
            self.cursor = Some(next);
        }
    }

    async fn failure(&self, failed: &Failed) {
        let Failed { step, stage, task, fence, reason } = failed;
        let name = TaskName { step: *step, stage: *stage, index: *task };
        let log = self.log(name, *fence).await.unwrap_or_default();
        let (job, stage, task, fence) = (self.job, *stage, *task, *fence);
        self.narrator.failed_attempt(&FailedAttempt { job, stage, task, fence, reason, log: &log });
    }

    /// Reads the last lines of an attempt's log.
    async fn log(&self, task: TaskName, fence: u64) -> Result<String, ClientError> {
        let log = self.client.logs(&self.job.to_string(), Some(task), Some(fence), None).await?;
        let log = log.whole(LOG_BYTES).await?;
        let log = String::from_utf8_lossy(&log);
        // The first line says whose log it is.
        let lines: Vec<&str> = log.lines().skip(1).collect();
        Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }

    /// Says why a job stands still, once for each reason: no worker, none that allows commands.
    async fn explain_if_idle(&mut self, job: &JobView) {
        let is_idle = job.state != JobState::Committing && job.stages.iter().all(|stage| stage.running == 0);
        self.idle = if is_idle { self.idle + 1 } else { 0 };
        if self.idle == 0 || !self.idle.is_multiple_of(IDLE_LOOKS) {
            return;
        }
        if let Ok(why) = self.client.explain(&self.job.to_string(), None).await
            && why.lines != self.why
        {
            for line in &why.lines {
                self.narrator.warn("mapreduce.Job", &format!("nothing runs: {}", crate::table::harmless(line)));
            }
            self.why = why.lines;
        }
    }
}
