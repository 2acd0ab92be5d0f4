//! The durable half: what a fold of the journal gives, and `apply`, the only thing that changes it.
//!
//! `apply` never decides and never fails: an entry about something that is not there changes nothing. Every decision was
//! made before its entry was written, so that a rule may change without changing what old journals mean.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gristmill_common::api::StageView;
use gristmill_common::plan::PlanSummary;
use gristmill_common::wire::{Done, Location, Skipped};
use gristmill_common::{
    Digest, Epoch, Fence, FenceRange, Generation, JobId, JobSpec, Reason, Stage, TaskRange, WorkerId, limits,
};

use super::entry::{Entry, Idempotency, Loss, WallMs};
use super::job::{Job, Life, Step};
use super::report::Blame;
use super::shares::Shares;
use super::spread::Reads;
use super::tasks::{Attempts, Rival, Tasks, Win};

/// What a fold of the journal gives.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Durable {
    pub(crate) epoch: Option<Epoch>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// How many of them are not over.
    pub(crate) live: usize,
    pub(super) submitted: u64,
    pub(crate) keys: BTreeMap<String, (JobId, Digest)>,
    /// Output URLs of live jobs.
    pub(crate) outputs: BTreeMap<String, JobId>,
    /// Attempts by worker and first fence: the same pieces as in the jobs' tasks.
    pub(crate) held: BTreeMap<WorkerId, BTreeMap<Fence, Held>>,
    /// Running jobs, the more urgent first.
    pub(crate) queue: BTreeSet<Rank>,
    /// The same jobs in the order in which they are served.
    pub(crate) shares: Shares,
}

/// A job's place among the running ones: higher priority first, then first come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank {
    pub(super) priority: Reverse<i32>,
    pub(super) number: u64,
    pub(crate) job: JobId,
}

/// Attempts that a worker holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    pub(crate) step: u16,
    pub(crate) stage: Stage,
    pub(crate) tasks: TaskRange,
    pub(crate) generation: Generation,
}

/// The text under which an output URL is reserved: with and without the last slash is the same place.
pub(crate) fn reservation(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

impl Durable {
    /// Changes the state by one fact.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::EpochStarted { epoch } => self.epoch = Some(*epoch),
            Entry::JobSubmitted { job, spec, at, idempotency } => self.submit(*job, spec, *at, idempotency.as_ref()),
            Entry::JobPlanned { job, plan } => self.plan(*job, plan),
            Entry::ProgramPinned { job, step, executable } => {
                self.pin(*job, *step, *executable);
            }
            Entry::Granted { job, worker, step, stage, tasks, first_fence, generation, backup } => {
                let held = Held { job: *job, step: *step, stage: *stage, tasks: *tasks, generation: *generation };
                if *backup {
                    self.grant_rival(*worker, *first_fence, held);
                } else {
                    self.grant(*worker, *first_fence, held);
                }
            }
            Entry::Won { job, worker, step, stage, tasks, first_fence, done } => {
                self.stop(*job, *step, *stage, *tasks);
                self.win(*job, *step, *stage, *tasks, *first_fence, *worker, done);
            }
            Entry::Failed { job, worker, step, stage, task, fence, reason } => {
                self.fail(*job, *step, *stage, *task, *fence, *worker, reason);
            }
            Entry::Lost { job, worker, fences, why } => {
                for range in fences {
                    self.lose(*job, *worker, *range, *why);
                }
            }
            Entry::Adopted { .. } => {}
            Entry::OutputStored { job, step, map, fence } => self.store(*job, *step, *map, *fence),
            Entry::OutputUnshared { job, step, map, fence } => self.unshare(*job, *step, *map, *fence),
            Entry::TaskReopened { job, step, stage, tasks, below, .. } => {
                self.reopen(*job, *step, *stage, *tasks, *below);
            }
            Entry::RecordSkipped { job, step, stage, task, skipped } => self.skip(*job, *step, *stage, *task, skipped),
            Entry::OutputDiffered { job, .. } => {
                if let Some(job) = self.jobs.get_mut(job).filter(|job| !job.steps().is_empty()) {
                    job.differing += 1;
                }
            }
            Entry::RolledBack { job, step, stage, below, .. } => self.roll_back(*job, *step, *stage, *below),
            Entry::TaskGivenUp { job, task, failure } => {
                if let Some(step) = self.step_mut(*job, task.step) {
                    step.tasks_mut(task.stage).give_up(task.index);
                    step.given_up.get_or_insert_with(|| failure.clone());
                }
            }
            Entry::CommitStarted { job } => self.start_commit(*job),
            Entry::JobSucceeded { job, at, output } => {
                self.end(*job, |stages| Life::Succeeded { at: *at, output: output.clone(), stages });
            }
            Entry::JobFailed { job, at, failure } => {
                self.end(*job, |stages| Life::Failed { at: *at, failure: failure.clone(), stages });
            }
            Entry::JobCancelled { job, at } => self.end(*job, |stages| Life::Cancelled { at: *at, stages }),
            Entry::JobCompacted { job, summary } => self.take_summary(*job, summary),
            Entry::JobRetried { job } => self.retry(*job),
            Entry::JobExpired { job } => self.expire(*job),
            Entry::JobRemoved { job } => self.forget(*job),
        }
        if let Some(id) = entry.job() {
            match self.jobs.get(&id) {
                Some(job) => self.shares.place(id, job),
                None => self.shares.remove(id),
            }
        }
    }

    /// The first fence that can be granted in this epoch.
    fn epoch_floor(&self) -> Fence {
        Fence::first_of(self.epoch.map_or(0, |epoch| epoch.counter))
    }

    pub(super) fn step_mut(&mut self, job: JobId, step: u16) -> Option<&mut Step> {
        self.jobs.get_mut(&job)?.steps_mut().get_mut(usize::from(step))
    }

    fn pin(&mut self, job: JobId, step: u16, executable: Digest) {
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

    fn submit(&mut self, job: JobId, spec: &JobSpec, at: WallMs, idempotency: Option<&Idempotency>) {
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

    fn plan(&mut self, job: JobId, plan: &PlanSummary) {
        let floor = self.epoch_floor();
        let Some(planned) = self.jobs.get_mut(&job) else { return };
        if planned.life != Life::Planning {
            return;
        }
        let step = |shape: &gristmill_common::plan::StepShape| Step {
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

    fn grant(&mut self, worker: WorkerId, first_fence: Fence, held: Held) {
        self.stop(held.job, held.step, held.stage, held.tasks);
        let Some(step) = self.step_mut(held.job, held.step) else { return };
        step.tasks_mut(held.stage).start(Attempts { tasks: held.tasks, first_fence, worker });
        self.held.entry(worker).or_default().insert(first_fence, held);
    }

    fn grant_rival(&mut self, worker: WorkerId, fence: Fence, held: Held) {
        let task = held.tasks.first;
        let Some(step) = self.step_mut(held.job, held.step) else { return };
        let tasks = step.tasks_mut(held.stage);
        if tasks.running(task).is_some_and(|(_, first)| first != worker) && tasks.rival(task).is_none() {
            tasks.start_rival(task, Rival { fence, worker });
            self.held.entry(worker).or_default().insert(fence, held);
        }
    }

    /// Ends the attempts of these tasks that began with the fence; rivals go on.
    fn drop_out(&mut self, job: JobId, step: u16, stage: Stage, tasks: TaskRange, first_fence: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        for attempts in at.tasks_mut(stage).drop_out(tasks, first_fence) {
            self.release(attempts);
        }
    }

    /// Ends the attempts of these tasks, if any run.
    pub(super) fn stop(&mut self, job: JobId, step: u16, stage: Stage, tasks: TaskRange) {
        let Some(at) = self.step_mut(job, step) else { return };
        let stopped = at.tasks_mut(stage).stop(tasks);
        for attempts in stopped {
            self.release(attempts);
        }
    }

    /// Takes attempts out of their worker's hands.
    fn release(&mut self, attempts: Attempts) {
        let Some(held) = self.held.get_mut(&attempts.worker) else { return };
        let first = held.range(..=attempts.first_fence).next_back().map(|(&first, _)| first);
        let Some((first, whole)) = first.and_then(|first| held.remove_entry(&first)) else { return };
        let (start, end) = (attempts.tasks.first, attempts.tasks.end());
        let mut put_back = |from: u32, to: u32| {
            if from < to {
                let fence = first.plus(u64::from(from - whole.tasks.first));
                held.insert(fence, Held { tasks: TaskRange { first: from, count: to - from }, ..whole });
            }
        };
        put_back(whole.tasks.first, start);
        put_back(end, whole.tasks.end());
        if held.is_empty() {
            self.held.remove(&attempts.worker);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the entry")]
    fn win(
        &mut self,
        job: JobId,
        step: u16,
        stage: Stage,
        tasks: TaskRange,
        fence: Fence,
        worker: WorkerId,
        done: &Done,
    ) {
        let epoch_floor = self.epoch_floor();
        let Some(won) = self.jobs.get_mut(&job) else { return };
        won.outdate(step, stage, tasks, epoch_floor);
        let Some(at) = won.steps_mut().get_mut(usize::from(step)) else { return };
        let again = at.tasks(stage).below.range(tasks.first..tasks.end()).count() as u64;
        at.tasks_mut(stage).set_won(tasks, fence, worker, done);
        if stage == Stage::Reduce {
            at.reads.note(tasks, at.reduces.count, done);
        }
        if stage == Stage::Map && matches!(done.output.at, Location::Worker(_)) {
            at.hold(&Win { tasks, first_fence: fence, worker, output: done.output.clone(), stored: false });
        }
        let is_done = at.is_done();
        won.count(done, u64::from(tasks.count) - again);
        if is_done {
            self.stop_until(job, step);
        }
    }

    /// Ends what still runs in the steps up to this one: nothing needs it any more.
    fn stop_until(&mut self, job: JobId, last: u16) {
        for step in 0..=last {
            for stage in [Stage::Map, Stage::Reduce] {
                self.stop(job, step, stage, TaskRange { first: 0, count: u32::MAX });
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the entry")]
    fn fail(
        &mut self,
        job: JobId,
        step: u16,
        stage: Stage,
        task: u32,
        fence: Fence,
        worker: WorkerId,
        reason: &Reason,
    ) {
        let Some(found) = self.jobs.get(&job) else { return };
        let may_skip = found.may_skip() > 0;
        let blame = found.blame(step, stage, worker, reason);
        let tasks = found.step(step).map(|at| at.tasks(stage));
        let runs = tasks.and_then(|tasks| tasks.holder(task, fence));
        let others =
            tasks.map(|tasks| [tasks.running(task).map(|(of, _)| of), tasks.rival(task).map(|rival| rival.fence)]);
        let newest = others.into_iter().flatten().flatten().fold(fence, Fence::max);
        if runs.is_some() {
            self.drop_out(job, step, stage, TaskRange::one(task), fence);
        }
        let Some(at) = self.step_mut(job, step) else { return };
        let tasks = at.tasks_mut(stage);
        tasks.totals.failures += u64::from(blame == Blame::User);
        let trouble = tasks.trouble.entry(task).or_default();
        trouble.last_failed = trouble.last_failed.max(fence);
        match blame {
            Blame::User => {
                trouble.failures += 1;
                if may_skip && super::skip::may_be_cured(reason) {
                    tasks.bad.entry(task).or_default().note(reason.place(), fence, newest);
                }
            }
            Blame::Worker => {
                trouble.worker_failures += 1;
                trouble.failed_on = Some(worker);
            }
            Blame::Maker(map) if map.stage == Stage::Map => {
                at.maps.trouble.entry(map.index).or_default().lost_outputs += 1;
            }
            // What is lost of the step before is counted when its task is opened again.
            Blame::Maker(_) | Blame::Nobody => {}
        }
    }

    /// The failures that found the record are forgiven: there is one reason less for them.
    fn skip(&mut self, job: JobId, step: u16, stage: Stage, task: u32, skipped: &Skipped) {
        let Some(at) = self.step_mut(job, step) else { return };
        let tasks = at.tasks_mut(stage);
        tasks.bad.entry(task).or_default().leave_out(skipped.clone());
        tasks.trouble.entry(task).or_default().failures = 0;
        if let Some(job) = self.jobs.get_mut(&job) {
            job.skips_decided += 1;
        }
    }

    fn lose(&mut self, job: JobId, worker: WorkerId, fences: FenceRange, why: Loss) {
        for (first_fence, held) in self.held_within(worker, fences) {
            if held.job != job {
                continue;
            }
            self.drop_out(job, held.step, held.stage, held.tasks, first_fence);
            let Some(at) = self.step_mut(job, held.step) else { continue };
            let tasks = at.tasks_mut(held.stage);
            // What was given back or never begun cost nothing: no work was lost.
            if !matches!(why, Loss::Returned | Loss::NotStarted) {
                tasks.totals.losses += u64::from(held.tasks.count);
            }
            if why == Loss::WorkerDied {
                for task in held.tasks.iter() {
                    tasks.trouble.entry(task).or_default().worker_losses += 1;
                }
            }
        }
    }

    /// What the worker holds of these fences, cut to them.
    pub(crate) fn held_within(&self, worker: WorkerId, fences: FenceRange) -> Vec<(Fence, Held)> {
        let Some(held) = self.held.get(&worker) else { return Vec::new() };
        let first = held.range(..=fences.first).next_back().map_or(fences.first, |(&first, _)| first);
        let cut = |(&at, held): (&Fence, &Held)| {
            let start = at.max(fences.first);
            let end = at.plus(u64::from(held.tasks.count)).min(fences.end());
            let skip = u32::try_from(start.0.saturating_sub(at.0)).ok()?;
            let count = u32::try_from(end.0.checked_sub(start.0)?).ok()?;
            let tasks = TaskRange { first: held.tasks.first.saturating_add(skip), count };
            (count > 0).then_some((start, Held { tasks, ..*held }))
        };
        held.range(first..fences.end()).filter_map(cut).collect()
    }

    fn store(&mut self, job: JobId, step: u16, map: u32, fence: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        if at.maps.win(map).is_some_and(|win| win.fence_of(map) == fence && !win.stored)
            && let Some(win) = at.maps.set_stored(map)
        {
            at.unhold(&win);
        }
    }

    fn unshare(&mut self, job: JobId, step: u16, map: u32, fence: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        let holder = at.maps.win(map).filter(|win| win.fence_of(map) == fence).and_then(Win::sole_holder);
        if let Some(holder) = holder.and_then(|worker| at.holders.get_mut(&worker)) {
            holder.unshared.insert_tasks(TaskRange::one(map));
        }
    }

    fn reopen(&mut self, job: JobId, step: u16, stage: Stage, tasks: TaskRange, below: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        let is_part = stage == at.last_stage();
        let won = at.tasks(stage).won_within(tasks);
        for task in won.iter().flat_map(|(start, end)| start..end).filter_map(|task| u32::try_from(task).ok()) {
            let Some(win) = at.tasks_mut(stage).unwin(task) else { continue };
            at.tasks_mut(stage).below.insert(task, below);
            if is_part {
                at.tasks_mut(stage).trouble.entry(task).or_default().lost_outputs += 1;
            } else {
                at.unhold(&win);
            }
            at.tasks_mut(stage).former.insert(task, win.output.digest);
        }
        if stage == Stage::Map {
            at.generation.0 = at.generation.0.saturating_add(1);
        }
        let next = step.checked_add(1).filter(|_| is_part).and_then(|next| self.step_mut(job, next));
        if let Some(next) = next.filter(|next| next.fused) {
            next.generation.0 = next.generation.0.saturating_add(1);
        }
        self.resume(job);
    }

    /// A job that commits and lacks a part runs again.
    fn resume(&mut self, job: JobId) {
        let Some(resumed) = self.jobs.get_mut(&job) else { return };
        if let Life::Committing(steps) = &mut resumed.life
            && steps.last().is_some_and(|last| !last.is_done())
        {
            resumed.life = Life::Running(std::mem::take(steps));
            self.queue.insert(resumed.rank(job));
        }
    }

    fn start_commit(&mut self, job: JobId) {
        let Some(last) = self.jobs.get(&job).and_then(|job| u16::try_from(job.steps().len()).ok()) else { return };
        self.stop_until(job, last);
        let Some(committing) = self.jobs.get_mut(&job) else { return };
        if let Life::Running(steps) = &mut committing.life {
            committing.life = Life::Committing(std::mem::take(steps));
        }
        self.queue.remove(&committing.rank(job));
    }

    fn end(&mut self, job: JobId, life: impl FnOnce(Vec<StageView>) -> Life) {
        let Some(last) = self.jobs.get(&job).and_then(|job| u16::try_from(job.steps().len()).ok()) else { return };
        self.stop_until(job, last);
        let Some(over) = self.jobs.get_mut(&job) else { return };
        if over.state().is_over() {
            // Behind a summary: it says how the job ended at last, older ends may still be there.
            return;
        }
        self.live -= 1;
        if !over.steps().is_empty() {
            let mut left_out = super::skip::left_out(over.steps());
            let shown: Vec<_> = left_out.by_ref().take(limits::SKIPS_SHOWN).collect();
            over.skipped = (shown.len() as u64 + left_out.count() as u64, shown);
        }
        let after = life(super::view::stages_at_end(over));
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

    fn retry(&mut self, job: JobId) {
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

    fn expire(&mut self, job: JobId) {
        if let Some(expired) = self.jobs.get_mut(&job) {
            expired.kept = Vec::new();
        }
    }

    fn forget(&mut self, job: JobId) {
        if let Some(gone) = self.jobs.remove(&job)
            && let Some(key) = gone.key
        {
            self.keys.remove(&key);
        }
    }
}
