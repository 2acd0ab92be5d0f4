//! What becomes of reported attempts: the first valid report of an open task wins, and each failure counts once.
//!
//! A token proves the grant, so a report stands on its own: it may come late, from an earlier epoch, or for an attempt whose
//! grant was lost with the journal's tail. It is refused where the plan or the executable may have been another one
//! (`Step::floor`), and where its task was reopened since (`Tasks::below`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::api::{JobFailure, JobState};
use gristmill_common::plan::PartForm;
use gristmill_common::reason::bounded;
use gristmill_common::spec::OnFailedTask;
use gristmill_common::wire::{Ack, Done, Location, Outcome, Output, Report, TaskResult, Verdict};
use gristmill_common::{
    Fence, FenceRange, GrantName, JobId, Reason, Stage, TaskName, TaskRange, WorkerId, grant, limits,
};
use gristmill_runs::{Checksum, RunFile, verify_run};

use super::Scheduler;
use super::entry::Entry;
use super::job::Job;
use super::range_set::{RangeSet, task_range};

/// Whom a failure is charged to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blame {
    /// User code: counted against `attempts`.
    User,
    /// The task whose output it was: a map, or a reduce of the step before that runs the maps of this one.
    Maker(TaskName),
    /// The worker: counted apart.
    Worker,
    /// Nobody: the view was old, or an output has to be relayed.
    Nobody,
}

impl Job {
    /// Says whom a failure of an attempt is charged to.
    pub(crate) fn blame(&self, step: u16, stage: Stage, worker: WorkerId, reason: &Reason) -> Blame {
        match reason {
            Reason::LostOutput { map, fence, .. } | Reason::Unreachable { map, fence } => {
                let read = self.feeding(step, stage).filter(|_| stage == Stage::Reduce);
                let made = read.filter(|read| *read == (map.step, map.stage)).and_then(|_| self.step(map.step));
                let made = made.map(|at| at.tasks(map.stage)).filter(|tasks| map.index < tasks.count);
                let Some(made) = made else { return Blame::Worker };
                let win = made.win(map.index).filter(|win| win.fence_of(map.index) == *fence);
                match (win, reason) {
                    (None, _) => Blame::Nobody,
                    (Some(_), Reason::LostOutput { .. }) => Blame::Maker(*map),
                    (Some(win), _) if win.sole_holder().is_some_and(|holder| holder != worker) => Blame::Nobody,
                    (Some(_), _) => Blame::Worker,
                }
            }
            Reason::Worker { .. } => Blame::Worker,
            Reason::UserError { .. }
            | Reason::Panicked { .. }
            | Reason::Crashed { .. }
            | Reason::TimedOut { .. }
            | Reason::OutOfMemory { .. }
            | Reason::Limit { .. }
            | Reason::BadArguments { .. }
            | Reason::InputChanged { .. }
            | Reason::InputUnreadable { .. }
            | Reason::BadRecord { .. } => Blame::User,
        }
    }
}

/// Verdicts in the making: neighbours with the same verdict are one.
#[derive(Default)]
struct Acks(Vec<Ack>);

impl Acks {
    fn push(&mut self, fences: FenceRange, verdict: Verdict) {
        match self.0.last_mut() {
            Some(last) if last.verdict == verdict && last.fences.end() == fences.first => {
                last.fences.count = last.fences.count.saturating_add(fences.count);
            }
            _ => self.0.push(Ack { fences, verdict }),
        }
    }
}

impl Scheduler {
    pub(super) fn take_reports(&mut self, worker: WorkerId, reports: Vec<Report>) -> Vec<Ack> {
        let mut acks = Acks::default();
        let mut said = RangeSet::default();
        for report in reports {
            let Some(granted) = self.secret.verify(&report.token) else {
                if let Some(claimed) = grant::name_of(&report.token) {
                    acks.push(claimed.fences(), Verdict::Conflict);
                }
                continue;
            };
            for result in report.results {
                let Some(fences) = fences_of(&granted, result.tasks) else {
                    acks.push(granted.fences(), Verdict::Conflict);
                    continue;
                };
                // Said once, an attempt has ended: a poll that says it a thousand times must not cost a thousand times.
                if !said.within(fences.first.0, fences.end().0).is_empty() {
                    acks.push(fences, Verdict::Conflict);
                    continue;
                }
                said.insert_fences(fences);
                self.take_result(worker, &granted, fences, result, &mut acks);
            }
        }
        acks.0
    }

    fn take_result(
        &mut self,
        worker: WorkerId,
        granted: &GrantName,
        fences: FenceRange,
        result: TaskResult,
        acks: &mut Acks,
    ) {
        let TaskResult { tasks, outcome } = result;
        if let Some(verdict) = self.verdict_on_job(granted) {
            return acks.push(fences, verdict);
        }
        match outcome {
            Outcome::Done(done) => self.take_done(worker, granted, tasks, fences, done, acks),
            Outcome::Failed(reason) => {
                let reason = bounded_reason(reason);
                for (task, fence) in tasks.iter().zip(fences.iter()) {
                    let verdict = self.take_failure(worker, granted, task, fence, reason.clone());
                    acks.push(FenceRange::one(fence), verdict);
                }
            }
        }
    }

    /// The verdict where it does not depend on the task.
    fn verdict_on_job(&self, granted: &GrantName) -> Option<Verdict> {
        let Some(job) = self.durable.jobs.get(&granted.job) else { return Some(Verdict::Superseded) };
        match job.state() {
            JobState::Planning | JobState::Succeeded | JobState::Failed | JobState::Cancelled => {
                return Some(Verdict::Superseded);
            }
            JobState::Running | JobState::Committing => {}
        }
        match job.step(granted.step) {
            Some(step) if granted.tasks.end() <= step.tasks(granted.stage).count => {
                let floor = step.floor.max(step.tasks(granted.stage).floor);
                let is_outdated = granted.first_fence < floor || !job.inputs_were_won(granted.step, granted.stage);
                is_outdated.then_some(Verdict::Superseded)
            }
            _ => Some(Verdict::Conflict),
        }
    }

    fn take_done(
        &mut self,
        worker: WorkerId,
        granted: &GrantName,
        tasks: TaskRange,
        fences: FenceRange,
        done: Done,
        acks: &mut Acks,
    ) {
        let Some(step) = self.durable.jobs.get(&granted.job).and_then(|job| job.step(granted.step)) else { return };
        let job = self.durable.jobs.get(&granted.job);
        let kind = if job.is_some_and(|job| job.fused_into(granted.step, granted.stage).is_some()) {
            Kind::Fused
        } else if step.last_stage() == granted.stage {
            Kind::Part
        } else {
            Kind::MapOutput
        };
        let Some(done) = checked(done, worker, kind, fences) else {
            return acks.push(fences, Verdict::Conflict);
        };
        let table = step.tasks(granted.stage);
        let fence_of = |task: u32| fences.first.plus(u64::from(task - tasks.first));
        let won = table.won_within(tasks);
        for task in won.iter().flat_map(|(start, end)| task_range(start, end).iter()) {
            let is_same = table.win(task).is_some_and(|win| win.fence_of(task) == fence_of(task));
            acks.push(FenceRange::one(fence_of(task)), if is_same { Verdict::Duplicate } else { Verdict::Superseded });
        }
        let mut open = won.gaps(u64::from(tasks.first), u64::from(tasks.end()));
        #[cfg(test)]
        if self.bug == Some(super::Bug::LateReportOverwrites) {
            open = vec![(u64::from(tasks.first), u64::from(tasks.end()))];
        }
        if step.is_done() || self.is_past(granted) {
            open.drain(..).for_each(|(start, end)| {
                let late = task_range(start, end);
                acks.push(FenceRange { first: fence_of(late.first), count: late.count }, Verdict::Superseded);
            });
            return;
        }
        let mut winning = Vec::new();
        for (start, end) in open {
            let mut from = u32::try_from(start).unwrap_or(u32::MAX);
            let until = u32::try_from(end).unwrap_or(u32::MAX);
            for (&task, &below) in table.below.range(from..until) {
                #[cfg(test)]
                let below = if self.bug == Some(super::Bug::ReopenedTaskRewon) { Fence(0) } else { below };
                if fence_of(task) < below {
                    acks.push(FenceRange::one(fence_of(task)), Verdict::Superseded);
                    winning.extend((from < task).then(|| TaskRange { first: from, count: task - from }));
                    from = task + 1;
                }
            }
            winning.extend((from < until).then(|| TaskRange { first: from, count: until - from }));
        }
        for tasks in winning {
            let first_fence = fence_of(tasks.first);
            let fences = FenceRange { first: first_fence, count: tasks.count };
            // What won before may have ended the job.
            if let Some(verdict) = self.verdict_on_job(granted) {
                acks.push(fences, verdict);
                continue;
            }
            let mut done = done.clone();
            done.skipped =
                if tasks.count == 1 { self.known_skips(granted, tasks.first, &done.skipped) } else { Vec::new() };
            if let Some(reason) = self.too_many_bad(granted, tasks.first, &done.skipped) {
                acks.push(fences, self.take_failure(worker, granted, tasks.first, first_fence, reason));
                continue;
            }
            let differing = self.differing(granted, tasks, &done);
            let is_end = differing.is_some_and(|task| self.note_differing(granted, task));
            acks.push(fences, Verdict::Accepted);
            self.win(worker, granted, tasks, first_fence, done);
            if let Some(task) = differing.filter(|_| is_end) {
                self.fail_differing(granted, task);
            }
        }
    }

    /// Whether a later step is under way, so that nothing needs the report.
    fn is_past(&self, granted: &GrantName) -> bool {
        let current = self.durable.jobs.get(&granted.job).and_then(|job| job.current_step());
        current.is_none_or(|(step, _)| step > granted.step)
    }

    fn win(&mut self, worker: WorkerId, granted: &GrantName, tasks: TaskRange, first_fence: Fence, done: Done) {
        let GrantName { job, step, stage, .. } = *granted;
        let ready = |scheduler: &Self| {
            let job = scheduler.durable.jobs.get(&job)?;
            job.current_step().map(|(index, step)| (index, step.ready_stage()))
        };
        let before = ready(self);
        self.record(Entry::Won { job, worker, step, stage, tasks, first_fence, done });
        self.credit(worker);
        // A job with a cap may have room for another worker's task now.
        let is_capped = self.durable.jobs.get(&job).is_some_and(|job| job.spec.max_running.is_some());
        if ready(self) != before || is_capped {
            self.soft.fresh.insert(job);
        }
        self.settle(job);
    }

    fn take_failure(
        &mut self,
        worker: WorkerId,
        granted: &GrantName,
        task: u32,
        fence: Fence,
        reason: Reason,
    ) -> Verdict {
        let GrantName { job, step, stage, .. } = *granted;
        // The failure before may have ended the job.
        if let Some(verdict) = self.verdict_on_job(granted) {
            return verdict;
        }
        let Some(at) = self.durable.jobs.get(&job).and_then(|job| job.step(step)) else { return Verdict::Superseded };
        let (table, attempts) = (at.tasks(stage), self.durable.jobs.get(&job).map_or(1, |job| job.spec.attempts));
        if let Some(win) = table.win(task) {
            return if win.fence_of(task) == fence { Verdict::Conflict } else { Verdict::Superseded };
        }
        if at.is_done() || self.is_past(granted) || table.below.get(&task).is_some_and(|below| fence < *below) {
            return Verdict::Superseded;
        }
        let running = table.holder(task, fence);
        if running.is_some_and(|holder| holder != worker) {
            return Verdict::Conflict;
        }
        let last_failed = table.trouble(task).last_failed;
        #[cfg(test)]
        let last_failed = if self.bug == Some(super::Bug::FailureCountedTwice) { Fence(0) } else { last_failed };
        if running.is_none() && fence <= last_failed {
            return if fence == last_failed { Verdict::Duplicate } else { Verdict::Superseded };
        }
        let blame = self.durable.jobs.get(&job).map_or(Blame::Nobody, |job| job.blame(step, stage, worker, &reason));
        self.record(Entry::Failed { job, worker, step, stage, task, fence, reason: reason.clone() });
        self.soft.fresh.insert(job);
        if blame == Blame::Worker {
            self.strike(worker, reason.to_string());
        }
        self.after_failure(granted, task, blame, &reason, attempts);
        Verdict::Accepted
    }

    fn after_failure(&mut self, granted: &GrantName, task: u32, blame: Blame, reason: &Reason, attempts: u32) {
        let GrantName { job, step, .. } = *granted;
        let name = granted.task(task);
        let Some(at) = self.durable.jobs.get(&job).and_then(|job| job.step(step)) else { return };
        let trouble = at.tasks(granted.stage).trouble(task);
        match blame {
            Blame::User if reason.is_final() => {
                let message = format!("task {name} cannot succeed: {reason}");
                self.give_up(granted, name, reason, message);
            }
            Blame::User if self.skip_record(granted, task, reason) => {}
            Blame::User if trouble.failures >= attempts => {
                let (times, last) =
                    (times(trouble.failures), if trouble.failures > 1 { ", the last time: " } else { ": " });
                let skips = self.skips_used(job);
                let message = format!(
                    "task {name} failed {times}{last}{reason}; mend the program or its input, or raise `attempts`{skips}"
                );
                self.give_up(granted, name, reason, message);
            }
            Blame::User => self.delay((job, name), trouble.failures),
            Blame::Worker if trouble.worker_failures >= limits::WORKER_FAILURES => {
                let times = times(trouble.worker_failures);
                let message =
                    format!("workers could not run task {name} {times}, the last time: {reason}; see to the workers");
                self.fail_task(granted, name, reason, message);
            }
            Blame::Worker => {
                self.delay((job, name), trouble.worker_failures);
                self.soft.avoided.insert((job, name), self.now_ms().saturating_add(AVOID_MS));
            }
            Blame::Maker(made) => self.after_lost_output(granted, made, reason),
            Blame::Nobody => {
                if let Reason::Unreachable { map, fence } = reason {
                    self.unshare(granted, *map, *fence);
                }
            }
        }
    }

    /// A task failed for good: its job fails, at once or when the others of the stage are through.
    fn give_up(&mut self, granted: &GrantName, name: TaskName, reason: &Reason, message: String) {
        let Some(job) = self.durable.jobs.get(&granted.job) else { return };
        if job.spec.on_failed_task == OnFailedTask::Fail {
            return self.fail_task(granted, name, reason, message);
        }
        let Some(step) = job.step(name.step) else { return };
        // A rival that still runs may win yet; if it fails too, this is asked again.
        if step.tasks(name.stage).open.contains(u64::from(name.index)) {
            let failure = JobFailure { task: Some(name), reason: Some(reason.clone()), message: bounded(message) };
            self.record(Entry::TaskGivenUp { job: granted.job, task: name, failure });
            self.settle(granted.job);
        }
    }

    pub(super) fn fail_task(&mut self, granted: &GrantName, task: TaskName, reason: &Reason, message: String) {
        self.fail_job(granted.job, JobFailure { task: Some(task), reason: Some(reason.clone()), message });
    }

    fn after_lost_output(&mut self, granted: &GrantName, name: TaskName, reason: &Reason) {
        let GrantName { job, step, .. } = *granted;
        let Some(at) = self.durable.jobs.get(&job).and_then(|job| job.step(step)) else { return };
        if name.stage == Stage::Reduce {
            #[cfg(test)]
            if self.bug == Some(super::Bug::FusedOutputForgotten) {
                return;
            }
            if let Reason::LostOutput { fence, message, .. } = reason {
                self.lose_parts(job, name.step, &[(name.index, *fence)], message);
            }
            return;
        }
        let map = name.index;
        let lost = at.maps.trouble(map).lost_outputs;
        if lost >= limits::LOST_OUTPUTS {
            let message =
                format!("the output of {name} was lost {}, the last time: {reason}; see to the disks", times(lost));
            return self.fail_task(granted, name, reason, message);
        }
        self.reopen(job, (step, Stage::Map), TaskRange::one(map), reason.to_string());
    }

    fn unshare(&mut self, granted: &GrantName, map: TaskName, fence: Fence) {
        let GrantName { job, step, .. } = *granted;
        let Some(at) = self.durable.jobs.get(&job).and_then(|job| job.step(step)) else { return };
        let win = at.maps.win(map.index).filter(|win| win.fence_of(map.index) == fence);
        let Some(holder) = win.and_then(super::tasks::Win::sole_holder) else { return };
        let is_known = at.holders.get(&holder).is_some_and(|holder| holder.unshared.contains(u64::from(map.index)));
        if !is_known {
            self.record(Entry::OutputUnshared { job, step, map: map.index, fence });
        }
    }

    pub(super) fn reopen(&mut self, job: JobId, (step, stage): (u16, Stage), tasks: TaskRange, why: String) {
        let below = Fence(self.soft.next_fence);
        self.record(Entry::TaskReopened { job, step, stage, tasks, below, why: bounded(why) });
        self.soft.fresh.insert(job);
    }
}

/// The attempts of tasks of a grant; `None` for tasks that are not in it.
fn fences_of(granted: &GrantName, tasks: TaskRange) -> Option<FenceRange> {
    let is_inside = tasks.count > 0
        && tasks.first >= granted.tasks.first
        && tasks.first.checked_add(tasks.count).is_some_and(|end| end <= granted.tasks.end());
    let first = granted.fence_of(tasks.first).filter(|_| is_inside)?;
    Some(FenceRange { first, count: tasks.count })
}

/// How long a task is kept for others than the worker that could not run it, in milliseconds: they may never come.
const AVOID_MS: u64 = 10_000;

pub(super) fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// What the output of a task is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Partitions, kept by the worker.
    MapOutput,
    /// Text, kept by the coordinator.
    Part,
    /// What a reduce leaves that runs the next step's maps too: partitions, kept by the coordinator.
    Fused,
}

/// Checks what a peer says of its output, and cuts its counters; `None` for what cannot be.
fn checked(mut done: Done, worker: WorkerId, kind: Kind, fences: FenceRange) -> Option<Done> {
    let output = &done.output;
    let is_formed = match output.form {
        PartForm::Run => true,
        PartForm::File => kind == Kind::Part && output.bytes == output.text_bytes,
    };
    let fits = match &output.at {
        Location::Nothing => (output.records, output.bytes, output.text_bytes) == (0, 0, 0),
        Location::Store => true,
        Location::Inline(text) => {
            text.len() <= limits::INLINE_OUTPUT_BYTES.div_ceil(3) * 4
                && match output.form {
                    PartForm::Run => is_run(text, output, kind, fences),
                    PartForm::File => is_file(text, output),
                }
        }
        Location::Worker(holder) => *holder == worker && kind == Kind::MapOutput,
    };
    done.counters.retain(|name, _| name.len() <= limits::COUNTER_NAME_BYTES);
    while done.counters.len() > limits::COUNTERS {
        done.counters.pop_last();
    }
    (fits && is_formed && done.output.digest.len() <= DIGEST_CHARACTERS).then_some(done)
}

/// Whether the text is the finished file that the report describes.
fn is_file(text: &str, output: &Output) -> bool {
    let found = STANDARD.decode(text).map(|bytes| Checksum::of(&bytes));
    let reported = u64::from_str_radix(&output.digest, 16).map(|crc| Checksum::new(crc, output.bytes));
    found.ok().is_some_and(|found| reported == Ok(found))
}

/// Whether the text is a whole run file of this attempt: whoever reads it later could only call it lost.
fn is_run(text: &str, output: &Output, kind: Kind, fences: FenceRange) -> bool {
    let is_part = kind == Kind::Part;
    let run = STANDARD.decode(text).ok().and_then(|bytes| RunFile::from_bytes(bytes).ok());
    let Some((run, (header, summary))) = run.and_then(|run| verify_run(&run).ok().map(|found| (run, found))) else {
        return false;
    };
    // A run names one attempt, so a range of them cannot share it.
    let is_theirs = fences.count == 1 && header.fence == fences.first && summary.records == output.records;
    let digest = u64::from_str_radix(&output.digest, 16).ok();
    let is_same = (summary.text_bytes, Some(summary.digest)) == (output.text_bytes, digest);
    is_theirs && run.is_part() == is_part && (!is_part || is_same)
}

/// Room for any digest in hex.
const DIGEST_CHARACTERS: usize = 128;

/// Cuts the texts of a reason that comes from outside.
fn bounded_reason(mut reason: Reason) -> Reason {
    let place = match &mut reason {
        Reason::UserError { message, at }
        | Reason::Panicked { message, at }
        | Reason::Crashed { message, at }
        | Reason::OutOfMemory { message, at }
        | Reason::Limit { message, at }
        | Reason::InputUnreadable { message, at }
        | Reason::BadRecord { message, at } => {
            *message = bounded(std::mem::take(message));
            at.as_mut()
        }
        Reason::TimedOut { at, .. } => at.as_mut(),
        Reason::BadArguments { message }
        | Reason::InputChanged { message }
        | Reason::LostOutput { message, .. }
        | Reason::Worker { message } => {
            *message = bounded(std::mem::take(message));
            None
        }
        Reason::Unreachable { .. } => None,
    };
    if let Some(place) = place {
        place.file = bounded(std::mem::take(&mut place.file));
    }
    reason
}
