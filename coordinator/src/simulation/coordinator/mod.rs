//! The coordinator around the real scheduler: a driver with group commit, a journal that loses its tail in a crash, a
//! planner and a committer. It keeps the driver's rule: what promises something waits for the disk, a grant does not.

mod driver;
mod effects;
mod journal;
mod judge;

use std::collections::{BTreeMap, VecDeque};

use gristmill_common::{Epoch, JobId, SessionId, TaskName, TokenSecret, WorkerId};

use super::network::{Event, Whom};
use super::world::World;
use crate::scheduler::{Durable, Entry, Now, Reply, Scheduler, SchedulerConfig};

#[derive(Default)]
pub(super) struct Coordinator {
    pub(super) scheduler: Option<Scheduler>,
    pub(super) life: u64,
    started: u64,
    pub(super) journal: Vec<Entry>,
    pending: Vec<Entry>,
    /// How many of `pending` are being written.
    writing: usize,
    /// Replies and how many entries must be durable before each.
    waiting: VecDeque<(usize, To, Box<Reply>)>,
    parked: BTreeMap<SessionId, (u64, Whom)>,
    parks: u64,
    shadow: Durable,
    tick_at: u64,
    /// It stands still, as under SIGSTOP: what comes waits.
    pub(super) paused_until: u64,
    /// The newest session of each worker that polled: its incarnation and the last poll.
    heard: BTreeMap<WorkerId, (u64, u64)>,
    counter: u64,
}

/// For whom a reply is.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Worker(Whom),
    Submitter(usize),
    Canceller(JobId),
    Nobody,
}

impl Coordinator {
    /// Whether all that is known of what a task failed at is durable: whoever asks what to leave out waits for that.
    pub(super) fn has_written_failures_of(&self, job: JobId, task: TaskName) -> bool {
        self.pending.iter().all(|entry| match entry {
            Entry::RecordSkipped { job: of, step, stage, task: index, .. }
            | Entry::Failed { job: of, step, stage, task: index, .. } => {
                (*of, TaskName { step: *step, stage: *stage, index: *index }) != (job, task)
            }
            _ => true,
        })
    }
}

const CLUSTER: uuid::Uuid = uuid::Uuid::from_u128(77);

impl World {
    fn config(&self) -> SchedulerConfig {
        SchedulerConfig { lease_ms: self.options.lease_ms, hold_ms: 1_000, renew_ms: 250, retain_failed_ms: 4_000 }
    }

    pub(super) fn mono(&self) -> Now {
        // The wall clock jumps: no decision may follow it.
        Now { mono_ms: self.now - self.coordinator.started, wall_ms: 1_000_000 + (self.now * 7) % 5_000 }
    }

    pub(super) fn start_coordinator(&mut self) -> Result<(), String> {
        if self.coordinator.scheduler.is_some() {
            return Ok(());
        }
        let config = self.config();
        let here = &mut self.coordinator;
        here.started = self.now;
        here.life += 1;
        here.counter += 1;
        let epoch = Epoch { cluster: CLUSTER, counter: here.counter };
        here.shadow = Durable::default();
        let mut read = here.journal.clone();
        if self.options.json {
            read = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        }
        read.iter().for_each(|entry| here.shadow.apply(entry));
        let mut scheduler = Scheduler::recover(read.into_iter(), TokenSecret::new([7; 32]), config);
        scheduler.bug = self.options.bug;
        self.oracle.restart(&self.coordinator.journal)?;
        let entries = scheduler.start(epoch, Now { mono_ms: 0, wall_ms: 0 });
        self.note(|| format!("coordinator starts as epoch {}", epoch.counter));
        self.judge(&entries)?;
        let here = &mut self.coordinator;
        here.tick_at = u64::MAX;
        here.paused_until = 0;
        here.journal.extend(entries);
        let (planning, committing) = (scheduler.planning_jobs(), scheduler.committing_jobs());
        here.scheduler = Some(scheduler);
        let life = here.life;
        for job in planning {
            self.seen("planning resumed");
            self.after(20, Event::Planned { life, job });
        }
        for job in committing {
            self.seen("commit resumed");
            self.after(20, Event::Committed { life, job });
        }
        self.check_submitted()?;
        self.schedule_tick();
        Ok(())
    }

    /// The process ends. What was being written may be on disk or not; what was not is lost.
    pub(super) fn crash_coordinator(&mut self) {
        if self.coordinator.scheduler.take().is_none() {
            return;
        }
        let applied = self.random.chance(500);
        let here = &mut self.coordinator;
        here.life += 1;
        let writing = here.writing;
        if applied {
            here.journal.extend(here.pending.drain(..writing));
        }
        let lost = here.pending.len();
        here.pending.clear();
        here.waiting.clear();
        here.parked.clear();
        here.writing = 0;
        if applied && writing > 0 {
            self.seen("append applied but reported failed");
        }
        if lost > 0 {
            self.seen("journal tail lost");
        }
        self.note(|| format!("coordinator crashes, {lost} entries lost"));
    }
}
