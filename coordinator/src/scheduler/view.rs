//! What users and handlers may ask: pages of jobs, tasks and workers, and where parts and map outputs are. Changes nothing.

use std::collections::BTreeMap;

use gristmill_common::api::{
    InputView, JobFailure, JobState, JobView, JobsPage, OutputView, StageView, TaskState, TaskView, TasksPage,
    WorkerView, WorkersPage,
};
use gristmill_common::plan::{PlanSummary, feeding};
use gristmill_common::shuffle::{Holder, ShuffleAddress};
use gristmill_common::wire::{Location, Output, OutputRef, OutputsAnswer};
use gristmill_common::{Code, Fence, GrantName, JobId, JobSpec, Problem, Stage, TaskName, WorkerId, limits};

use super::command::Now;
use super::entry::WallMs;
use super::job::{Job, Life, Step};
use super::skip::left_out;
use super::soft::Worker;
use super::spread;
use super::tasks::{Attempts, Tasks};
use super::{Scheduler, no_such_job};

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those of this name.
    pub name: Option<String>,
}

/// Which tasks to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskFilter {
    /// Only those of this step.
    pub step: Option<u16>,
    /// Only those of this stage.
    pub stage: Option<Stage>,
    /// Only those in this state.
    pub state: Option<TaskState>,
}

/// Tasks looked at for one page: a filter that matches none must not walk a million.
const TASKS_PER_LOOK: usize = 50_000;

impl Scheduler {
    /// Shows one job.
    ///
    /// # Errors
    /// `not_found`.
    pub fn job_view(&self, id: JobId, now: Now) -> Result<JobView, Problem> {
        let job = self.durable.jobs.get(&id).ok_or_else(|| no_such_job(id))?;
        let mut view = self.view_of(id, job, now);
        add_spread(job, &mut view.stages);
        Ok(view)
    }

    /// Lists jobs, newest first. The cursor is the id of the last job of the page before.
    ///
    /// # Errors
    /// `invalid` for a cursor that is no job id.
    pub fn jobs(&self, filter: &JobFilter, cursor: Option<&str>, limit: usize, now: Now) -> Result<JobsPage, Problem> {
        let before: Option<JobId> = match cursor {
            Some(text) => Some(text.parse().map_err(|_| Problem::at("", "the cursor is not one that a page gave"))?),
            None => None,
        };
        let limit = limit.clamp(1, limits::PAGE_ITEMS);
        let fits = |job: &Job| {
            filter.state.is_none_or(|state| state == job.state())
                && filter.name.as_ref().is_none_or(|name| *name == job.spec.name)
        };
        let older = self.durable.jobs.iter().rev().filter(|(id, _)| before.is_none_or(|before| **id < before));
        let mut found = older.filter(|(_, job)| fits(job));
        let jobs: Vec<JobView> = found.by_ref().take(limit).map(|(id, job)| self.view_of(*id, job, now)).collect();
        let next_cursor = found.next().and_then(|_| jobs.last()).map(|last| last.id.to_string());
        Ok(JobsPage { jobs, next_cursor })
    }

    fn view_of(&self, id: JobId, job: &Job, now: Now) -> JobView {
        let ended = job.ended_at();
        let (skipped_records, skipped) = if job.steps().is_empty() {
            job.skipped.clone()
        } else {
            let count = job.steps().iter().flat_map(|step| [&step.maps, &step.reduces]);
            let count = count.flat_map(|tasks| tasks.left_out.values()).map(|records| records.len() as u64).sum();
            (count, left_out(job.steps()).take(limits::SKIPS_SHOWN).collect())
        };
        JobView {
            id,
            name: job.spec.name.clone(),
            state: job.state(),
            submitted_at: rfc3339(job.submitted_at),
            ended_at: ended.map(rfc3339),
            elapsed_ms: ended.unwrap_or(now.wall_ms).saturating_sub(job.submitted_at),
            failure: job.failure().cloned(),
            stages: self.stages_with_progress(job),
            input: job
                .plan
                .as_ref()
                .map_or_else(InputView::default, |plan| InputView { files: plan.input_files, bytes: plan.input_bytes }),
            output: job.output().cloned(),
            counters: job.counters.clone(),
            skipped_records,
            skipped,
            differing_outputs: job.differing,
            spec: (*job.spec).clone(),
        }
    }

    fn stages_with_progress(&self, job: &Job) -> Vec<StageView> {
        let mut views = stages(job);
        let mut told = BTreeMap::new();
        for view in &mut views {
            let Some(step) = job.step(view.step) else { continue };
            let mut running = 0;
            for attempts in step.tasks(view.stage).attempts().take(TASKS_PER_LOOK) {
                let told = told.entry(attempts.worker).or_insert_with(|| self.told_progress(attempts.worker));
                running += progress(told, attempts);
            }
            let done = u64::from(view.won) * 1_000 + running;
            view.progress_permille = permille(done, u64::from(view.tasks));
        }
        views
    }

    /// What the worker said of its attempts' progress: the end of a range of fences, by its start, and thousandths.
    pub(super) fn told_progress(&self, worker: WorkerId) -> BTreeMap<Fence, (Fence, u64)> {
        let running = self.soft.workers.get(&worker).into_iter().flat_map(|worker| &worker.running);
        let said = running.filter_map(|running| Some((running.fences, running.progress_permille?)));
        said.map(|(fences, permille)| (fences.first, (fences.end(), u64::from(permille.min(1_000))))).collect()
    }

    /// What the worker said that the attempt's user code does.
    pub(super) fn told_status(&self, worker: WorkerId, fence: Fence) -> Option<&str> {
        let mut running = self.soft.workers.get(&worker)?.running.iter();
        // Only what runs has a status, and a worker runs as many attempts as it has slots.
        running.find(|running| running.status.is_some() && running.fences.contains(fence))?.status.as_deref()
    }

    /// Lists tasks of a job in task order. The cursor is the name of the last task looked at.
    ///
    /// # Errors
    /// `not_found`, or `invalid` for a cursor that is no task name.
    pub fn tasks(
        &self,
        id: JobId,
        filter: TaskFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<TasksPage, Problem> {
        let job = self.durable.jobs.get(&id).ok_or_else(|| no_such_job(id))?;
        let after: Option<TaskName> = match cursor {
            Some(text) => Some(text.parse().map_err(|_| Problem::at("", "the cursor is not one that a page gave"))?),
            None => None,
        };
        let limit = limit.clamp(1, limits::PAGE_ITEMS);
        let current = job.current_step().map(|(index, step)| (index, step.ready_stage()));
        let mut page = TasksPage { tasks: Vec::new(), next_cursor: None };
        let mut looked = 0;
        for (index, step) in
            (0_u16..).zip(job.known_steps()).filter(|(index, _)| filter.step.is_none_or(|only| only == *index))
        {
            for stage in [Stage::Map, Stage::Reduce] {
                if filter.stage.is_some_and(|only| only != stage) {
                    continue;
                }
                let first = match after {
                    Some(after) if (after.step, after.stage) > (index, stage) => continue,
                    Some(after) if (after.step, after.stage) == (index, stage) => after.index.saturating_add(1),
                    _ => 0,
                };
                let is_blocked = current.is_some_and(|current| (index, stage) > current);
                for task in first..step.tasks(stage).count {
                    let name = TaskName { step: index, stage, index: task };
                    let view = self.task_view(name, step.tasks(stage), is_blocked);
                    if filter.state.is_none_or(|only| only == view.state) {
                        page.tasks.push(view);
                    }
                    looked += 1;
                    if page.tasks.len() >= limit || looked >= TASKS_PER_LOOK {
                        page.next_cursor = Some(name.to_string());
                        return Ok(page);
                    }
                }
            }
        }
        Ok(page)
    }

    fn task_view(&self, task: TaskName, tasks: &Tasks, is_blocked: bool) -> TaskView {
        let trouble = tasks.trouble(task.index);
        let (state, at) = match (tasks.win(task.index), tasks.running(task.index)) {
            (Some(win), _) => (TaskState::Won, Some((win.fence_of(task.index), win.worker))),
            (None, Some(running)) => (TaskState::Running, Some(running)),
            (None, None) if tasks.given_up.contains(u64::from(task.index)) => (TaskState::Failed, None),
            (None, None) => (if is_blocked { TaskState::Blocked } else { TaskState::Queued }, None),
        };
        TaskView {
            task,
            state,
            worker: at.map(|(_, worker)| self.worker_name(worker)),
            fence: at.map(|(fence, _)| fence.0),
            backup: tasks.rival(task.index).map(|rival| self.worker_name(rival.worker)),
            status: match (state, at) {
                (TaskState::Running, Some((fence, worker))) => self.told_status(worker, fence).map(str::to_owned),
                _ => None,
            },
            failures: trouble.failures,
            losses: trouble.worker_losses,
        }
    }

    pub(super) fn worker_name(&self, id: WorkerId) -> String {
        self.soft.workers.get(&id).map_or_else(|| id.to_string(), |worker| worker.about.name.clone())
    }

    /// Lists the workers known in this epoch, by name.
    #[must_use]
    pub fn workers(&self, now: Now) -> WorkersPage {
        let view = |(id, worker): (&WorkerId, &Worker)| {
            let condition = self.condition(*id);
            let word = condition.as_ref().map(|(word, _)| *word);
            WorkerView {
                id: *id,
                name: worker.about.name.clone(),
                state: match worker {
                    worker if worker.is_silent => "silent",
                    worker if worker.is_draining || worker.drain => "draining",
                    _ => word.unwrap_or("live"),
                }
                .to_owned(),
                why: condition.map(|(_, why)| why),
                slots: worker.about.slots,
                running: u32::try_from(self.held_count(*id)).unwrap_or(u32::MAX),
                last_poll_ms: now.mono_ms.saturating_sub(worker.polled_ms),
                version: worker.about.version.clone(),
                programs: worker.about.programs.clone(),
                roots: worker.about.roots.clone(),
                no_room: worker.no_room.clone(),
            }
        };
        let mut workers: Vec<WorkerView> = self.soft.workers.iter().map(view).collect();
        workers.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        WorkersPage { workers }
    }

    /// Tells the holder of a reduce grant where its inputs are.
    ///
    /// # Errors
    /// `stale` when the attempts are not the worker's any more, or an output is being made again.
    pub fn outputs(&self, grant: &GrantName) -> Result<OutputsAnswer, Problem> {
        let stale = |detail: &str| Problem::new(Code::Stale, detail);
        let job = self.durable.jobs.get(&grant.job).ok_or_else(|| no_such_job(grant.job))?;
        let steps = if grant.only_reads() { job.known_steps() } else { job.steps() };
        let step = steps.get(usize::from(grant.step)).ok_or_else(|| stale("the job is over"))?;
        if !grant.only_reads() && !grant.tasks.iter().any(|index| self.is_granted(grant, index)) {
            return Err(stale("the attempts were given to another worker, or are over"));
        }
        let (from, stage) = feeding(grant.step, step.fused);
        let made = steps.get(usize::from(from)).map(|from| from.tasks(stage));
        let made = made.filter(|made| grant.stage == Stage::Reduce && made.is_won());
        let made = made.ok_or_else(|| stale("an input is being made again: give the attempt back"))?;
        let outputs = made.wins().filter(|win| win.output.at != Location::Nothing);
        let outputs = outputs.flat_map(|win| {
            win.tasks.iter().map(|map| OutputRef {
                map,
                fence: win.fence_of(map),
                bytes: win.output.bytes,
                at: std::iter::once(win.output.at.clone()).chain(win.stored.then_some(Location::Store)).collect(),
            })
        });
        Ok(OutputsAnswer { generation: step.generation, outputs: outputs.collect(), holders: BTreeMap::new() })
    }

    /// Tells the holder of a reduce grant which workers serve the outputs that they have.
    #[must_use]
    pub fn holders(&self, grant: &GrantName) -> BTreeMap<WorkerId, Holder> {
        let step = self.durable.jobs.get(&grant.job).and_then(|job| job.kept_step(grant.step));
        let holders = step.into_iter().flat_map(|step| step.holders.keys());
        let serving = holders.filter_map(|id| {
            let worker = self.soft.workers.get(id).filter(|worker| worker.is_live())?;
            let ShuffleAddress { url, pin, key } = worker.about.shuffle.clone()?;
            Some((*id, Holder { url, pin, token: key.secret().sign(grant) }))
        });
        serving.collect()
    }

    /// Says whether the grant's attempt of this task is running, or is the one that won.
    #[must_use]
    pub fn is_granted(&self, grant: &GrantName, index: u32) -> bool {
        let Some(fence) = grant.fence_of(index) else { return false };
        let Some(step) = self.durable.jobs.get(&grant.job).and_then(|job| job.step(grant.step)) else { return false };
        let tasks = step.tasks(grant.stage);
        tasks.holder(index, fence).is_some() || tasks.win(index).is_some_and(|win| win.fence_of(index) == fence)
    }

    /// Returns the name of the worker that runs the grant's attempt of this task; `None` when it does not run.
    #[must_use]
    pub fn runner(&self, grant: &GrantName, index: u32) -> Option<String> {
        let fence = grant.fence_of(index)?;
        let step = self.durable.jobs.get(&grant.job)?.step(grant.step)?;
        let (_, worker) = step.tasks(grant.stage).running(index).filter(|(running, _)| *running == fence)?;
        Some(self.worker_name(worker))
    }

    /// Returns one part of a step: the winning attempt and its output.
    #[must_use]
    pub fn part(&self, job: JobId, step: u16, index: u32) -> Option<(Fence, Output)> {
        let step = self.durable.jobs.get(&job)?.kept_step(step)?;
        step.tasks(step.last_stage()).win(index).map(|win| (win.fence_of(index), win.output.clone()))
    }

    /// Returns all parts of the job's last step, in order, once it commits.
    #[must_use]
    pub fn parts(&self, job: JobId) -> Option<Vec<(u32, Fence, Output)>> {
        let Life::Committing(steps) = &self.durable.jobs.get(&job)?.life else { return None };
        let last = steps.last()?;
        let wins = last.tasks(last.last_stage()).wins();
        Some(wins.flat_map(|win| win.tasks.iter().map(|i| (i, win.fence_of(i), win.output.clone()))).collect())
    }

    /// Returns the tasks whose outputs the reduces of a step read.
    #[must_use]
    pub fn feeding(&self, job: JobId, step: u16) -> Option<(u16, Stage)> {
        self.durable.jobs.get(&job)?.feeding(step, Stage::Reduce)
    }

    /// Returns a job's spec.
    #[must_use]
    pub fn spec(&self, job: JobId) -> Option<std::sync::Arc<JobSpec>> {
        self.durable.jobs.get(&job).map(|job| job.spec.clone())
    }

    /// Returns a job's state.
    #[must_use]
    pub fn state(&self, job: JobId) -> Option<JobState> {
        self.durable.jobs.get(&job).map(Job::state)
    }

    /// Returns what the journal keeps of a job's plan, once there is one.
    #[must_use]
    pub fn plan_summary(&self, job: JobId) -> Option<std::sync::Arc<PlanSummary>> {
        self.durable.jobs.get(&job).and_then(|job| job.plan.clone())
    }

    /// Returns the jobs whose planner has to run.
    #[must_use]
    pub fn planning_jobs(&self) -> Vec<JobId> {
        self.jobs_in(JobState::Planning)
    }

    /// Says why the commit of a job did not work yet, if it was tried.
    #[must_use]
    pub fn stuck_commit(&self, job: JobId) -> Option<String> {
        let is_committing = matches!(self.durable.jobs.get(&job)?.life, Life::Committing(_));
        self.soft.stuck_commits.get(&job).filter(|_| is_committing).cloned()
    }

    /// Returns the jobs whose commit has to run.
    #[must_use]
    pub fn committing_jobs(&self) -> Vec<JobId> {
        self.jobs_in(JobState::Committing)
    }

    fn jobs_in(&self, state: JobState) -> Vec<JobId> {
        self.durable.jobs.iter().filter(|(_, job)| job.state() == state).map(|(id, _)| *id).collect()
    }

    /// Finds a job by its id, by a prefix that only one has, or as `last`.
    ///
    /// # Errors
    /// `not_found`, or `conflict` for a prefix that several jobs have.
    pub fn resolve(&self, text: &str) -> Result<JobId, Problem> {
        let none =
            || Problem::new(Code::NotFound, format!("there is no job `{}`", text.chars().take(80).collect::<String>()));
        if text == "last" {
            return self.durable.jobs.iter().max_by_key(|(_, job)| job.number).map(|(id, _)| *id).ok_or_else(none);
        }
        if let Ok(id) = text.parse::<JobId>() {
            return self.durable.jobs.contains_key(&id).then_some(id).ok_or_else(none);
        }
        if text.is_empty() || text.len() > 36 {
            return Err(none());
        }
        let text = text.to_ascii_lowercase();
        let mut found = self.durable.jobs.keys().filter(|id| id.to_string().starts_with(&text));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(*id),
            (Some(a), Some(b)) => {
                let detail =
                    format!("`{text}` begins the ids of several jobs, {a} and {b} among them: give more digits");
                Err(Problem::new(Code::Conflict, detail))
            }
            (None, _) => Err(none()),
        }
    }
}

impl Job {
    fn ended_at(&self) -> Option<WallMs> {
        match self.life {
            Life::Succeeded { at, .. } | Life::Failed { at, .. } | Life::Cancelled { at, .. } => Some(at),
            Life::Planning | Life::Running(_) | Life::Committing(_) => None,
        }
    }

    pub(super) fn failure(&self) -> Option<&JobFailure> {
        if let Life::Failed { failure, .. } = &self.life { Some(failure) } else { None }
    }

    fn output(&self) -> Option<&OutputView> {
        if let Life::Succeeded { output, .. } = &self.life { Some(output) } else { None }
    }
}

/// Thousandths that were said of the attempts, all together.
fn progress(told: &BTreeMap<Fence, (Fence, u64)>, attempts: &Attempts) -> u64 {
    let (start, end) = (attempts.first_fence, attempts.first_fence.plus(u64::from(attempts.tasks.count)));
    let before = told.range(..start).next_back();
    let within = |(first, (last, permille)): (&Fence, &(Fence, u64))| {
        (*last).min(end).0.saturating_sub((*first).max(start).0).saturating_mul(*permille)
    };
    before.into_iter().chain(told.range(start..end)).map(within).fold(0, u64::saturating_add)
}

/// The numbers of a job's stages as far as they are durable; for a job that is over, as they were at its end.
pub(super) fn stages(job: &Job) -> Vec<StageView> {
    match &job.life {
        Life::Planning => Vec::new(),
        Life::Running(steps) | Life::Committing(steps) => {
            let next = |step: u16| steps.get(usize::from(step) + 1);
            (0_u16..).zip(steps).flat_map(|(i, s)| stages_of(i, s, next(i).is_some_and(|next| next.fused))).collect()
        }
        Life::Succeeded { stages, .. } | Life::Failed { stages, .. } | Life::Cancelled { stages, .. } => stages.clone(),
    }
}

/// The same of a job that ends now, with what is too dear for a list of jobs.
pub(super) fn stages_at_end(job: &Job) -> Vec<StageView> {
    let mut stages = stages(job);
    add_spread(job, &mut stages);
    stages
}

fn add_spread(job: &Job, stages: &mut [StageView]) {
    for (step, spread) in spread::of_steps(job) {
        let mut reduces = stages.iter_mut().filter(|view| (view.step, view.stage) == (step, Stage::Reduce));
        reduces.by_ref().for_each(|view| view.spread = Some(spread));
    }
}

/// `maps_next`: the reduces run the maps of the next step too.
fn stages_of(index: u16, step: &Step, maps_next: bool) -> impl Iterator<Item = StageView> + '_ {
    let is_there = |stage: &Stage| if *stage == Stage::Map { !step.fused } else { step.reduces.count > 0 };
    [Stage::Map, Stage::Reduce].into_iter().filter(is_there).map(move |stage| {
        let tasks = step.tasks(stage);
        StageView {
            step: index,
            stage,
            tasks: tasks.count,
            queued: u32::try_from(tasks.open.len()).unwrap_or(u32::MAX),
            running: tasks.running_count(),
            won: tasks.won_count(),
            failures: tasks.totals.failures,
            losses: tasks.totals.losses,
            progress_permille: permille(u64::from(tasks.won_count()) * 1_000, u64::from(tasks.count)),
            records_in: tasks.totals.records_in,
            records_out: tasks.totals.records_out,
            output_bytes: tasks.totals.output_bytes,
            spread: None,
            maps_next: maps_next && stage == Stage::Reduce,
        }
    })
}

fn permille(done: u64, tasks: u64) -> u16 {
    done.checked_div(tasks).map_or(1_000, |share| u16::try_from(share.min(1_000)).unwrap_or(1_000))
}

fn rfc3339(at: WallMs) -> String {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "unknown".to_owned(), |at| format!("{at:.3}"))
}

/// Groups names for a sentence: `a, b and 3 more`.
pub(super) fn listed(names: impl Iterator<Item = String>) -> String {
    let counts = names.fold(BTreeMap::<String, usize>::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    });
    let shown: Vec<&str> = counts.keys().take(5).map(String::as_str).collect();
    let more = counts.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
