//! The journal: written in groups, cut by crashes, and compacted.

use std::collections::BTreeSet;

use gristmill_common::JobId;

use crate::scheduler::{Durable, Entry};
use crate::simulation::network::Event;
use crate::simulation::world::World;

impl World {
    /// Writes what gathered, if nothing is being written.
    pub(super) fn flush(&mut self) {
        let here = &mut self.coordinator;
        if here.writing == 0 && !here.pending.is_empty() {
            here.writing = here.pending.len();
            let life = here.life;
            // A disk that stalls makes a crash lose what many were waiting for.
            let ms = if self.random.chance(50) { self.random.between(50, 900) } else { self.random.between(1, 15) };
            self.after(ms, Event::Flushed { life });
        }
    }

    pub(crate) fn on_flushed(&mut self) {
        let here = &mut self.coordinator;
        let writing = std::mem::take(&mut here.writing);
        let written: Vec<Entry> = here.pending.drain(..writing).collect();
        let life = here.life;
        for entry in &written {
            match entry {
                Entry::JobSubmitted { job, .. } => {
                    let ms = self.random.between(1, 300);
                    self.after(ms, Event::Planned { life, job: *job });
                }
                Entry::CommitStarted { job } => {
                    let ms = self.random.between(1, 300);
                    self.after(ms, Event::Committed { life, job: *job });
                }
                _ => {}
            }
        }
        self.coordinator.journal.extend(written);
        self.deliver();
        self.flush();
    }

    /// Puts summaries in the place of the histories of jobs that are over; a crash may leave some rows behind them.
    pub(crate) fn compact_journal(&mut self) -> Result<(), String> {
        let here = &mut self.coordinator;
        let Some(scheduler) = here.scheduler.as_ref() else { return Ok(()) };
        let mut before = Durable::default();
        here.journal.iter().for_each(|entry| before.apply(entry));
        let jobs: BTreeSet<JobId> = here.journal.iter().filter_map(Entry::job).collect();
        // An expiry that is decided and not written yet is anticipated by the summary, which is no difference that matters.
        let is_written = |job: &JobId| before.jobs.get(job) == scheduler.durable().jobs.get(job);
        let is_over = |job: &JobId| before.jobs.get(job).is_some_and(|job| job.state().is_over());
        let over = jobs.into_iter().filter(|job| is_over(job) && is_written(job));
        let mut compacted = 0;
        for (job, summary) in over.filter_map(|job| Some((job, scheduler.compacted(job)?))).collect::<Vec<_>>() {
            let rows = here.journal.iter().filter(|entry| entry.job() == Some(job)).count() as u64;
            let (kept, mut seen) = (self.random.below(rows), 0);
            here.journal.retain_mut(|entry| {
                if entry.job() != Some(job) {
                    return true;
                }
                seen += 1;
                if seen == 1 {
                    *entry = summary.clone();
                }
                seen <= kept + 1
            });
            compacted += 1;
        }
        let mut after = Durable::default();
        here.journal.iter().for_each(|entry| after.apply(entry));
        if compacted > 0 {
            self.seen("history compacted");
        }
        (before == after).then_some(()).ok_or_else(|| "a compacted journal folds to another state".to_owned())
    }
}
