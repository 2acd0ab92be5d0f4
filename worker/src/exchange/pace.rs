//! How fast tasks of a stage go by, and so how many to hold and to hand to an executor at a time.
//!
//! A stage nobody has timed yet gets no prefetch: a worker must not sit on tasks that others could run.

use std::collections::VecDeque;

use gristmill_common::{GrantName, JobId, Stage, limits};

/// Times kept of a stage: enough for a median, few enough to follow a change.
const SAMPLES: usize = 32;
/// Stages whose times are kept.
const STAGES: usize = 16;
/// Work handed to an executor at a time: long enough to hide a trip through a pipe, short enough to report often.
const BATCH_US: u64 = 20_000;

type StageKey = (JobId, u16, Stage);

fn key(grant: &GrantName) -> StageKey {
    (grant.job, grant.step, grant.stage)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// The stage that was timed last comes last.
    stages: VecDeque<(StageKey, VecDeque<u64>)>,
}

impl Pace {
    /// Notes what one task of the grant's stage took, in microseconds.
    pub(crate) fn record(&mut self, grant: &GrantName, took_us: u64) {
        let key = key(grant);
        let mut entry = match self.stages.iter().position(|(stage, _)| *stage == key) {
            Some(at) => self.stages.remove(at).unwrap_or_else(|| (key, VecDeque::new())),
            None => (key, VecDeque::new()),
        };
        if entry.1.len() == SAMPLES {
            entry.1.pop_front();
        }
        entry.1.push_back(took_us);
        if self.stages.len() == STAGES {
            self.stages.pop_front();
        }
        self.stages.push_back(entry);
    }

    fn median_us(samples: &VecDeque<u64>) -> Option<u64> {
        let mut sorted: Vec<u64> = samples.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|&us| us.max(1))
    }

    fn median_of(&self, grant: &GrantName) -> Option<u64> {
        let key = key(grant);
        self.stages.iter().find(|(stage, _)| *stage == key).and_then(|(_, samples)| Self::median_us(samples))
    }

    /// Returns how many tasks to hold for each slot beyond the ones it runs, judged by the stage timed last.
    pub(crate) fn prefetch(&self) -> u64 {
        let latest = self.stages.back().and_then(|(_, samples)| Self::median_us(samples));
        latest.map_or(0, tasks_ahead)
    }

    /// Returns the same for the grant's own stage; `None` if nobody has timed it.
    pub(crate) fn prefetch_of(&self, grant: &GrantName) -> Option<u64> {
        self.median_of(grant).map(tasks_ahead)
    }

    /// Returns how many tasks of the grant's stage to hand to an executor at a time, at least 1.
    pub(crate) fn batch(&self, grant: &GrantName) -> u32 {
        let tasks = self.median_of(grant).map_or(1, |median| BATCH_US / median);
        u32::try_from(tasks).unwrap_or(u32::MAX).clamp(1, limits::TASKS_PER_GRANT)
    }
}

fn tasks_ahead(median_us: u64) -> u64 {
    (limits::PREFETCH_MS * 1000 / median_us).min(limits::HELD_ATTEMPTS)
}
