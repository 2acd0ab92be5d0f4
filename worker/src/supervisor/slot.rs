//! One slot: an executor, what it runs, and what to do when it dies, hangs or is no longer wanted.
//!
//! An executor lives from batch to batch and is replaced when it ends. Of a batch that was cut short, the attempt that was
//! running is blamed, and only that one; the rest is run again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gristmill_client::{Backoff, WorkerClient, retry};
use gristmill_common::reason::bounded;
use gristmill_common::wire::{LogHead, Outcome};
use gristmill_common::{Fence, Reason, TaskRange, limits};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::clock::Stopwatch;
use super::host::{Host, Maker};
use crate::exchange::Work;
use crate::executor::{Order, RangeResult, Reply, place};
use crate::log::AttemptLog;
use crate::position::{Position, Snapshot};

/// How often progress is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// And at least, for short timeouts.
const LOOK_LEAST: Duration = Duration::from_millis(10);

/// What a slot is told.
#[derive(Debug)]
pub(crate) enum ToSlot {
    /// Run this.
    Run(Work),
    /// These attempts cannot win any more.
    Stop(Work),
}

/// What a slot says.
#[derive(Debug)]
pub(crate) enum FromSlot {
    /// Attempts ended.
    Ended { work: Work, outcome: Outcome, took_us: u64 },
    /// An attempt is this far, in thousandths, and its user code does this.
    Progress { work: Work, permille: u16, status: Option<String> },
    /// Attempts were handed out but not run to their end: run them again.
    Unfinished(Work),
    /// Attempts could not be run now: the coordinator has them back.
    Returned(Work),
    /// The slot has nothing to do.
    Idle { slot: usize },
}

/// A slot's own state.
pub(crate) struct Slot {
    pub(crate) number: usize,
    pub(crate) maker: Maker,
    pub(crate) scratch: PathBuf,
    pub(crate) orders: UnboundedReceiver<ToSlot>,
    pub(crate) say: UnboundedSender<FromSlot>,
    pub(crate) started: u64,
    pub(crate) backoff: Backoff,
    /// For the logs of attempts whose executor died.
    pub(crate) client: WorkerClient,
}

/// What is being run.
struct Batch {
    work: Work,
    /// Tasks without a result.
    open: BTreeSet<u32>,
    /// Tasks whose result nobody wants.
    unwanted: BTreeSet<u32>,
    /// Known once user code runs.
    timeout: Option<Duration>,
    files: BTreeMap<u32, String>,
}

/// How a batch came to its end.
enum End {
    Idle,
    Dead,
    /// The supervisor is gone.
    Closed,
    TimedOut(Duration),
    Unwanted,
}

impl Slot {
    /// Runs what it is told until the supervisor is gone.
    pub(crate) async fn run(mut self) {
        let mut host = self.start().await;
        while let Some(order) = self.orders.recv().await {
            // A stop that comes between two batches is for one that is over.
            let ToSlot::Run(work) = order else { continue };
            host = match host {
                Some(host) => self.run_batch(host, work).await,
                None => match self.start().await {
                    Some(host) => self.run_batch(host, work).await,
                    None => {
                        self.fail(&work, work.tasks, &cannot_start());
                        None
                    }
                },
            };
            if host.is_none() {
                host = self.start().await;
            }
            if self.say.send(FromSlot::Idle { slot: self.number }).is_err() {
                break;
            }
        }
        if let Some(host) = host {
            host.kill().await;
        }
    }

    /// Starts an executor; after one that could not be started, a little later.
    async fn start(&mut self) -> Option<Host> {
        if self.backoff.tries() > 0 {
            sleep(self.backoff.draw()).await;
        }
        self.started += 1;
        let scratch = self.scratch.join(format!("e{}-{}", self.number, self.started));
        match self.maker.start(scratch).await {
            Ok(host) => Some(host),
            Err(error) => {
                tracing::error!(%error, "cannot start an executor");
                let _ = self.backoff.draw();
                None
            }
        }
    }

    /// Runs a batch to its end, and returns the executor if it still lives.
    async fn run_batch(&mut self, mut host: Host, work: Work) -> Option<Host> {
        let order = Order::Run { token: work.grant.token.clone(), tasks: work.tasks };
        let mut batch = Batch {
            open: work.tasks.iter().collect(),
            unwanted: BTreeSet::new(),
            timeout: None,
            files: BTreeMap::new(),
            work,
        };
        let end = match host.order(order).await {
            Ok(()) => self.watch(&mut host, &mut batch).await,
            Err(_) => End::Dead,
        };
        let survivor = self.settle(host, &mut batch, end).await;
        let rest = batch.open.difference(&batch.unwanted).copied();
        for tasks in ranges(rest) {
            let _ = self.say.send(FromSlot::Unfinished(Work { tasks, ..batch.work.clone() }));
        }
        survivor
    }

    /// Blames whom there is to blame for the end of a batch, and ends the executor unless it is idle.
    async fn settle(&mut self, host: Host, batch: &mut Batch, end: End) -> Option<Host> {
        let position = Arc::clone(&host.position);
        let at = place(&position, &batch.files);
        match end {
            End::Idle => Some(host),
            End::Closed | End::Unwanted => {
                host.kill().await;
                None
            }
            End::Dead => {
                let begun = batch.timeout.is_some();
                let (reason, log) = host.death(at).await;
                let _ = (!begun).then(|| self.backoff.draw());
                // Before user code ran, whatever killed the executor was not its fault.
                let reason = if begun { reason } else { Reason::Worker { message: format!("no executor: {reason}") } };
                self.blame(batch, &position, reason, &log).await;
                None
            }
            End::TimedOut(timeout) => {
                let log = host.kill().await;
                let after_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                self.blame(batch, &position, Reason::TimedOut { after_ms, at }, &log).await;
                None
            }
        }
    }

    /// Follows a batch until it ends one way or another.
    async fn watch(&mut self, host: &mut Host, batch: &mut Batch) -> End {
        let mut look = looks(LOOK_EVERY);
        let mut seen = host.position.snapshot();
        let mut still = Stopwatch::start();
        loop {
            let position = Arc::clone(&host.position);
            tokio::select! {
                reply = host.reply() => match reply {
                    None => return End::Dead,
                    Some(Reply::Idle) => return End::Idle,
                    Some(Reply::Ended(results)) => self.pass_on(batch, results),
                    Some(Reply::Returned(tasks)) => self.give_back(batch, tasks),
                    Some(Reply::Begun { progress_timeout_ms, files }) => {
                        self.backoff.reset();
                        let timeout = Duration::from_millis(progress_timeout_ms);
                        batch.timeout = Some(timeout);
                        batch.files = files.into_iter().collect();
                        still = Stopwatch::start();
                        look = looks((timeout / 10).clamp(LOOK_LEAST, LOOK_EVERY));
                    }
                },
                order = self.orders.recv() => match order {
                    None => return End::Closed,
                    Some(ToSlot::Stop(stopped)) if stopped.grant.token == batch.work.grant.token => {
                        batch.unwanted.extend(stopped.tasks.iter());
                        if batch.is_unwanted(&position) {
                            return End::Unwanted;
                        }
                    }
                    Some(_) => {}
                },
                _ = look.tick() => {
                    let now = position.snapshot();
                    if moved(&seen, &now) {
                        seen = now;
                        still = Stopwatch::start();
                        self.say_progress(batch, &now, position.said());
                        if batch.is_unwanted(&position) {
                            return End::Unwanted;
                        }
                    } else if let Some(timeout) = batch.timeout
                        && Duration::from_micros(still.elapsed_us()) >= timeout
                    {
                        return End::TimedOut(timeout);
                    }
                }
            }
        }
    }

    fn pass_on(&self, batch: &mut Batch, results: Vec<RangeResult>) {
        for RangeResult { tasks, outcome, took_us } in results {
            for task in tasks.iter() {
                batch.open.remove(&task);
            }
            let work = Work { tasks, ..batch.work.clone() };
            let _ = self.say.send(FromSlot::Ended { work, outcome, took_us });
        }
    }

    fn give_back(&self, batch: &mut Batch, tasks: TaskRange) {
        for task in tasks.iter() {
            batch.open.remove(&task);
        }
        let _ = self.say.send(FromSlot::Returned(Work { tasks, ..batch.work.clone() }));
    }

    fn say_progress(&self, batch: &Batch, now: &Snapshot, status: Option<String>) {
        if let Some(task) = batch.running(now.fence) {
            let work = Work { tasks: TaskRange::one(task), ..batch.work.clone() };
            let _ = self.say.send(FromSlot::Progress { work, permille: now.permille, status });
        }
    }

    /// Reports the attempt that was running as failed; the first one if none had begun.
    async fn blame(&self, batch: &mut Batch, position: &Position, reason: Reason, log: &AttemptLog) {
        let running = batch.running(position.snapshot().fence);
        let Some(task) = running.or_else(|| batch.open.first().copied()) else { return };
        batch.open.remove(&task);
        if !log.is_empty() {
            self.hand_over(log, &batch.work, task, &reason).await;
        }
        self.fail(&batch.work, TaskRange::one(task), &reason);
    }

    /// Sends what the attempt printed before its executor ended. A log that does not arrive keeps no report back.
    async fn hand_over(&self, log: &AttemptLog, work: &Work, task: u32, reason: &Reason) {
        let head = LogHead { failed: Some(bounded(reason.to_string())) };
        let (token, text, patience) = (&work.grant.token, log.text(), Duration::from_millis(limits::LOG_PATIENCE_MS));
        let sent = retry::idempotent(patience, || self.client.put_log(token, task, &head, &text)).await;
        if let Err(error) = sent {
            tracing::warn!(task = %work.grant.name.task(task), %error, "the log of an attempt is not kept");
        }
    }

    fn fail(&self, work: &Work, tasks: TaskRange, reason: &Reason) {
        let work = Work { tasks, ..work.clone() };
        let _ = self.say.send(FromSlot::Ended { work, outcome: Outcome::Failed(reason.clone()), took_us: 0 });
    }
}

impl Batch {
    /// Returns the open task that runs under this fence.
    fn running(&self, fence: Fence) -> Option<u32> {
        let name = &self.work.grant.name;
        let offset = u32::try_from(fence.0.checked_sub(name.first_fence.0)?).ok()?;
        let task = name.tasks.first.checked_add(offset)?;
        self.open.contains(&task).then_some(task)
    }

    /// Says whether what runs now, or all that is left, is unwanted.
    fn is_unwanted(&self, position: &Position) -> bool {
        let running = self.running(position.snapshot().fence);
        running.is_some_and(|task| self.unwanted.contains(&task)) || self.open.is_subset(&self.unwanted)
    }
}

fn looks(every: Duration) -> Interval {
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

fn moved(before: &Snapshot, now: &Snapshot) -> bool {
    (before.fence, before.ticks, before.offset, before.spot) != (now.fence, now.ticks, now.offset, now.spot)
}

fn cannot_start() -> Reason {
    Reason::Worker { message: "no executor can be started; the worker's log says why".to_owned() }
}

fn ranges(tasks: impl Iterator<Item = u32>) -> Vec<TaskRange> {
    let mut ranges: Vec<TaskRange> = Vec::new();
    for task in tasks {
        match ranges.last_mut() {
            Some(last) if last.end() == task => last.count += 1,
            _ => ranges.push(TaskRange::one(task)),
        }
    }
    ranges
}
