//! What a worker says and what it is told: polls, answers, and the instructions in them.

use gristmill_common::grant;
use gristmill_common::wire::{PollRequest, PollResponse, Verdict};
use gristmill_common::{JobId, Problem};
use gristmill_worker::exchange::{Instruction, Work};

use super::name_of;
use crate::scheduler::{Bug, Command};
use crate::simulation::coordinator::To;
use crate::simulation::network::{Event, Whom};
use crate::simulation::world::World;

impl World {
    pub(super) fn set_timer(&mut self, index: usize, ms: u64) {
        self.workers[index].timer += 1;
        let (whom, timer) = (self.whom(index), self.workers[index].timer);
        self.after(ms, Event::Timer { whom, timer });
    }

    pub(crate) fn on_timer(&mut self, whom: Whom, timer: u64) {
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

    pub(crate) fn on_request(&mut self, from: Whom, request: &PollRequest) -> Result<(), String> {
        if self.coordinator.scheduler.is_none() {
            return Ok(());
        }
        self.count_poll(request);
        self.command(Command::Poll(Box::new(request.clone())), To::Worker(from))
    }

    pub(crate) fn on_answer(&mut self, to: Whom, answer: Result<PollResponse, Problem>) -> Result<(), String> {
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
            Instruction::Stop(stopped) => self.stop(index, &stopped),
            Instruction::Acked { work, verdict } => self.forget_acked(index, &work, verdict),
            Instruction::Relay(grant) => {
                if worker.relaying.insert(grant.token.clone()) {
                    let ms = self.random.between(1, 200);
                    self.after(ms, Event::Relay { whom, token: grant.token.clone() });
                }
            }
            Instruction::DropJob(job) => self.drop_outputs(index, job),
            Instruction::Drain => worker.exchange.drain(),
        }
    }

    /// The executor is ended; what else it had in hand is begun again.
    fn stop(&mut self, index: usize, stopped: &Work) {
        let fences = stopped.grant.fences(stopped.tasks);
        let touched = |work: &Work| {
            let theirs = work.grant.fences(work.tasks);
            theirs.first < fences.end() && fences.first < theirs.end()
        };
        let worker = &mut self.workers[index];
        for (_, (.., work)) in worker.running.extract_if(.., |_, (.., work)| touched(work)) {
            worker.exchange.requeue(&work);
        }
        self.seen("attempt stopped");
    }

    /// Takes reports that arrived out of the outbox, and away what is not wanted of what they are about.
    fn forget_acked(&mut self, index: usize, work: &Work, verdict: Verdict) {
        let Some(directory) = self.directories.get_mut(&self.workers[index].id) else { return };
        let keep = matches!(verdict, Verdict::Accepted | Verdict::Duplicate);
        for task in work.tasks.iter() {
            let Some(fence) = work.grant.name.fence_of(task) else { continue };
            directory.outbox.remove(&fence.0);
            if !keep {
                directory.files.remove(&name_of(&work.grant.name, task));
            }
        }
    }

    fn drop_outputs(&mut self, index: usize, job: JobId) {
        let worker = &mut self.workers[index];
        worker.exchange.release_job(job);
        if let Some(directory) = self.directories.get_mut(&worker.id) {
            directory.files.retain(|name, _| !name.starts_with(&job.to_string()));
        }
        self.seen("outputs dropped");
    }

    pub(crate) fn on_relay(&mut self, whom: Whom, token: &str) -> Result<(), String> {
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
}
