//! A modelled worker around the real exchange: slots, a directory with outputs and an outbox, crashes, pauses, relays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gristmill_common::plan::feeding;
use gristmill_common::shuffle::{ShuffleAddress, ShuffleKey};
use gristmill_common::wire::{
    Done, Location, Outcome, PollRequest, PollResponse, Report, Skipped, TaskResult, Verdict, WorkerAbout, output_name,
};
use gristmill_common::{
    Digest, Fence, GrantName, JobId, Place, Problem, Reason, SessionId, Stage, TaskName, TaskRange, WorkerId, grant,
};
use gristmill_worker::exchange::{Exchange, Identity, Instruction, Work};

use super::coordinator::To;
use super::network::{Event, Whom};
use super::options::{JobPlan, Machine};
use super::random::Random;
use super::work::{
    NOTHING, Place as Where, done, input_value, input_without, map_value, place_of, reduce_value, straying, value_of,
};
use super::world::World;
use crate::scheduler::{Bug, Command, Scheduler};

/// A worker's directory. It stays when the process dies, unless the disk goes with it.
#[derive(Default)]
pub(super) struct Directory {
    pub(super) disk: u64,
    files: BTreeMap<String, u64>,
    pub(super) outbox: BTreeMap<u64, Report>,
}

pub(super) struct SimWorker {
    pub(super) id: WorkerId,
    pub(super) session: SessionId,
    incarnation: u64,
    pub(super) life: u64,
    pub(super) machine: Machine,
    pub(super) exchange: Exchange,
    /// What runs, since when, and for how long.
    running: BTreeMap<u64, (u64, u64, Work)>,
    runs: u64,
    timer: u64,
    pub(super) paused_until: u64,
    pub(super) is_up: bool,
    /// It was drained and went.
    pub(super) has_left: bool,
    /// Jobs of the attempts it ever reported, to know what an ack was for.
    jobs: BTreeMap<u64, JobId>,
    relaying: BTreeSet<String>,
}

/// What came of trying to run an attempt.
enum Tried {
    Finished(Box<Outcome>),
    /// The coordinator cannot be asked now.
    Later,
    /// The attempt is no longer this worker's.
    GiveBack,
}

impl SimWorker {
    pub(super) fn new(machine: &Machine, random: &mut Random) -> Self {
        let (id, session) = (WorkerId(random.uuid()), SessionId(random.uuid()));
        Self {
            id,
            session,
            incarnation: 1,
            life: 0,
            machine: machine.clone(),
            exchange: Exchange::new(identity(machine, id, session, 1)),
            running: BTreeMap::new(),
            runs: 0,
            timer: 0,
            paused_until: 0,
            is_up: false,
            has_left: false,
            jobs: BTreeMap::new(),
            relaying: BTreeSet::new(),
        }
    }

    pub(super) fn can_work(&self) -> bool {
        self.is_up && !self.has_left && self.machine.has_program && !self.exchange.is_draining()
    }
}

fn identity(machine: &Machine, worker: WorkerId, session: SessionId, incarnation: u64) -> Identity {
    let programs = if machine.has_program { vec!["program".to_owned()] } else { vec!["other".to_owned()] };
    let shuffle = machine.serves.then(|| ShuffleAddress {
        url: format!("https://{worker}"),
        pin: Digest([8; 32]),
        key: ShuffleKey::new([7; 32]),
    });
    let about = WorkerAbout {
        name: worker.to_string(),
        host: format!("host {}", machine.host),
        version: "1".to_owned(),
        slots: machine.slots,
        programs,
        executable: Digest([9; 32]),
        roots: Vec::new(),
        labels: machine.has_label.then(|| ("label".to_owned(), "yes".to_owned())).into_iter().collect(),
        shuffle,
        ..WorkerAbout::default()
    };
    Identity { worker, session, incarnation, about }
}

impl World {
    fn whom(&self, worker: usize) -> Whom {
        Whom { worker, life: self.workers[worker].life }
    }

    pub(super) fn is_current(&self, whom: Whom) -> bool {
        let worker = &self.workers[whom.worker];
        worker.is_up && worker.life == whom.life
    }

    /// Starts the process; with `fresh` in a new directory, as another worker.
    pub(super) fn start_worker(&mut self, index: usize, fresh: bool) {
        let (id, session) = (WorkerId(self.random.uuid()), SessionId(self.random.uuid()));
        let worker = &mut self.workers[index];
        if worker.is_up {
            return;
        }
        worker.life += 1;
        worker.is_up = true;
        worker.has_left = false;
        worker.session = session;
        worker.running.clear();
        worker.relaying.clear();
        worker.paused_until = 0;
        if fresh {
            worker.id = id;
            worker.incarnation = 0;
        }
        worker.incarnation += 1;
        let mut exchange = Exchange::new(identity(&worker.machine, worker.id, session, worker.incarnation));
        let directory = self.directories.entry(worker.id).or_default();
        directory.disk = worker.machine.disk;
        exchange.restore(directory.outbox.values().cloned());
        let restored = !directory.outbox.is_empty();
        for name in directory.files.keys() {
            if let Some(job) = name.split('/').next().and_then(|job| job.parse().ok()) {
                exchange.hold_job(job);
            }
        }
        self.oracle.hosts.insert(worker.id, worker.machine.host);
        if worker.machine.serves {
            self.oracle.serving.insert(worker.id);
        }
        worker.exchange = exchange;
        if restored {
            self.seen("outbox restored");
        }
        self.note(|| format!("worker {index} starts, fresh: {fresh}"));
        self.set_timer(index, 1);
    }

    pub(super) fn crash_worker(&mut self, index: usize, with_directory: bool) {
        let worker = &mut self.workers[index];
        if !worker.is_up {
            return;
        }
        worker.is_up = false;
        worker.life += 1;
        let id = worker.id;
        if with_directory {
            self.directories.remove(&id);
            self.seen("directory lost");
        }
        self.note(|| format!("worker {index} crashes, directory lost: {with_directory}"));
    }

    fn set_timer(&mut self, index: usize, ms: u64) {
        self.workers[index].timer += 1;
        let (whom, timer) = (self.whom(index), self.workers[index].timer);
        self.after(ms, Event::Timer { whom, timer });
    }

    pub(super) fn on_timer(&mut self, whom: Whom, timer: u64) {
        let now = self.now;
        let worker = &mut self.workers[whom.worker];
        if worker.timer != timer || worker.has_left {
            return;
        }
        if worker.machine.tells_progress {
            for (since, ms, work) in worker.running.values().filter(|(.., work)| work.tasks.count == 1) {
                let permille = (now - since).saturating_mul(1_000) / (*ms).max(1);
                worker.exchange.on_progress(work, u16::try_from(permille.min(999)).unwrap(), None);
            }
        }
        let request = worker.exchange.next_request(now);
        for report in &request.finished {
            let Some(name) = grant::name_of(&report.token) else { continue };
            for result in &report.results {
                worker.jobs.extend(result.tasks.iter().filter_map(|task| Some((name.fence_of(task)?.0, name.job))));
            }
        }
        self.note(|| {
            let PollRequest { seq, seen, free_slots, running, finished, returned, .. } = &*request;
            let who = whom.worker;
            format!("worker {who} polls {seq} seen {seen} free {free_slots} running {running:?} finished {finished:?} returned {returned:?}")
        });
        self.send(Event::Request { from: whom, request });
        let patience = self.random.between(1_200, 2_500);
        self.set_timer(whom.worker, patience);
    }

    pub(super) fn on_request(&mut self, from: Whom, request: &PollRequest) -> Result<(), String> {
        if self.coordinator.scheduler.is_none() {
            return Ok(());
        }
        self.count_poll(request);
        self.command(Command::Poll(Box::new(request.clone())), To::Worker(from))
    }

    pub(super) fn on_answer(&mut self, to: Whom, answer: Result<PollResponse, Problem>) -> Result<(), String> {
        let index = to.worker;
        let Ok(mut answer) = answer else {
            self.set_timer(index, 300);
            return Ok(());
        };
        if self.options.bug == Some(Bug::OutboxNeverDrains) {
            answer.acks.clear();
        }
        self.note(|| format!("worker {index} is answered {answer:?}"));
        let jobs = std::mem::take(&mut self.workers[index].jobs);
        self.note_promises(&answer, &jobs);
        self.workers[index].jobs = jobs;
        let worker = &mut self.workers[index];
        let pending = worker.exchange.on_answer(answer).map_err(|refusal| format!("the worker refuses: {refusal}"));
        let instructions = match pending {
            Ok(instructions) => instructions,
            // An answer of a coordinator that has been replaced, late: harmless, and the poll goes on.
            Err(_) => {
                self.seen("answer of a replaced coordinator");
                return Ok(());
            }
        };
        for instruction in instructions {
            if let Instruction::DropJob(job) = &instruction {
                self.judge_drop(*job)?;
            }
            self.obey(index, instruction);
        }
        self.start_work(index);
        let worker = &self.workers[index];
        let wait = if worker.exchange.has_news() { 0 } else { worker.exchange.next_poll_ms() };
        self.leave_if_drained(index);
        self.set_timer(index, wait);
        Ok(())
    }

    fn leave_if_drained(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if worker.exchange.is_draining() && worker.exchange.is_empty() && worker.relaying.is_empty() {
            worker.has_left = true;
            worker.is_up = false;
            worker.life += 1;
            self.seen("worker drained and left");
            let back = self.random.between(500, 4_000);
            self.after(back, Event::WorkerUp { worker: index });
        }
    }

    fn obey(&mut self, index: usize, instruction: Instruction) {
        let whom = self.whom(index);
        let worker = &mut self.workers[index];
        match instruction {
            Instruction::Stop(stopped) => {
                let fences = stopped.grant.fences(stopped.tasks);
                let touched = |work: &Work| {
                    let theirs = work.grant.fences(work.tasks);
                    theirs.first < fences.end() && fences.first < theirs.end()
                };
                // The executor is ended; what else it had in hand is begun again.
                for (_, (.., work)) in worker.running.extract_if(.., |_, (.., work)| touched(work)) {
                    worker.exchange.requeue(&work);
                }
                self.seen("attempt stopped");
            }
            Instruction::Acked { work, verdict } => {
                let Some(directory) = self.directories.get_mut(&worker.id) else { return };
                let keep = matches!(verdict, Verdict::Accepted | Verdict::Duplicate);
                for task in work.tasks.iter() {
                    let Some(fence) = work.grant.name.fence_of(task) else { continue };
                    directory.outbox.remove(&fence.0);
                    if !keep {
                        directory.files.remove(&name_of(&work.grant.name, task));
                    }
                }
            }
            Instruction::Relay(grant) => {
                if worker.relaying.insert(grant.token.clone()) {
                    let ms = self.random.between(1, 200);
                    self.after(ms, Event::Relay { whom, token: grant.token.clone() });
                }
            }
            Instruction::DropJob(job) => {
                worker.exchange.release_job(job);
                if let Some(directory) = self.directories.get_mut(&worker.id) {
                    directory.files.retain(|name, _| !name.starts_with(&job.to_string()));
                }
                self.seen("outputs dropped");
            }
            Instruction::Drain => worker.exchange.drain(),
        }
    }

    pub(super) fn on_relay(&mut self, whom: Whom, token: &str) -> Result<(), String> {
        let worker = &mut self.workers[whom.worker];
        worker.relaying.remove(token);
        let id = worker.id;
        let Some(name) = grant::name_of(token) else { return Ok(()) };
        let (map, is_lost) = (name.tasks.first, !self.healed && self.random.chance(self.options.loss));
        let value = self.directories.get(&id).and_then(|directory| directory.files.get(&name_of(&name, map)).copied());
        let wanted = self.coordinator.scheduler.as_ref().is_some_and(|scheduler| scheduler.is_granted(&name, map));
        if let (Some(value), true, false) = (value, wanted, is_lost) {
            self.store.insert(name_of(&name, map), value);
            let command = Command::StoreOutput { job: name.job, step: name.step, map, fence: name.first_fence };
            self.command(command, To::Nobody)?;
        }
        Ok(())
    }

    fn start_work(&mut self, index: usize) {
        let now = self.now;
        loop {
            let worker = &mut self.workers[index];
            if worker.running.len() >= worker.machine.slots as usize {
                return;
            }
            let Some(work) = worker.exchange.start(now) else { return };
            let most = self
                .clients
                .iter()
                .find(|client| client.is(work.grant.name.job))
                .map_or(0, |client| client.plan.task_ms);
            let worker = &mut self.workers[index];
            worker.runs += 1;
            let run = worker.runs;
            worker.exchange.on_progress(&work, 1, None);
            let ms = self.random.below(most + 1) * worker.machine.slowness;
            worker.running.insert(run, (now, ms, work));
            let whom = self.whom(index);
            self.after(ms, Event::TaskDone { whom, run });
        }
    }

    pub(super) fn on_task_done(&mut self, whom: Whom, run: u64) -> Result<(), String> {
        self.finish_task(whom, run);
        let Some((job, step, index, fence)) = self.part_lost.take() else { return Ok(()) };
        self.seen("part of an earlier step lost");
        let why = "not in the store".to_owned();
        self.command(Command::LoseParts { job, step, parts: vec![(index, fence)], why }, To::Nobody)
    }

    fn finish_task(&mut self, whom: Whom, run: u64) {
        let index = whom.worker;
        let Some((since, _, work)) = self.workers[index].running.get(&run).cloned() else { return };
        let took_us = (self.now - since) * 1_000 / u64::from(work.tasks.count);
        let mut outcomes: Vec<(TaskRange, Outcome)> = Vec::new();
        let mut given_back = Vec::new();
        for task in work.tasks.iter() {
            match self.try_task(index, &work.grant.name, task) {
                Tried::Finished(outcome) => match outcomes.last_mut() {
                    Some((tasks, same)) if tasks.end() == task && *same == *outcome => tasks.count += 1,
                    _ => outcomes.push((TaskRange::one(task), *outcome)),
                },
                Tried::Later => return self.after(150, Event::TaskDone { whom, run }),
                Tried::GiveBack => given_back.push(task),
            }
        }
        let worker = &mut self.workers[index];
        worker.running.remove(&run);
        for task in given_back {
            worker.exchange.on_returned(&Work { grant: Arc::clone(&work.grant), tasks: TaskRange::one(task) });
        }
        for (tasks, outcome) in outcomes {
            let part = Work { grant: Arc::clone(&work.grant), tasks };
            let taken = worker.exchange.on_finished(&part, outcome.clone(), took_us.max(50));
            let Some(directory) = self.directories.get_mut(&worker.id) else { continue };
            for part in taken {
                let result = TaskResult { tasks: part.tasks, outcome: outcome.clone() };
                let report = Report { token: part.grant.token.clone(), results: vec![result] };
                for fence in part.grant.fences(part.tasks).iter() {
                    let mut one = report.clone();
                    let offset = u32::try_from(fence.0 - part.grant.fences(part.tasks).first.0).unwrap();
                    one.results[0].tasks = TaskRange::one(part.tasks.first + offset);
                    directory.outbox.insert(fence.0, one);
                }
            }
        }
        self.start_work(index);
        let worker = &self.workers[index];
        if worker.exchange.has_news() && !worker.exchange.awaits_acks() {
            self.set_timer(index, 0);
        }
    }

    fn try_task(&mut self, index: usize, grant: &GrantName, task: u32) -> Tried {
        let id = self.workers[index].id;
        let name = grant.task(task);
        let Some(fence) = grant.fence_of(task) else { return Tried::GiveBack };
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Tried::Later };
        let (Some(plan), Some(summary)) = (self.plan_of(grant.job), scheduler.plan_summary(grant.job)) else {
            return Tried::GiveBack;
        };
        let digest = summary.digest;
        let faults = !self.healed;
        let is_poison = grant.stage == Stage::Map && grant.step == 0 && plan.poison == Some(task);
        if is_poison || (faults && self.random.chance(self.options.user_failure)) {
            self.oracle.failures.entry((grant.job, name)).or_default().insert(fence.0);
            // What fails by chance is no record's fault.
            let at = plan.bad.is_none().then(|| Place { file: "input".to_owned(), offset: u64::from(task) });
            let reason = Reason::Panicked { message: "boom".to_owned(), at };
            return Tried::Finished(Box::new(Outcome::Failed(reason)));
        }
        if faults && self.random.chance(self.options.worker_failure) {
            return Tried::Finished(Box::new(Outcome::Failed(Reason::Worker { message: "no space".to_owned() })));
        }
        let mut skipped = Vec::new();
        let bad = plan.bad.as_ref().filter(|(map, ..)| (grant.step, grant.stage, *map) == (0, Stage::Map, task));
        if let Some((_, records, _)) = bad {
            if !self.coordinator.has_written_failures_of(grant.job, name) {
                return Tried::Later;
            }
            match left_out(scheduler, grant, task, records) {
                Ok(found) => skipped = found,
                Err(reason) => {
                    self.oracle.failures.entry((grant.job, name)).or_default().insert(fence.0);
                    return Tried::Finished(Box::new(Outcome::Failed(reason)));
                }
            }
        }
        let value = match grant.stage {
            Stage::Map if grant.step == 0 && task == 0 && plan.strays.is_some() && !plan.strays_late => {
                straying(input_value(digest), fence)
            }
            Stage::Map if grant.step == 0 => {
                let left_out: Vec<u64> = skipped.iter().map(|record| record.at.offset).collect();
                map_value(plan.no_op, 0, task, input_without(digest, &left_out))
            }
            Stage::Map => match self.read_part(grant, task) {
                Ok(input) => map_value(plan.no_op, grant.step, task, input),
                Err(lost) => return self.lose_part(grant, task, lost),
            },
            Stage::Reduce => match self.read_maps(index, grant) {
                Ok(maps) => reduced(&plan, grant.step, task, reduce_value(grant.step, task, &maps), fence),
                Err(tried) => return tried,
            },
        };
        let is_kept = grant.stage == Stage::Reduce || plan.reduces.get(usize::from(grant.step)) == Some(&0);
        let is_part = is_kept && !(grant.stage == Stage::Reduce && plan.fuses(usize::from(grant.step)));
        let file = name_of(grant, task);
        if place_of(value) == Where::File {
            if is_kept {
                let granted =
                    self.coordinator.scheduler.as_ref().is_some_and(|scheduler| scheduler.is_granted(grant, task));
                if !granted {
                    return Tried::GiveBack;
                }
                self.store.insert(file, value);
            } else if let Some(directory) = self.directories.get_mut(&id) {
                directory.files.insert(file, value);
                self.workers[index].exchange.hold_job(grant.job);
            }
        }
        let done = Done { skipped, ..done(value, fence, id, is_part, is_kept) };
        Tried::Finished(Box::new(Outcome::Done(done)))
    }

    /// The coordinator could not hand out a part: it notices that it is lost, and the attempt waits for another grant.
    fn lose_part(&mut self, grant: &GrantName, part: u32, lost: Option<Fence>) -> Tried {
        self.part_lost = lost.map(|fence| (grant.job, grant.step - 1, part, fence)).or(self.part_lost);
        Tried::GiveBack
    }

    /// Reads a part of the step before; fails with the attempt that won it if what it wrote is gone.
    fn read_part(&self, grant: &GrantName, task: u32) -> Result<u64, Option<Fence>> {
        let scheduler = self.coordinator.scheduler.as_ref().ok_or(None)?;
        let step = grant.step - 1;
        let (fence, output) = scheduler.part(grant.job, step, task).ok_or(None)?;
        let plan = self.plan_of(grant.job).ok_or(None)?;
        let stage = if plan.reduces[usize::from(step)] == 0 { Stage::Map } else { Stage::Reduce };
        let value = match output.at {
            Location::Nothing => Some(NOTHING),
            Location::Inline(text) => Some(value_of(&text)),
            Location::Store => self.store.get(&output_name(grant.job, step, stage, task, fence)).copied(),
            Location::Worker(_) => None,
        };
        value.ok_or(Some(fence))
    }

    /// What a worker fetches from another one that serves its outputs, if that one answers.
    fn served_by(&self, holder: WorkerId, reader: usize) -> Option<&Directory> {
        let serving = self.workers.iter().find(|worker| worker.id == holder && worker.machine.serves)?;
        let answers = serving.is_up && serving.paused_until <= self.now && !serving.machine.is_walled;
        (answers && self.workers[reader].machine.serves).then(|| self.directories.get(&holder)).flatten()
    }

    /// Reads every map output of the step, from where the coordinator says it is.
    fn read_maps(&mut self, index: usize, grant: &GrantName) -> Result<Vec<u64>, Tried> {
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Err(Tried::Later) };
        let Ok(table) = scheduler.outputs(grant) else { return Err(Tried::GiveBack) };
        let fused = self.plan_of(grant.job).is_some_and(|plan| plan.fused[usize::from(grant.step)]);
        let (from, made) = feeding(grant.step, fused);
        let maps = self.plan_of(grant.job).map_or(0, |plan| {
            let before =
                usize::from(grant.step).checked_sub(1).map(|step| plan.reduces[..=step].iter().rev().find(|r| **r > 0));
            before.flatten().copied().unwrap_or(plan.maps)
        });
        let mut values = vec![NOTHING; maps as usize];
        let mut arrived = Vec::new();
        let mut was_served = false;
        for output in &table.outputs {
            let file = output_name(grant.job, from, made, output.map, output.fence);
            let map = TaskName { step: from, stage: made, index: output.map };
            let lost = |message: &str| {
                let reason = Reason::LostOutput { map, fence: output.fence, message: message.to_owned() };
                Tried::Finished(Box::new(Outcome::Failed(reason)))
            };
            let worker = &self.workers[index];
            let mut found =
                Err(Tried::Finished(Box::new(Outcome::Failed(Reason::Unreachable { map, fence: output.fence }))));
            for at in &output.at {
                match at {
                    Location::Nothing => found = Ok(NOTHING),
                    Location::Inline(text) => found = Ok(value_of(text)),
                    Location::Store => found = self.store.get(&file).copied().ok_or_else(|| lost("not in the store")),
                    Location::Worker(holder) => {
                        let shared = self.directories.get(holder).filter(|there| there.disk == worker.machine.disk);
                        let served = if shared.is_none() { self.served_by(*holder, index) } else { None };
                        was_served |= served.is_some();
                        match shared.or(served).map(|directory| directory.files.get(&file)) {
                            Some(Some(value)) => found = Ok(*value),
                            Some(None) => found = Err(lost("no such file")),
                            None if *holder == worker.id => found = Err(lost("the directory is gone")),
                            None => {}
                        }
                    }
                }
                if found.is_ok() {
                    break;
                }
            }
            let is_file = !matches!(output.at.first(), Some(Location::Inline(_)));
            if is_file && found.is_ok() && !self.healed && self.random.chance(self.options.damage) {
                return Err(lost("damaged"));
            }
            values[output.map as usize] = found?;
            arrived.push((output.fence, values[output.map as usize]));
        }
        if was_served {
            self.seen("fetched from its worker");
        }
        if fused {
            self.seen("fused outputs read");
        }
        if self.options.bug == Some(Bug::ArrivalOrderMerge) {
            arrived.sort_unstable();
            let mut next = arrived.into_iter();
            table.outputs.iter().for_each(|output| {
                values[output.map as usize] = next.next().map_or(NOTHING, |(_, value)| value);
            });
        }
        Ok(values)
    }
}

/// What a reduce leaves: its part, or what the map of the next step makes of it.
fn reduced(plan: &JobPlan, step: u16, task: u32, value: u64, fence: Fence) -> u64 {
    match () {
        () if !plan.fuses(usize::from(step)) => value,
        () if plan.strays_late && (step, task) == (0, 0) => straying(value, fence),
        () => map_value(false, step + 1, task, value),
    }
}

/// Runs over the records of a task's input: what was left out, or why it failed. The first failure names a block.
fn left_out(scheduler: &Scheduler, grant: &GrantName, task: u32, bad: &[u64]) -> Result<Vec<Skipped>, Reason> {
    let told = scheduler.skips(grant).unwrap_or_default().tasks.into_iter().find(|told| told.task == task);
    let is_careful = told.is_some();
    let mut told = told.map(|told| told.records).unwrap_or_default();
    if let Some(record) = bad.iter().find(|record| told.iter().all(|told| told.at.offset != **record)) {
        let offset = if is_careful { *record } else { record / 10 * 10 };
        let at = Some(Place { file: "input".to_owned(), offset });
        return Err(Reason::Panicked { message: "bad record".to_owned(), at });
    }
    told.sort_by_key(|record| record.at.offset);
    Ok(told)
}

fn name_of(grant: &GrantName, task: u32) -> String {
    gristmill_common::wire::output_name_in(grant, task).unwrap_or_default()
}
