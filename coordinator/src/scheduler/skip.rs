//! Bad records: after two failures at one record the job's next attempts leave it out, if the job asks for that.
//!
//! The rules. The first failure of a task at a record makes its later attempts careful: they name records exactly, where
//! the first may have named a block. Two failures at one place, one of them by a careful attempt, and the record is left
//! out: a durable fact, so that a map that is lost and made again leaves out the same. That forgives the failures that
//! found it; the job's quota bounds how often. A place that fails although it is left out is no record's fault, and counts. A
//! program that cannot say where it failed is run again by its worker until it can be said, which is one failure.
//! What is not of the input's format the reader of the input leaves out by itself, the same in every attempt: it comes with the
//! report that wins, and counts for the same quota. Of a reduce the record is the group of values, named by the number of its first one in the partition.

use gristmill_common::api::SkippedView;
use gristmill_common::reason::bounded;
use gristmill_common::spec::OnBadRecord;
use gristmill_common::wire::{Skipped, SkipsAnswer, TaskSkips};
use gristmill_common::{Fence, GrantName, JobId, Place, Problem, Reason, Stage, TaskName, limits};

use super::entry::Entry;
use super::job::{Job, Step};
use super::{Scheduler, no_such_job};

/// Failures at one place after which it is left out.
const FAILURES_AT_A_RECORD: u32 = 2;

/// What is known of the records that a task failed at.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct BadRecords {
    /// Left out by attempts from now on, in the order in which they were found.
    pub(crate) records: Vec<Skipped>,
    suspect: Option<Suspect>,
    /// Attempts up to this one may name a block of records instead of one.
    rough_until: Fence,
}

/// Where the last failure was.
#[derive(Clone, PartialEq, Debug)]
struct Suspect {
    at: Place,
    times: u32,
    is_exact: bool,
}

impl BadRecords {
    /// Takes in a failure, perhaps at no known place; `running` is the newest attempt that was granted before it was known.
    pub(super) fn note(&mut self, at: Option<&Place>, fence: Fence, running: Fence) {
        let is_first = self.rough_until == Fence(0);
        let is_exact = !is_first && fence > self.rough_until;
        if is_first {
            self.rough_until = fence.max(running);
        }
        let Some(at) = at else { return };
        match &mut self.suspect {
            Some(suspect) if suspect.at == *at => {
                suspect.times += 1;
                suspect.is_exact |= is_exact;
            }
            suspect => *suspect = Some(Suspect { at: at.clone(), times: 1, is_exact }),
        }
    }

    pub(super) fn leave_out(&mut self, skipped: Skipped) {
        self.records.push(skipped);
        self.suspect = None;
    }

    fn leaves_out(&self, at: &Place) -> bool {
        self.records.iter().any(|known| known.at == *at)
    }

    /// The record that has failed often enough.
    fn proven(&self) -> Option<&Place> {
        let suspect = self.suspect.as_ref()?;
        let is_proven = suspect.is_exact && suspect.times >= FAILURES_AT_A_RECORD;
        (is_proven && !self.leaves_out(&suspect.at)).then_some(&suspect.at)
    }
}

/// Says whether leaving out a record may cure a failure.
pub(super) fn may_be_cured(reason: &Reason) -> bool {
    match reason {
        Reason::UserError { .. }
        | Reason::Panicked { .. }
        | Reason::Crashed { .. }
        | Reason::TimedOut { .. }
        | Reason::OutOfMemory { .. }
        | Reason::Limit { .. } => true,
        Reason::BadArguments { .. }
        | Reason::InputChanged { .. }
        | Reason::InputUnreadable { .. }
        | Reason::BadRecord { .. }
        | Reason::LostOutput { .. }
        | Reason::Unreachable { .. }
        | Reason::Worker { .. } => false,
    }
}

impl Job {
    /// How many records the job may leave out; 0 when a bad record fails it.
    pub(super) fn may_skip(&self) -> u64 {
        match self.spec.on_bad_record {
            OnBadRecord::Fail => 0,
            OnBadRecord::Skip(most) => most,
        }
    }
}

impl Scheduler {
    /// Leaves out the record at which a task failed, if it is proven and the job may.
    pub(super) fn skip_record(&mut self, granted: &GrantName, task: u32, reason: &Reason) -> bool {
        let GrantName { job, step, stage, .. } = *granted;
        let Some(found) = self.durable.jobs.get(&job).filter(|found| found.skips_decided < found.may_skip()) else {
            return false;
        };
        let bad = found.step(step).and_then(|at| at.tasks(stage).bad.get(&task));
        let Some((bad, at)) = bad.and_then(|bad| Some((bad, bad.proven()?.clone()))) else { return false };
        if bad.records.len() >= limits::SKIPS_PER_REPORT {
            return false;
        }
        let skipped = Skipped { at, why: bounded(reason.to_string()), by_reader: false };
        self.record(Entry::RecordSkipped { job, step, stage, task, skipped });
        self.delay((job, granted.task(task)), 1);
        true
    }

    /// What a message about a task that failed adds for a job that skips.
    pub(super) fn skips_used(&self, job: JobId) -> String {
        let found = self.durable.jobs.get(&job).filter(|job| job.may_skip() > 0);
        found.map_or_else(String::new, |job| {
            format!("; {} of {} records that the job may leave out are used up", job.skips_decided, job.may_skip())
        })
    }

    /// Keeps of what a report says was left out what was to be left out, and what its reader left out.
    pub(super) fn known_skips(&self, granted: &GrantName, task: u32, said: &[Skipped]) -> Vec<Skipped> {
        let Some(job) = self.durable.jobs.get(&granted.job).filter(|job| job.may_skip() > 0) else { return Vec::new() };
        let bad = job.step(granted.step).and_then(|step| step.tasks(granted.stage).bad.get(&task));
        let is_said = |known: &&Skipped| said.iter().any(|said| said.at == known.at);
        let known = bad.into_iter().flat_map(|bad| &bad.records).filter(is_said).cloned();
        let reads_input = granted.step == 0 && granted.stage == Stage::Map;
        let by_reader = said.iter().filter(|said| said.by_reader && reads_input).map(|said| {
            let Skipped { at: Place { file, offset }, why, .. } = said.clone();
            Skipped { at: Place { file: bounded(file), offset }, why: bounded(why), by_reader: true }
        });
        known.chain(by_reader.take(limits::SKIPS_PER_REPORT)).collect()
    }

    /// Returns why a report of these records cannot win: its reader left out more than the job may.
    pub(super) fn too_many_bad(&self, granted: &GrantName, task: u32, skipped: &[Skipped]) -> Option<Reason> {
        let last = skipped.iter().rfind(|skipped| skipped.by_reader)?;
        let job = self.durable.jobs.get(&granted.job)?;
        let by_reader = |records: &[Skipped]| records.iter().filter(|record| record.by_reader).count() as u64;
        let left_out = &job.step(granted.step)?.tasks(granted.stage).left_out;
        let others = left_out.iter().filter(|(other, _)| **other != task).map(|(_, records)| by_reader(records));
        let all = job.skips_decided + others.sum::<u64>() + by_reader(skipped);
        let most = job.may_skip();
        (all > most).then(|| {
            let message = format!("{}; with it {all} records are bad, and the job may leave out {most}", last.why);
            Reason::BadRecord { message: bounded(message), at: Some(last.at.clone()) }
        })
    }

    /// Tells the holder of a grant what its attempts leave out.
    ///
    /// # Errors
    /// `not_found` when the job is gone.
    pub fn skips(&self, grant: &GrantName) -> Result<SkipsAnswer, Problem> {
        let job = self.durable.jobs.get(&grant.job).ok_or_else(|| no_such_job(grant.job))?;
        let Some(step) = job.kept_step(grant.step).filter(|_| grant.tasks.first <= grant.tasks.end()) else {
            return Ok(SkipsAnswer::default());
        };
        let bad = step.tasks(grant.stage).bad.range(grant.tasks.first..grant.tasks.end());
        Ok(SkipsAnswer { tasks: bad.map(|(&task, bad)| TaskSkips { task, records: bad.records.clone() }).collect() })
    }

    /// Says whether attempts of the job have to ask what they leave out.
    #[must_use]
    pub fn may_skip(&self, job: JobId) -> bool {
        self.durable.jobs.get(&job).is_some_and(|job| job.may_skip() > 0)
    }

    /// Returns every record that a committing job's won attempts left out, in task order.
    #[must_use]
    pub fn skipped_records(&self, job: JobId) -> Vec<SkippedView> {
        self.durable.jobs.get(&job).map_or_else(Vec::new, |job| left_out(job.steps()).collect())
    }
}

/// What won attempts left out, in task order.
pub(super) fn left_out(steps: &[Step]) -> impl Iterator<Item = SkippedView> + '_ {
    (0_u16..).zip(steps).flat_map(|(step, at)| {
        [Stage::Map, Stage::Reduce].into_iter().flat_map(move |stage| {
            at.tasks(stage).left_out.iter().flat_map(move |(&index, records)| {
                let task = TaskName { step, stage, index };
                records.iter().map(move |Skipped { at: Place { file, offset }, why, .. }| SkippedView {
                    task,
                    file: file.clone(),
                    offset: *offset,
                    why: why.clone(),
                })
            })
        })
    })
}
