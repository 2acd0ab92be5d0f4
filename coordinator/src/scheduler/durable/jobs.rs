//! Lives of jobs: submitted, planned, committing, over, retried, forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::api::StageView;
use gristmill_common::plan::{PlanSummary, StepShape};
use gristmill_common::{Digest, Generation, JobId, JobSpec, limits};

use super::{Durable, reservation};
use crate::scheduler::entry::{Idempotency, WallMs};
use crate::scheduler::job::{Job, Life, Step};
use crate::scheduler::spread::Reads;
use crate::scheduler::tasks::Tasks;
use crate::scheduler::{skip, view};

impl Durable {
    pub(super) fn pin(&mut self, job: JobId, step: u16, executable: Digest) {
        let floor = self.epoch_floor();
        let Some(pinned) = self.step_mut(job, step) else { return };
        pinned.executable = Some(executable);
        pinned.floor = pinned.floor.max(floor);
        // Its maps ran in other tasks.
        if let Some(before) = step.checked_sub(1).filter(|_| pinned.fused).and_then(|before| self.step_mut(job, before))
        {
            before.reduces.floor = before.reduces.floor.max(floor);
        }
    }

    pub(super) fn submit(&mut self, job: JobId, spec: &JobSpec, at: WallMs, idempotency: Option<&Idempotency>) {
        self.submitted += 1;
        self.live += 1;
        if let Some(Idempotency { key, body }) = idempotency {
            self.keys.insert(key.clone(), (job, *body));
        }
        if let Some(url) = &spec.output.url {
            self.outputs.insert(reservation(url), job);
        }
        let new = Job {
            spec: Arc::new(spec.clone()),
            number: self.submitted,
            submitted_at: at,
            key: idempotency.map(|idempotency| idempotency.key.clone()),
            plan: None,
            counters: BTreeMap::new(),
            skips_decided: 0,
            differing: 0,
            skipped: (0, Vec::new()),
            kept: Vec::new(),
            life: Life::Planning,
        };
        self.jobs.insert(job, new);
    }

    pub(super) fn plan(&mut self, job: JobId, plan: &PlanSummary) {
        let floor = self.epoch_floor();
        let Some(planned) = self.jobs.get_mut(&job) else { return };
        if planned.life != Life::Planning {
            return;
        }
        let step = |shape: &StepShape| Step {
            executable: None,
            floor,
            generation: Generation(0),
            maps: Tasks::new(shape.maps),
            reduces: Tasks::new(shape.reduces),
            reads: Reads::default(),
            holders: BTreeMap::new(),
            given_up: None,
            fused: shape.fused,
        };
        planned.life = Life::Running(plan.shapes.iter().map(step).collect());
        planned.plan = Some(Arc::new(plan.clone()));
        self.queue.insert(planned.rank(job));
    }

    /// A job that commits and lacks a part runs again.
    pub(super) fn resume(&mut self, job: JobId) {
        let Some(resumed) = self.jobs.get_mut(&job) else { return };
        if let Life::Committing(steps) = &mut resumed.life
            && steps.last().is_some_and(|last| !last.is_done())
        {
            resumed.life = Life::Running(std::mem::take(steps));
            self.queue.insert(resumed.rank(job));
        }
    }

    pub(super) fn start_commit(&mut self, job: JobId) {
        let Some(last) = self.jobs.get(&job).and_then(|job| u16::try_from(job.steps().len()).ok()) else { return };
        self.stop_until(job, last);
        let Some(committing) = self.jobs.get_mut(&job) else { return };
        if let Life::Running(steps) = &mut committing.life {
            committing.life = Life::Committing(std::mem::take(steps));
        }
        self.queue.remove(&committing.rank(job));
    }

    pub(super) fn end(&mut self, job: JobId, life: impl FnOnce(Vec<StageView>) -> Life) {
        let Some(last) = self.jobs.get(&job).and_then(|job| u16::try_from(job.steps().len()).ok()) else { return };
        self.stop_until(job, last);
        let Some(over) = self.jobs.get_mut(&job) else { return };
        if over.state().is_over() {
            // Behind a summary: it says how the job ended at last, older ends may still be there.
            return;
        }
        self.live -= 1;
        if !over.steps().is_empty() {
            let mut left_out = skip::left_out(over.steps());
            let shown: Vec<_> = left_out.by_ref().take(limits::SKIPS_SHOWN).collect();
            over.skipped = (shown.len() as u64 + left_out.count() as u64, shown);
        }
        let after = life(view::stages_at_end(over));
        let before = std::mem::replace(&mut over.life, after);
        if let (Life::Running(steps) | Life::Committing(steps), Life::Failed { .. } | Life::Cancelled { .. }) =
            (before, &over.life)
        {
            over.kept = steps;
        }
        self.queue.remove(&over.rank(job));
        if let Some(url) = &over.spec.output.url {
            self.outputs.remove(&reservation(url));
        }
    }

    pub(super) fn retry(&mut self, job: JobId) {
        let Some(retried) = self.jobs.get_mut(&job) else { return };
        if retried.kept.is_empty() || !matches!(retried.life, Life::Failed { .. } | Life::Cancelled { .. }) {
            return;
        }
        let mut steps = std::mem::take(&mut retried.kept);
        steps.iter_mut().for_each(Step::forgive);
        retried.life = Life::Running(steps);
        retried.skipped = (0, Vec::new());
        self.live += 1;
        self.queue.insert(retried.rank(job));
        if let Some(url) = &retried.spec.output.url {
            self.outputs.insert(reservation(url), job);
        }
    }

    pub(super) fn expire(&mut self, job: JobId) {
        if let Some(expired) = self.jobs.get_mut(&job) {
            expired.kept = Vec::new();
        }
    }

    pub(super) fn forget(&mut self, job: JobId) {
        if let Some(gone) = self.jobs.remove(&job)
            && let Some(key) = gone.key
        {
            self.keys.remove(&key);
        }
    }
}
