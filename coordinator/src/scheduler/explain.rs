//! Why a job or a task is where it is, in sentences, the most important first. Reads what `grant` reads.

use gristmill_common::api::JobState;
use gristmill_common::program::Kind;
use gristmill_common::spec::Executable;
use gristmill_common::{JobId, Problem, Stage, TaskName, WorkerId, limits, quantity};

use super::job::{Job, Step};
use super::requirements::Obstacle;
use super::soft::Worker;
use super::view::{listed, stages_at_end};
use super::{Scheduler, no_such_job};

impl Scheduler {
    /// Says why a job, or one of its tasks, is where it is.
    ///
    /// # Errors
    /// `not_found` for a job or task that does not exist.
    pub fn explain(&self, id: JobId, task: Option<TaskName>) -> Result<Vec<String>, Problem> {
        let job = self.durable.jobs.get(&id).ok_or_else(|| no_such_job(id))?;
        let mut lines = Vec::new();
        if let Some(line) = explain_state(job) {
            lines.push(line);
            if let Some(why) = self.soft.stuck_commits.get(&id) {
                lines.push(format!("that did not work yet and is tried again until it does: {why}"));
            }
            explain_heat(job, &mut lines);
            return Ok(lines);
        }
        match task {
            Some(task) => self.explain_task(id, job, task, &mut lines)?,
            None => self.explain_job(id, job, &mut lines),
        }
        Ok(lines)
    }

    fn explain_job(&self, id: JobId, job: &Job, lines: &mut Vec<String>) {
        let Some((index, step)) = job.current_step() else { return };
        let stage = step.ready_stage();
        let tasks = step.tasks(stage);
        let (open, running, won) = (tasks.open.len(), tasks.running_count(), tasks.won_count());
        lines.push(format!(
            "step {index} is in its {stage} stage: {won} of {} tasks won, {running} running, {open} queued",
            tasks.count
        ));
        if let Some(next) = job.fused_into(index, stage) {
            lines.push(format!("these tasks run the maps of step {next} too"));
        }
        if open > 0 {
            self.explain_share(id, job, lines);
            self.explain_queue(id, job, index, step, lines);
        }
        self.explain_waits(id, lines);
        explain_heat(job, lines);
    }

    /// What others and its own cap leave to the job.
    fn explain_share(&self, id: JobId, job: &Job, lines: &mut Vec<String>) {
        if job.room_under_cap() == 0 {
            let most = job.spec.max_running.unwrap_or_default();
            lines.push(format!("its cap is reached: `max_running` lets {most} of its tasks run at a time"));
        }
        let user = job.spec.user.as_ref().map_or_else(|| "no user".to_owned(), |user| format!("user {user}"));
        if let Some((running, jobs)) = self.durable.shares.of(id).filter(|(_, jobs)| *jobs > 1) {
            let priority = job.spec.priority;
            lines.push(format!(
                "it shares with {} other jobs of {user} at priority {priority}, which together run {running} tasks",
                jobs - 1
            ));
        }
    }

    /// Why open tasks of the ready stage are not running.
    fn explain_queue(&self, id: JobId, job: &Job, index: u16, step: &Step, lines: &mut Vec<String>) {
        let live: Vec<(&WorkerId, &Worker)> = self.soft.workers.iter().filter(|(_, worker)| worker.is_live()).collect();
        if live.is_empty() {
            let known = self.soft.workers.len();
            let hint = "start one with `gristmill worker`";
            lines.push(if known == 0 {
                format!("no worker is connected: {hint}")
            } else {
                format!("no worker is connected, {known} that were are silent: restart them or {hint}")
            });
            return;
        }
        let mut able = Vec::new();
        let mut unable = Vec::new();
        for (worker_id, worker) in &live {
            match self.obstacle(**worker_id, id) {
                None => able.push((**worker_id, *worker)),
                Some(obstacle) => unable.push((*worker, obstacle)),
            }
        }
        if able.is_empty() {
            lines.push("no connected worker can run it".to_owned());
        }
        explain_obstacles(job, index, step, &unable, lines);
        if !able.is_empty() {
            self.explain_able(id, index, step, &able, lines);
        }
    }

    /// What keeps the workers that could run it.
    fn explain_able(&self, id: JobId, index: u16, step: &Step, able: &[(WorkerId, &Worker)], lines: &mut Vec<String>) {
        let working: Vec<_> = able.iter().filter(|(_, worker)| worker.takes_work()).collect();
        if working.is_empty() {
            lines.push(format!("all {} workers that can run it are draining", able.len()));
            return;
        }
        for (id, worker) in &working {
            if let Some((word, why)) = self.condition(*id) {
                lines.push(format!("worker {} is {word}: {why}", worker.about.name));
            }
        }
        for (_, worker) in working.iter().take(5) {
            if let Some(why) = &worker.no_room {
                lines.push(format!("worker {} takes no work: {why}", worker.about.name));
            }
        }
        if working.iter().all(|(_, worker)| worker.free == 0 && worker.no_room.is_none()) {
            let slots: u64 = working.iter().map(|(_, worker)| u64::from(worker.about.slots)).sum();
            lines.push(format!("all {slots} slots of the {} workers that can run it are busy", working.len()));
        }
        if step.ready_stage() != Stage::Reduce {
            return;
        }
        let blocked = working.iter().filter(|(worker, _)| self.unreachable_holder(*worker, step).is_some()).count();
        if blocked > 0 {
            let outputs: u64 = step.holders.values().map(|holder| holder.maps.len()).sum();
            let asked = if self.soft.relaying.contains(&(id, index)) { "being relayed" } else { "not relayed yet" };
            let holders = listed(step.holders.keys().map(|holder| self.worker_name(*holder)));
            lines.push(format!(
                "{blocked} of {} workers cannot reach all map outputs: {outputs} are only on {holders}, {asked}",
                working.len()
            ));
            if let Some(why) = self.soft.refused_outputs.get(&id) {
                lines.push(format!(
                    "the coordinator did not take an output that was relayed, the worker sends it again: {why}"
                ));
            }
        }
    }

    fn explain_waits(&self, id: JobId, lines: &mut Vec<String>) {
        let first = TaskName { step: 0, stage: Stage::Map, index: 0 };
        let waiting = self.soft.delayed.range((id, first)..).take_while(|((job, _), _)| *job == id);
        for ((_, task), until) in waiting.take(5) {
            let ms = until.saturating_sub(self.now_ms());
            let trouble = self.trouble((id, *task));
            lines.push(format!(
                "{task} waits {ms} ms before it is tried again: {} user failures, {} failures of workers, {} workers died",
                trouble.failures, trouble.worker_failures, trouble.worker_losses
            ));
        }
    }

    fn explain_task(&self, id: JobId, job: &Job, task: TaskName, lines: &mut Vec<String>) -> Result<(), Problem> {
        let step = job.step(task.step).filter(|step| task.index < step.tasks(task.stage).count);
        let Some(step) = step else {
            return Err(Problem::new(gristmill_common::Code::NotFound, format!("job {id} has no task {task}")));
        };
        let tasks = step.tasks(task.stage);
        let trouble = tasks.trouble(task.index);
        if let Some(win) = tasks.win(task.index) {
            let (fence, worker) = (win.fence_of(task.index), self.worker_name(win.worker));
            lines.push(format!("{task} is won: attempt {fence} of worker {worker}"));
        } else if let Some((fence, worker)) = tasks.running(task.index) {
            lines.push(format!("{task} runs: attempt {fence} on worker {}", self.worker_name(worker)));
            if let Some(status) = self.told_status(worker, fence) {
                lines.push(format!("its code says: {status}"));
            }
            if let Some(rival) = tasks.rival(task.index) {
                let (fence, worker) = (rival.fence, self.worker_name(rival.worker));
                lines.push(format!(
                    "it is slow there: {fence} on worker {worker} is its backup, and the first to end wins"
                ));
            }
        } else if tasks.given_up.contains(u64::from(task.index)) {
            lines.push(format!("{task} failed for good; the job fails when the others of its stage are through"));
        } else {
            lines.push(format!("{task} is queued"));
            self.explain_open(id, job, task, lines);
        }
        let counts = [
            (trouble.failures, "user failures"),
            (trouble.worker_failures, "failures of workers"),
            (trouble.worker_losses, "workers that died under it"),
            (trouble.lost_outputs, "lost outputs"),
        ];
        let counts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !counts.is_empty() {
            lines.push(format!("so far: {}; user code may fail {} times", counts.join(", "), job.spec.attempts));
        }
        Ok(())
    }

    fn explain_open(&self, id: JobId, job: &Job, task: TaskName, lines: &mut Vec<String>) {
        let Some((index, step)) = job.current_step() else { return };
        if index < task.step {
            lines.push(format!("it waits for step {index}, whose outputs it reads"));
            return;
        }
        if step.ready_stage() != task.stage {
            let (won, all) = (step.maps.won_count(), step.maps.count);
            lines.push(format!("it waits for the maps of its step: {won} of {all} are won"));
            return;
        }
        if let Some(until) = self.soft.delayed.get(&(id, task)) {
            let ms = until.saturating_sub(self.now_ms());
            lines.push(format!("it waits {ms} ms before it is tried again"));
        }
        if self.trouble((id, task)).worker_losses >= 2 {
            lines.push("workers died under it: it waits for a worker that runs nothing else".to_owned());
        }
        self.explain_share(id, job, lines);
        self.explain_queue(id, job, index, step, lines);
    }
}

fn explain_state(job: &Job) -> Option<String> {
    match job.state() {
        JobState::Planning => Some("its inputs are being listed and split".to_owned()),
        JobState::Running => None,
        JobState::Committing => Some("all tasks are won; its output is being made visible".to_owned()),
        JobState::Succeeded => Some("it succeeded".to_owned()),
        JobState::Failed => {
            let why = job.failure().map_or("", |failure| failure.message.as_str());
            Some(format!("it failed: {why}{}", explain_kept(job)))
        }
        JobState::Cancelled => Some(format!("it was cancelled{}", explain_kept(job))),
    }
}

/// Which partitions are hot, as far as their reduces are won.
fn explain_heat(job: &Job, lines: &mut Vec<String>) {
    let before = lines.len();
    lines.extend(stages_at_end(job).iter().filter_map(|stage| stage.spread?.hot(stage.step)));
    if lines.len() > before {
        lines.push(
            "all records of a key are of one partition: a combiner takes the weight off a hot key; without one, divide \
             the key and join its pieces in a second step"
                .to_owned(),
        );
    }
}

fn explain_kept(job: &Job) -> &'static str {
    if job.kept.is_empty() { "" } else { "; `gristmill job retry` runs what is not won yet" }
}

fn explain_obstacles(job: &Job, index: u16, step: &Step, unable: &[(&Worker, Obstacle)], lines: &mut Vec<String>) {
    let spec = job.spec.steps.get(usize::from(index));
    let program = spec.and_then(|step| step.native.as_deref()).unwrap_or_default();
    let having = |which: fn(&Obstacle) -> bool| {
        let having = unable.iter().filter(move |(_, obstacle)| which(obstacle));
        having.map(|(worker, _)| *worker).collect::<Vec<_>>()
    };
    let names = |workers: &[&Worker]| listed(workers.iter().map(|worker| worker.about.name.clone()));
    explain_programs(program, unable, lines);
    let other = having(|obstacle| *obstacle == Obstacle::OtherExecutable);
    if !other.is_empty() {
        let by_spec = spec.is_some_and(|step| matches!(step.executable, Some(Executable::Pinned(_))));
        let by = if by_spec { "the job's spec" } else { "its first grant" };
        let pinned = step.executable.map_or_else(String::new, |digest| format!(" ({:.12})", digest.to_string()));
        lines.push(format!(
            "another build of `{program}` on worker {}: {by} pinned one executable{pinned}; start that build, or submit with `\"executable\": \"any\"`",
            names(&other)
        ));
    }
    let no_command = having(|obstacle| *obstacle == Obstacle::NoKind(Kind::Command));
    if !no_command.is_empty() {
        let names = names(&no_command);
        lines.push(format!("worker {names} does not run commands: start it with `--allow-commands`"));
    }
    let no_wasm = having(|obstacle| *obstacle == Obstacle::NoKind(Kind::Wasm));
    if !no_wasm.is_empty() {
        let names = names(&no_wasm);
        lines.push(format!("worker {names} is a program built without WebAssembly: build it with the feature `wasm` of gristmill-sdk, or start `gristmill worker`"));
    }
    let roots = unable.iter().filter_map(|(_, obstacle)| match obstacle {
        Obstacle::NoRoot(root) => Some(root.clone()),
        _ => None,
    });
    let no_skips = having(|obstacle| *obstacle == Obstacle::NoSkips);
    if !no_skips.is_empty() {
        lines.push(format!("worker {} is too old to leave bad records out: update it", names(&no_skips)));
    }
    let too_old = having(|obstacle| *obstacle == Obstacle::TooOld);
    if !too_old.is_empty() {
        lines.push(format!("worker {} is too old for what the job's plan asks of it: update it", names(&too_old)));
    }
    let no_root = having(|obstacle| matches!(obstacle, Obstacle::NoRoot(_)));
    if !no_root.is_empty() {
        let names = names(&no_root);
        lines.push(format!("worker {names} may not read {}: start it with `--allow-path`", listed(roots)));
    }
    explain_requirements(job, unable, lines);
}

/// Which programs are where they are wanted. `program`: that of the step.
fn explain_programs(program: &str, unable: &[(&Worker, Obstacle)], lines: &mut Vec<String>) {
    let mut lacking = std::collections::BTreeMap::<&str, Vec<&Worker>>::new();
    for (worker, obstacle) in unable {
        if let Obstacle::NoProgram(name) = obstacle {
            lacking.entry(name).or_default().push(worker);
        }
    }
    for (name, workers) in lacking {
        let names = listed(workers.iter().map(|worker| worker.about.name.clone()));
        let theirs = listed(workers.iter().flat_map(|worker| worker.about.programs.iter().cloned()));
        let fused = if name == program {
            ""
        } else {
            "; it is of a later step that is fused with this one: start a worker that has both, or submit with `\"fuse\": false` in that step"
        };
        lines.push(format!("no program `{name}` on worker {names}: there is {theirs}{fused}"));
    }
}

fn explain_requirements(job: &Job, unable: &[(&Worker, Obstacle)], lines: &mut Vec<String>) {
    let mut unlabelled = std::collections::BTreeMap::<&str, Vec<String>>::new();
    let mut small = Vec::new();
    for (worker, obstacle) in unable {
        match obstacle {
            Obstacle::NoLabel(label) => unlabelled.entry(label).or_default().push(worker.about.name.clone()),
            Obstacle::TooLittleMemory(bytes) => small.push((worker.about.name.clone(), *bytes)),
            Obstacle::NoProgram(_)
            | Obstacle::NoKind(_)
            | Obstacle::OtherExecutable
            | Obstacle::NoRoot(_)
            | Obstacle::NoSkips
            | Obstacle::TooOld => {}
        }
    }
    for (label, names) in unlabelled {
        let names = listed(names.into_iter());
        lines.push(format!("the job requires {label}, which worker {names} is not: start it with `--label {label}`"));
    }
    let attempt = job.current_step().map_or(0, |(index, _)| job.spec.attempt_bytes(usize::from(index)));
    let needed = quantity::size(job.spec.requires.memory_bytes.max(attempt + limits::WORKER_BYTES));
    let (unknown, small): (Vec<_>, Vec<_>) = small.into_iter().partition(|(_, bytes)| *bytes == 0);
    if !unknown.is_empty() {
        let names = listed(unknown.into_iter().map(|(name, _)| name));
        lines.push(format!(
            "the job requires {needed} of memory for each slot, and worker {names} did not say what it has: start it with `--memory BYTES`"
        ));
    }
    if !small.is_empty() {
        let most = quantity::size(small.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default());
        let names = listed(small.into_iter().map(|(name, _)| name));
        lines.push(format!(
            "the job requires {needed} of memory for each slot, worker {names} has {most} at most: start it with fewer `--slots`, or give the job less: `--require-memory`, `--sort-budget`"
        ));
    }
}
