//! Commands about whole jobs: submit, plan, cancel, commit, remove.

use gristmill_common::api::{JobFailure, JobState, OutputView};
use gristmill_common::plan::PlanSummary;
use gristmill_common::reason::bounded;
use gristmill_common::{Code, JobId, JobSpec, Problem, Stage, WorkerId, limits};

use super::command::Reply;
use super::durable::reservation;
use super::entry::{Entry, Idempotency};
use super::job::{Job, Life, Step};
use super::{Scheduler, no_such_job};

impl Scheduler {
    pub(super) fn submit(&mut self, job: JobId, spec: Box<JobSpec>, idempotency: Option<Idempotency>) -> Reply {
        if let Some(Idempotency { key, body }) = &idempotency
            && let Some((existing, known)) = self.durable.keys.get(key)
        {
            if known == body {
                return Reply::Submitted { job: *existing, existing: true };
            }
            let detail = format!("the idempotency key was used for job {existing} with another body: use a new key");
            return Reply::Refused(Problem::new(Code::Conflict, detail));
        }
        if self.durable.jobs.contains_key(&job) {
            return Reply::Refused(Problem::new(Code::Conflict, format!("job {job} exists")));
        }
        if self.durable.live >= limits::LIVE_JOBS {
            let detail = format!("{} jobs are not over yet, more are not taken: try again later", self.durable.live);
            return Reply::Refused(Problem::new(Code::Unavailable, detail));
        }
        if let Some(url) = &spec.output.url
            && let Some(owner) = self.durable.outputs.get(&reservation(url))
        {
            let detail = format!("`{url}` is the output of job {owner}, which is not over: wait for it, or cancel it");
            let mut problem = Problem::new(Code::Conflict, detail);
            problem.pointer = Some("/output/url".to_owned());
            return Reply::Refused(problem);
        }
        self.record(Entry::JobSubmitted { job, spec, at: self.soft.now.wall_ms, idempotency });
        Reply::Submitted { job, existing: false }
    }

    pub(super) fn finish_plan(&mut self, job: JobId, result: Result<PlanSummary, Box<JobFailure>>) -> Reply {
        let Some(planned) = self.durable.jobs.get(&job) else { return Reply::Refused(no_such_job(job)) };
        if planned.state() != JobState::Planning {
            return Reply::Done;
        }
        let result = result.and_then(|plan| fits(plan, planned.spec.steps.len()));
        match result {
            Ok(plan) => {
                self.record(Entry::JobPlanned { job, plan });
                self.soft.fresh.insert(job);
                self.settle(job);
            }
            Err(failure) => self.fail_job(job, *failure),
        }
        Reply::Done
    }

    pub(super) fn cancel(&mut self, job: JobId) -> Reply {
        let Some(state) = self.durable.jobs.get(&job).map(Job::state) else {
            return Reply::Refused(no_such_job(job));
        };
        #[cfg(test)]
        let state = match (self.bug, state) {
            (Some(super::Bug::CommitCancelled), JobState::Committing) => JobState::Running,
            (_, state) => state,
        };
        match state {
            JobState::Planning | JobState::Running => {
                self.record(Entry::JobCancelled { job, at: self.soft.now.wall_ms });
                self.soft.forget_job(job);
                self.retain(job);
                Reply::Done
            }
            JobState::Cancelled => Reply::Done,
            JobState::Committing | JobState::Succeeded | JobState::Failed => {
                let detail = match state {
                    JobState::Committing => {
                        "its output is being made visible; `explain` says what holds it up, if anything does".to_owned()
                    }
                    _ => format!("it has {} already", state.word()),
                };
                Reply::Refused(Problem::new(Code::Conflict, format!("job {job} cannot be cancelled: {detail}")))
            }
        }
    }

    pub(super) fn finish_commit(&mut self, job: JobId, output: OutputView) -> Reply {
        let Some(committed) = self.durable.jobs.get(&job) else { return Reply::Refused(no_such_job(job)) };
        match &committed.life {
            Life::Committing(_) => {
                self.record(Entry::JobSucceeded { job, at: self.soft.now.wall_ms, output });
                self.soft.forget_job(job);
                Reply::Done
            }
            Life::Succeeded { .. } => Reply::Done,
            Life::Planning | Life::Running(_) | Life::Failed { .. } | Life::Cancelled { .. } => {
                let detail = format!("job {job} is {}, not committing", committed.state().word());
                Reply::Refused(Problem::new(Code::Conflict, detail))
            }
        }
    }

    pub(super) fn note_commit(&mut self, job: JobId, why: String) -> Reply {
        if self.durable.jobs.get(&job).is_some_and(|job| job.state() == JobState::Committing) {
            self.soft.stuck_commits.insert(job, bounded(why));
        }
        Reply::Done
    }

    pub(super) fn remove(&mut self, job: JobId) -> Reply {
        let Some(gone) = self.durable.jobs.get(&job) else { return Reply::Refused(no_such_job(job)) };
        if !gone.state().is_over() {
            let detail = format!("job {job} is {}: cancel it first", gone.state().word());
            return Reply::Refused(Problem::new(Code::Conflict, detail));
        }
        self.record(Entry::JobRemoved { job });
        Reply::Done
    }

    pub(super) fn drain(&mut self, worker: WorkerId) -> Reply {
        let found = self.soft.change(worker, |worker| {
            worker.drain = true;
            worker.session
        });
        match found {
            Some(session) => {
                self.soft.wake.insert(session);
                Reply::Done
            }
            None => Reply::Refused(Problem::new(Code::NotFound, format!("there is no worker {worker}"))),
        }
    }

    /// Starts the commit once the last step is done. Called after every win, and once for plans without tasks.
    pub(super) fn settle(&mut self, job: JobId) {
        let Some(settled) = self.durable.jobs.get(&job) else { return };
        if matches!(settled.life, Life::Running(_)) && settled.steps().last().is_none_or(Step::is_done) {
            self.record(Entry::CommitStarted { job });
            self.soft.forget_job(job);
        } else if let Some((index, step)) = settled.current_step()
            && step.tasks(step.ready_stage()).is_exhausted()
        {
            let lines = if index == 0 && step.ready_stage() == Stage::Map { lines_of_a_task(settled) } else { None };
            self.fail_job(job, exhausted(step, lines));
        }
    }

    /// Ends what only lacks its last word: it may have been lost with the journal's tail, and no report would come to say it.
    pub(super) fn settle_all(&mut self) {
        let running: Vec<JobId> = self.durable.queue.iter().map(|rank| rank.job).collect();
        running.into_iter().for_each(|job| self.settle(job));
    }

    pub(super) fn fail_job(&mut self, job: JobId, mut failure: JobFailure) {
        failure.message = bounded(failure.message);
        self.record(Entry::JobFailed { job, at: self.soft.now.wall_ms, failure });
        self.soft.forget_job(job);
        self.retain(job);
    }
}

/// How many lines of its one input file each task has, where the number of a task so says which they are.
fn lines_of_a_task(job: &Job) -> Option<u64> {
    let is_one = job.plan.as_ref().is_some_and(|plan| plan.input_files == 1);
    job.spec.split.lines.filter(|_| is_one)
}

/// The failure of a job that went on without its failed tasks: the first of them, and which others.
fn exhausted(step: &Step, lines: Option<u64>) -> JobFailure {
    let (stage, tasks) = (step.ready_stage(), step.tasks(step.ready_stage()));
    let mut failure = step.given_up.clone().unwrap_or_else(|| JobFailure {
        task: None,
        reason: None,
        message: "tasks failed for good".to_owned(),
    });
    let line = |index: u64| match lines {
        None => String::new(),
        Some(1) => format!(" line {}", index.saturating_add(1)),
        Some(lines) => format!(" from line {}", index.saturating_mul(lines).saturating_add(1)),
    };
    let count = tasks.given_up.len();
    if let (1, Some(task), Some(_)) = (count, failure.task, lines) {
        failure.message.push_str(&format!("; it is{} of the input", line(u64::from(task.index))));
    }
    if count > 1 {
        let letter = if stage == Stage::Map { 'm' } else { 'r' };
        let indexes = tasks.given_up.iter().flat_map(|(start, end)| start..end);
        let shown: Vec<String> =
            indexes.take(FAILED_SHOWN).map(|index| format!("{letter}{index}{}", line(index))).collect();
        let more = if count > FAILED_SHOWN as u64 { ", …" } else { "" };
        let (all, shown) = (tasks.count, shown.join(", "));
        failure.message = format!("{count} of {all} tasks failed ({shown}{more}); the first: {}", failure.message);
    }
    failure
}

/// Failed tasks that a job's failure names.
const FAILED_SHOWN: usize = 50;

fn fits(plan: PlanSummary, steps: usize) -> Result<PlanSummary, Box<JobFailure>> {
    let failure = |message| Err(Box::new(JobFailure { task: None, reason: None, message }));
    if !plan.within_limits() {
        return failure(format!(
            "the plan has {} tasks, {} are allowed: make splits larger, or submit several jobs",
            plan.tasks(),
            limits::TASKS_PER_JOB
        ));
    }
    let chained = plan.shapes.first().is_none_or(|first| !first.fused)
        && plan.shapes.windows(2).all(|pair| pair[1].follows(pair[0]));
    if plan.shapes.len() != steps || !chained {
        return failure("the plan does not have the steps of the spec".to_owned());
    }
    Ok(plan)
}
