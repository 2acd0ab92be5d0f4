//! The world of one seed: its clock and events, the clients, the faults, and how it has to end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gristmill_common::api::JobState;
use gristmill_common::spec::{Generated, Input, OnBadRecord, OnFailedTask, OnNondeterminism};
use gristmill_common::{Digest, Fence, JobId, JobSpec, Reason, WorkerId, limits, spec::StepSpec};

use super::coordinator::{Coordinator, To};
use super::network::Event;
use super::options::{JobPlan, Options};
use super::oracle::Oracle;
use super::random::Random;
use super::worker::{Directory, SimWorker};
use crate::scheduler::{Command, Idempotency};

/// When the faults are over, everything has to end in this time.
const HEALED_MS: u64 = 240_000;

pub(super) struct World {
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    pub(super) sent: u64,
    pub(super) steps: u64,
    pub(super) healed: bool,
    pub(super) coordinator: Coordinator,
    pub(super) workers: Vec<SimWorker>,
    pub(super) directories: BTreeMap<WorkerId, Directory>,
    pub(super) clients: Vec<Client>,
    pub(super) store: BTreeMap<String, u64>,
    /// A part that an attempt just asked for in vain.
    pub(super) part_lost: Option<(JobId, u16, u32, Fence)>,
    pub(super) oracle: Oracle,
    pub(super) sometimes: BTreeMap<&'static str, u64>,
    story: Option<Vec<String>>,
}

/// Someone who submits one job until it is acknowledged.
pub(super) struct Client {
    pub(super) plan: JobPlan,
    ids: Vec<JobId>,
    acked: Option<JobId>,
    pub(super) refused: bool,
    is_cancelling: bool,
    cancelled: bool,
    /// How often it still retries its job, if that fails.
    retries: u64,
}

impl Client {
    pub(super) fn is(&self, job: JobId) -> bool {
        self.ids.contains(&job)
    }
}

/// What a seed did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) steps: u64,
    pub(super) took_ms: u64,
    pub(super) fingerprint: u64,
    pub(super) sometimes: BTreeMap<&'static str, u64>,
}

/// Runs a seed; an error has the options, and the story if asked for.
pub(super) fn run(options: Options, with_story: bool) -> Result<Run, String> {
    let mut world = World::new(options, with_story);
    let result = world.run();
    let World { options, now, story, steps, sometimes, coordinator, .. } = world;
    match result {
        Ok(()) => {
            let journal = coordinator.journal.iter().fold(0_u64, |sum, entry| {
                format!("{entry:?}").bytes().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
            });
            Ok(Run { steps, took_ms: now, fingerprint: journal, sometimes })
        }
        Err(error) => {
            let mut text = format!("seed {} at {now} ms: {error}\n{options:?}\n", options.seed);
            for line in story.into_iter().flatten() {
                let _ = writeln!(text, "{line}");
            }
            Err(text)
        }
    }
}

impl World {
    fn new(options: Options, with_story: bool) -> Self {
        let mut random = Random::new(options.seed ^ 0xabcd);
        let workers = options.workers.iter().map(|machine| SimWorker::new(machine, &mut random)).collect();
        let client = |plan: &JobPlan| Client {
            plan: plan.clone(),
            ids: Vec::new(),
            acked: None,
            refused: false,
            is_cancelling: false,
            cancelled: false,
            retries: options.retry,
        };
        Self {
            clients: options.jobs.iter().map(client).collect(),
            options,
            random,
            now: 0,
            events: BTreeMap::new(),
            sent: 0,
            steps: 0,
            healed: false,
            coordinator: Coordinator::default(),
            workers,
            directories: BTreeMap::new(),
            store: BTreeMap::new(),
            part_lost: None,
            oracle: Oracle::default(),
            sometimes: BTreeMap::new(),
            story: with_story.then(Vec::new),
        }
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now:6} {}", line()));
        }
    }

    pub(super) fn seen(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_default() += 1;
    }

    pub(super) fn plan_of(&self, job: JobId) -> Option<JobPlan> {
        self.clients.iter().find(|client| client.is(job)).map(|client| client.plan.clone())
    }

    fn run(&mut self) -> Result<(), String> {
        self.start_coordinator()?;
        for worker in 0..self.workers.len() {
            self.start_worker(worker, false);
        }
        for client in 0..self.clients.len() {
            let at = self.clients[client].plan.at_ms;
            self.after(at, Event::Submit { client });
            if self.options.retry > 0 {
                self.after(at + 1_000, Event::Retry { client });
            }
        }
        self.after(250, Event::Faults);
        let (faults_ms, mut checked) = (self.options.faults_ms, 0);
        self.after(faults_ms, Event::Heal);
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.on_event(event)?;
            if self.healed && self.now >= checked + 200 {
                checked = self.now;
                if self.is_over() {
                    return self.judge_end();
                }
                if self.now > self.options.faults_ms + HEALED_MS {
                    return Err(self.explain_hang());
                }
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    fn on_event(&mut self, event: Event) -> Result<(), String> {
        if let Some(later) = self.paused(&event) {
            self.after(later - self.now, event);
            return Ok(());
        }
        let life = self.coordinator.life;
        match event {
            Event::Request { from, request } => self.on_request(from, &request),
            Event::Answer { to, answer } if self.is_current(to) => self.on_answer(to, *answer),
            Event::Timer { whom, timer } if self.is_current(whom) => {
                self.on_timer(whom, timer);
                Ok(())
            }
            Event::TaskDone { whom, run } if self.is_current(whom) => self.on_task_done(whom, run),
            Event::Relay { whom, token } if self.is_current(whom) => self.on_relay(whom, &token),
            Event::Answer { .. } | Event::Timer { .. } | Event::TaskDone { .. } | Event::Relay { .. } => Ok(()),
            Event::Submit { client } => self.on_submit(client),
            Event::SubmitAnswered { client, job } => {
                self.clients[client].acked = Some(job);
                Ok(())
            }
            Event::Retry { client } => self.on_retry(client),
            Event::CancelAnswered { job } => {
                self.clients.iter_mut().filter(|client| client.is(job)).for_each(|client| client.cancelled = true);
                Ok(())
            }
            Event::Flushed { life: of } if of == life => {
                self.on_flushed();
                Ok(())
            }
            Event::Unpark { life: of, session, park, expired } if of == life => self.on_unpark(session, park, expired),
            Event::Tick { life: of } if of == life => self.on_tick(),
            Event::Planned { life: of, job } if of == life => self.on_planned(job),
            Event::Committed { life: of, job } if of == life => self.on_committed(job),
            Event::Flushed { .. }
            | Event::Unpark { .. }
            | Event::Tick { .. }
            | Event::Planned { .. }
            | Event::Committed { .. } => Ok(()),
            Event::CoordinatorUp => self.start_coordinator(),
            Event::WorkerUp { worker } => {
                let fresh = !self.directories.contains_key(&self.workers[worker].id);
                self.start_worker(worker, fresh);
                Ok(())
            }
            Event::Faults => self.on_faults(),
            Event::Heal => self.heal(),
        }
    }

    /// Until when the event has to wait because its worker or the coordinator is paused.
    fn paused(&self, event: &Event) -> Option<u64> {
        if let Some(until) = self.coordinator_paused(event) {
            return Some(until);
        }
        let whom = match event {
            Event::Answer { to: whom, .. }
            | Event::Timer { whom, .. }
            | Event::TaskDone { whom, .. }
            | Event::Relay { whom, .. } => *whom,
            _ => return None,
        };
        let until = self.workers[whom.worker].paused_until;
        (self.is_current(whom) && until > self.now).then_some(until)
    }

    fn coordinator_paused(&self, event: &Event) -> Option<u64> {
        let until = self.coordinator.paused_until;
        if until <= self.now {
            return None;
        }
        match event {
            // What came meanwhile is heard before deadlines are looked at.
            Event::Tick { .. } => Some(until + 1),
            Event::Request { .. }
            | Event::Submit { .. }
            | Event::Retry { .. }
            | Event::Flushed { .. }
            | Event::Unpark { .. }
            | Event::Planned { .. }
            | Event::Committed { .. }
            | Event::Relay { .. }
            | Event::TaskDone { .. } => Some(until),
            Event::Answer { .. }
            | Event::Timer { .. }
            | Event::SubmitAnswered { .. }
            | Event::CancelAnswered { .. }
            | Event::CoordinatorUp
            | Event::WorkerUp { .. }
            | Event::Faults
            | Event::Heal => None,
        }
    }

    fn on_submit(&mut self, index: usize) -> Result<(), String> {
        let client = &self.clients[index];
        if client.acked.is_some() {
            return Ok(());
        }
        let job = JobId(self.random.uuid());
        let client = &mut self.clients[index];
        client.refused = false;
        client.ids.push(job);
        let plan = &client.plan;
        let step = |&reduces: &u32| {
            let mut step = StepSpec::native("program");
            (step.reduce, step.partitions) = (reduces > 0, (reduces > 0).then_some(reduces));
            step
        };
        let inputs = vec![Input::Generated(Generated { generate: u64::from(plan.maps) })];
        let mut spec = JobSpec::new(format!("job {index}"), inputs, plan.reduces.iter().map(step).collect());
        spec.priority = plan.priority;
        spec.user = plan.user.map(|user| format!("user {user}"));
        spec.max_running = plan.cap;
        spec.backups = plan.backups;
        if plan.requires_label {
            spec.requires.labels.insert("label".to_owned(), "yes".to_owned());
        }
        spec.on_bad_record = plan.bad.as_ref().map_or(OnBadRecord::Fail, |(.., most)| OnBadRecord::Skip(*most));
        spec.on_failed_task = if plan.goes_on { OnFailedTask::Continue } else { OnFailedTask::Fail };
        spec.on_nondeterminism = plan.strays.unwrap_or_default();
        spec.output.url = plan.output.map(|output| format!("file:///out/{output}"));
        let key = index.to_string();
        let idempotency = Some(Idempotency { body: Digest::of(key.as_bytes()), key });
        // Until it hears that the job is taken, it submits again.
        self.after(700, Event::Submit { client: index });
        self.command(Command::SubmitJob { job, spec: Box::new(spec), idempotency }, To::Submitter(index))
    }

    /// Runs a failed job once more, as often as the client has the patience.
    fn on_retry(&mut self, index: usize) -> Result<(), String> {
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else {
            self.after(700, Event::Retry { client: index });
            return Ok(());
        };
        let client = &mut self.clients[index];
        let job = client.acked.filter(|job| scheduler.state(*job) == Some(JobState::Failed));
        if job.is_some_and(|job| !scheduler.keeps(job)) {
            client.retries = 0;
        }
        let Some(job) = job.filter(|_| client.retries > 0) else {
            if client.retries > 0 {
                self.after(700, Event::Retry { client: index });
            }
            return Ok(());
        };
        client.retries -= 1;
        self.after(700, Event::Retry { client: index });
        self.command(Command::RetryJob { job }, To::Nobody)
    }

    /// What the coordinator said before it went is still so.
    pub(super) fn check_submitted(&self) -> Result<(), String> {
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Ok(()) };
        for client in &self.clients {
            let Some(job) = client.acked else { continue };
            match scheduler.state(job) {
                None => return Err(format!("{job} was acknowledged and is gone")),
                Some(state) if client.cancelled && state != JobState::Cancelled => {
                    return Err(format!("{job} was acknowledged as cancelled and is {state:?}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn on_faults(&mut self) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        self.after(250, Event::Faults);
        let options = self.options.clone();
        if self.coordinator.scheduler.is_some() && self.random.chance(options.coordinator_crash / 4) {
            self.seen("coordinator crashed");
            self.compact_journal()?;
            self.crash_coordinator();
            let down = self.random.between(10, 2_000);
            self.after(down, Event::CoordinatorUp);
        }
        if options.coordinator_pause > 0 && self.random.chance(options.coordinator_pause / 4) {
            self.seen("coordinator paused");
            self.coordinator.paused_until = self.now + self.random.between(100, 2 * options.lease_ms);
        }
        if options.store_loss > 0 && self.random.chance(options.store_loss / 4) && !self.store.is_empty() {
            let nth = self.random.below(self.store.len() as u64);
            let name = self.store.keys().nth(usize::try_from(nth).unwrap()).cloned();
            self.note(|| format!("the store loses {name:?}"));
            name.and_then(|name| self.store.remove(&name));
            self.seen("blob lost in the store");
        }
        for index in 0..self.workers.len() {
            if self.workers[index].is_up && self.random.chance(options.worker_crash / 4) {
                self.seen("worker crashed");
                let with_directory = self.random.chance(250);
                self.crash_worker(index, with_directory);
                let down = self.random.between(10, 4_000);
                self.after(down, Event::WorkerUp { worker: index });
            }
            if self.random.chance(options.pause / 4) {
                self.seen("worker paused");
                self.workers[index].paused_until = self.now + self.random.between(100, 2 * options.lease_ms);
            }
            if self.random.chance(options.drain / 4) {
                let worker = self.workers[index].id;
                self.command(Command::DrainWorker { worker }, To::Nobody)?;
            }
        }
        for index in 0..self.clients.len() {
            if self.random.chance(options.cancel / 4)
                && let Some(job) = self.clients[index].acked
            {
                self.clients[index].is_cancelling = true;
                self.command(Command::CancelJob { job }, To::Canceller(job))?;
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        self.note(|| "the faults end".to_owned());
        self.coordinator.paused_until = 0;
        self.start_coordinator()?;
        for index in 0..self.workers.len() {
            // One that can do everything lives; of the others some never come back.
            if index == 0 || self.random.chance(600) {
                let fresh = !self.directories.contains_key(&self.workers[index].id);
                self.start_worker(index, fresh);
            } else {
                self.crash_worker(index, false);
                self.events.retain(|_, event| !matches!(event, Event::WorkerUp { worker } if *worker == index));
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return false };
        let ended = |client: &Client| {
            let state = client.acked.and_then(|job| scheduler.state(job));
            state.is_some_and(JobState::is_over) && (state != Some(JobState::Failed) || client.retries == 0)
        };
        let idle = |worker: &SimWorker| !worker.is_up || worker.exchange.is_empty();
        self.clients.iter().all(ended) && self.workers.iter().all(idle)
    }

    fn judge_end(&mut self) -> Result<(), String> {
        self.check_submitted()?;
        for worker in self.workers.iter().filter(|worker| worker.is_up) {
            if self.directories.get(&worker.id).is_some_and(|directory| !directory.outbox.is_empty()) {
                return Err(format!("worker {} keeps reports that were acknowledged", worker.id));
            }
        }
        let now = self.mono();
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let (Some(job), Some(scheduler)) = (client.acked, self.coordinator.scheduler.as_ref()) else { continue };
            let view = scheduler.job_view(job, now).map_err(|problem| problem.to_string())?;
            let tasks = scheduler.plan_summary(job).map_or(0, |plan| plan.tasks());
            let counted = view.counters.get("tasks").copied().unwrap_or(0);
            if counted > i64::try_from(tasks).unwrap() {
                return Err(format!("{counted} of {tasks} tasks of {job} were counted"));
            }
            match view.state {
                JobState::Succeeded if client.plan.poison.is_some() && client.plan.reduces != [0] => {
                    return Err(format!("{job} succeeded although a task cannot"));
                }
                JobState::Succeeded => {
                    let bad = client.plan.bad.as_ref().map_or(0, |(_, records, _)| records.len() as u64);
                    if view.skipped_records != bad {
                        return Err(format!("{job} lists {} of {bad} records left out", view.skipped_records));
                    }
                    self.seen("job succeeded as the oracle says");
                }
                JobState::Cancelled if client.is_cancelling => self.seen("job cancelled"),
                JobState::Failed => self.judge_failure(job, &view.failure.unwrap())?,
                state => return Err(format!("{job} ended as {state:?}")),
            }
        }
        Ok(())
    }

    /// A job may fail only for what really happened often enough.
    fn judge_failure(&mut self, job: JobId, failure: &gristmill_common::api::JobFailure) -> Result<(), String> {
        let Some(task) = failure.task else { return Err(format!("{job} failed without a task: {}", failure.message)) };
        match &failure.reason {
            Some(reason) if reason.is_user_failure() => {
                let strays = self.plan_of(job).is_some_and(|plan| plan.strays == Some(OnNondeterminism::Fail));
                if strays && failure.message.contains("not deterministic") {
                    return Ok(());
                }
                let produced = self.oracle.failures.get(&(job, task)).map_or(0, std::collections::BTreeSet::len);
                if produced < limits::ATTEMPTS as usize {
                    return Err(format!("{job} failed after {produced} failures of {task}: {}", failure.message));
                }
                self.seen("job failed by its task");
            }
            Some(Reason::LostOutput { .. } | Reason::Worker { .. }) => self.seen("job failed by its workers"),
            reason => return Err(format!("{job} failed for {reason:?}")),
        }
        Ok(())
    }

    fn explain_hang(&self) -> String {
        let mut text = "it does not end:".to_owned();
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return "no coordinator".to_owned() };
        for client in &self.clients {
            let state = client.acked.map(|job| scheduler.state(job));
            let _ = write!(text, "\n{:?} {state:?}", client.acked);
            if let Some(job) = client.acked {
                let _ = write!(text, " {:?}", scheduler.explain(job, None));
            }
        }
        for (index, worker) in self.workers.iter().enumerate() {
            let exchange = &worker.exchange;
            let (held, unacked) = (exchange.running() + exchange.queued(), exchange.unacked());
            let _ = write!(
                text,
                "\nworker {index} up {} works {} holds {held} unacked {unacked}",
                worker.is_up,
                worker.can_work()
            );
        }
        text
    }
}
