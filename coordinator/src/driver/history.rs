//! How much history the journal keeps of jobs that succeeded or were cancelled.
//!
//! The rule: all of it until there are more than `HISTORY_ROWS` such rows; then the jobs that ended first are compacted to a
//! row each, except those that can be retried still. Rows and not days, so that no clock decides and a journal has a size.
//! Failed jobs keep theirs: they may be tried again. Soft state: a start counts the rows again.

use std::collections::{HashMap, HashSet, VecDeque};

use gristmill_common::JobId;

use crate::scheduler::Entry;

/// Rows of jobs, and which of them may go.
#[derive(Debug)]
pub(super) struct History {
    most: u64,
    rows: HashMap<JobId, u64>,
    /// In the order in which they ended.
    over: VecDeque<JobId>,
    rows_over: u64,
    compacted: HashSet<JobId>,
    /// Compacted, but rows were found behind the summary: a crash came between.
    unfinished: Vec<JobId>,
}

impl History {
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            rows: HashMap::new(),
            over: VecDeque::new(),
            rows_over: 0,
            compacted: HashSet::new(),
            unfinished: Vec::new(),
        }
    }

    /// Counts a row.
    pub(super) fn note(&mut self, entry: &Entry) {
        let Some(job) = entry.job() else { return };
        match entry {
            Entry::JobCompacted { .. } => {
                self.compacted.insert(job);
            }
            Entry::JobRemoved { .. } => {
                let rows = self.rows.remove(&job).unwrap_or(0);
                if let Some(at) = self.over.iter().position(|over| *over == job) {
                    self.over.remove(at);
                    self.rows_over -= rows.min(self.rows_over);
                }
                self.compacted.remove(&job);
                self.unfinished.retain(|unfinished| *unfinished != job);
            }
            _ if self.compacted.contains(&job) => {
                if self.unfinished.last() != Some(&job) {
                    self.unfinished.push(job);
                }
            }
            Entry::JobRetried { .. } => {
                let rows = self.rows.entry(job).or_default();
                if let Some(at) = self.over.iter().position(|over| *over == job) {
                    self.over.remove(at);
                    self.rows_over -= (*rows).min(self.rows_over);
                }
                *rows += 1;
            }
            Entry::JobSucceeded { .. } | Entry::JobCancelled { .. } => {
                let rows = self.rows.entry(job).or_default();
                *rows += 1;
                self.rows_over += *rows;
                self.over.push_back(job);
            }
            _ => *self.rows.entry(job).or_default() += 1,
        }
    }

    /// Returns a job whose history is to be compacted now.
    pub(super) fn due(&mut self, may_go: impl Fn(JobId) -> bool) -> Option<JobId> {
        if let Some(job) = self.unfinished.pop() {
            return Some(job);
        }
        if self.rows_over > self.most {
            let at = self.over.iter().position(|job| may_go(*job))?;
            let job = self.over.remove(at)?;
            let rows = self.rows.remove(&job).unwrap_or(0);
            self.rows_over -= rows.min(self.rows_over);
            self.compacted.insert(job);
            return Some(job);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gristmill_common::Fence;

    use super::*;
    use crate::scheduler::JobSummary;

    fn id(n: u128) -> JobId {
        JobId(uuid::Uuid::from_u128(n))
    }

    fn row(job: JobId) -> Entry {
        Entry::OutputStored { job, step: 0, map: 0, fence: Fence(1) }
    }

    fn end(history: &mut History, job: JobId, rows: u64) {
        (1..rows).for_each(|_| history.note(&row(job)));
        history.note(&Entry::JobCancelled { job, at: 0 });
    }

    #[test]
    fn the_jobs_that_ended_first_go_when_there_are_too_many_rows() {
        let mut history = History::new(10);
        history.note(&row(id(9)));
        end(&mut history, id(1), 6);
        assert_eq!(history.due(|_| true), None);
        end(&mut history, id(2), 4);
        assert_eq!(history.due(|_| true), None);
        end(&mut history, id(3), 8);
        assert_eq!(
            (history.due(|_| true), history.due(|_| true), history.due(|_| true)),
            (Some(id(1)), Some(id(2)), None)
        );
    }

    #[test]
    fn a_job_larger_than_the_limit_goes_at_once_and_a_removed_one_never() {
        let mut history = History::new(10);
        end(&mut history, id(1), 6);
        history.note(&Entry::JobRemoved { job: id(1) });
        end(&mut history, id(2), 11);
        assert_eq!((history.due(|_| true), history.due(|_| true)), (Some(id(2)), None));
    }

    #[test]
    fn a_compaction_that_a_crash_cut_short_goes_on() {
        let spec = gristmill_common::JobSpec::new("job", Vec::new(), Vec::new());
        let summary = JobSummary {
            spec,
            submitted_at: 0,
            idempotency: None,
            plan: None,
            counters: BTreeMap::new(),
            skips_decided: 0,
            skipped_records: 0,
            skipped: Vec::new(),
            differing: 0,
            ended_at: 0,
            output: None,
            stages: Vec::new(),
        };
        let mut history = History::new(10);
        history.note(&Entry::JobCompacted { job: id(1), summary: Box::new(summary) });
        assert_eq!(history.due(|_| true), None);
        history.note(&row(id(1)));
        history.note(&row(id(1)));
        assert_eq!((history.due(|_| true), history.due(|_| true)), (Some(id(1)), None));
    }

    #[test]
    fn a_job_that_is_kept_stays_and_one_that_runs_again_is_not_over() {
        let mut history = History::new(5);
        end(&mut history, id(1), 4);
        end(&mut history, id(2), 4);
        assert_eq!(history.due(|job| job != id(1)), Some(id(2)));
        end(&mut history, id(3), 4);
        history.note(&Entry::JobRetried { job: id(1) });
        assert_eq!(history.due(|_| true), None, "four rows are over");
        end(&mut history, id(1), 1);
        assert_eq!(history.due(|job| job != id(3)), Some(id(1)));
        assert_eq!(history.due(|_| true), None);
    }
}
