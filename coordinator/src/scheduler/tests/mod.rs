//! Tests of the scheduler, a behaviour each. [`World`] tells a scheduler what clients and workers would, keeps what it
//! decided, and ends with "and nothing else happened".

mod backups;
mod cost;
mod exchange;
mod explanations;
mod failures;
mod fusion;
mod going_on;
mod golden;
mod jobs;
mod leases;
mod parts;
mod quarantine;
mod reach;
mod retain;
mod shares;
mod skipping;

use std::collections::BTreeMap;

use gristmill_common::plan::{PlanSummary, StepShape};
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::wire::Outcome as Ended;
use gristmill_common::wire::{
    Done, Location, Output, PollRequest, PollResponse, Report, Running, TaskResult, Verdict, WorkerAbout,
};
use gristmill_common::{
    Code, Digest, Epoch, FenceRange, GrantName, JobId, JobSpec, Problem, Reason, SessionId, TaskRange, TokenSecret,
    WorkerId, grant,
};

use super::*;

/// A scheduler and all who talk to it.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) now: Now,
    journal: Vec<Entry>,
    fresh: Vec<Entry>,
    wake: Vec<SessionId>,
    ids: u128,
    epoch: u64,
}

/// A worker that does what the test says.
#[derive(Clone)]
pub(super) struct Hand {
    pub(super) request: PollRequest,
    pub(super) tokens: BTreeMap<u64, String>,
}

pub(super) fn config() -> SchedulerConfig {
    SchedulerConfig::default()
}

pub(super) fn epoch(counter: u64) -> Epoch {
    Epoch { cluster: uuid::Uuid::from_u128(5), counter }
}

pub(super) fn secret() -> TokenSecret {
    TokenSecret::new([3; 32])
}

pub(super) fn summary(shapes: &[(u32, u32)]) -> PlanSummary {
    PlanSummary {
        digest: Digest([1; 32]),
        shapes: shapes.iter().map(|&(maps, reduces)| StepShape { maps, reduces, fused: false }).collect(),
        input_files: 1,
        input_bytes: 10,
        roots: Vec::new(),
        protocol: 0,
    }
}

pub(super) fn spec(steps: usize) -> JobSpec {
    let input = Input::Generated(Generated { generate: 10 });
    JobSpec::new("job", vec![input], vec![StepSpec::native("count"); steps])
}

impl World {
    pub(super) fn new() -> Self {
        let mut scheduler = Scheduler::recover(std::iter::empty(), secret(), config());
        let journal = scheduler.start(epoch(1), Now::default());
        let (fresh, wake) = (Vec::new(), Vec::new());
        Self { scheduler, now: Now::default(), journal, fresh, wake, ids: 0, epoch: 1 }
    }

    /// The process ends, losing what is not durable: the last `lost` entries.
    pub(super) fn restart(&mut self, lost: usize) {
        self.journal.truncate(self.journal.len() - lost);
        self.fresh.clear();
        self.scheduler = Scheduler::recover(self.journal.iter().cloned(), secret(), config());
        self.now.mono_ms = 0;
        self.epoch += 1;
        self.journal.extend(self.scheduler.start(epoch(self.epoch), self.now));
    }

    pub(super) fn id(&mut self) -> uuid::Uuid {
        self.ids += 1;
        uuid::Uuid::from_u128(self.ids)
    }

    pub(super) fn tell(&mut self, command: Command) -> Reply {
        let outcome = self.scheduler.handle(command, self.now);
        self.scheduler.check_invariants();
        self.journal.extend(outcome.entries.iter().cloned());
        let mut fold = Durable::default();
        self.journal.iter().for_each(|entry| fold.apply(entry));
        assert!(*self.scheduler.durable() == fold, "the durable half is not the fold of the journal");
        self.fresh.extend(outcome.entries);
        self.wake.extend(outcome.wake);
        outcome.reply
    }

    pub(super) fn submit_spec(&mut self, spec: JobSpec) -> JobId {
        let job = JobId(self.id());
        let reply = self.tell(Command::SubmitJob { job, spec: Box::new(spec), idempotency: None });
        assert!(matches!(reply, Reply::Submitted { existing: false, .. }), "{reply:?}");
        job
    }

    pub(super) fn plan(&mut self, job: JobId, shapes: &[(u32, u32)]) {
        let reply = self.tell(Command::FinishPlan { job, result: Ok(summary(shapes)) });
        assert!(matches!(reply, Reply::Done), "{reply:?}");
    }

    /// A planned job of one step.
    pub(super) fn job(&mut self, maps: u32, reduces: u32) -> JobId {
        let job = self.submit_spec(spec(1));
        self.plan(job, &[(maps, reduces)]);
        self.forget();
        job
    }

    pub(super) fn worker(&mut self, host: &str, slots: u32) -> Hand {
        let about = WorkerAbout {
            name: format!("worker-{}", self.ids),
            host: host.to_owned(),
            version: "1".to_owned(),
            slots,
            programs: vec!["count".to_owned()],
            executable: Digest([2; 32]),
            roots: Vec::new(),
            ..WorkerAbout::default()
        };
        let request =
            PollRequest { free_slots: slots, ..PollRequest::new(WorkerId(self.id()), SessionId(self.id()), about) };
        Hand { request, tokens: BTreeMap::new() }
    }

    /// The worker's next poll; what it reported and returned is not repeated.
    pub(super) fn poll(&mut self, hand: &mut Hand) -> Reply {
        hand.request.seq += 1;
        let reply = self.tell(Command::Poll(Box::new(hand.request.clone())));
        hand.request.finished.clear();
        hand.request.returned.clear();
        reply
    }

    /// The next poll, which is answered, and the worker takes the answer.
    pub(super) fn answered(&mut self, hand: &mut Hand) -> PollResponse {
        match self.poll(hand) {
            Reply::Poll(answer) => {
                hand.take(&answer);
                *answer
            }
            reply => panic!("not answered: {reply:?}"),
        }
    }

    /// The next poll, and the first grant of its answer.
    pub(super) fn granted(&mut self, hand: &mut Hand) -> GrantName {
        let answer = self.answered(hand);
        hand.grants(&answer)[0]
    }

    /// A parked poll looked at again, which is answered.
    pub(super) fn resumed(&mut self, hand: &mut Hand) -> PollResponse {
        match self.tell(Command::ResumePoll { session: hand.request.session, expired: false }) {
            Reply::Poll(answer) => {
                hand.take(&answer);
                *answer
            }
            reply => panic!("not answered: {reply:?}"),
        }
    }

    pub(super) fn parked(&mut self, hand: &mut Hand) {
        let reply = self.poll(hand);
        assert!(matches!(reply, Reply::Parked { .. }), "not parked: {reply:?}");
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        while self.scheduler.next_deadline().is_some_and(|at| at <= self.now.mono_ms) {
            self.tell(Command::Tick);
        }
    }

    /// The kinds of what was decided since last asked.
    pub(super) fn happened(&mut self, kinds: &[&str]) -> Vec<Entry> {
        let fresh = std::mem::take(&mut self.fresh);
        let found: Vec<&str> = fresh.iter().map(Entry::kind).collect();
        assert_eq!(found, kinds, "{fresh:?}");
        fresh
    }

    pub(super) fn woken(&mut self, hands: &[&Hand]) {
        let mut sessions: Vec<_> = hands.iter().map(|hand| hand.request.session).collect();
        let mut woken = std::mem::take(&mut self.wake);
        sessions.sort();
        woken.sort();
        assert_eq!(woken, sessions);
    }

    pub(super) fn forget(&mut self) {
        self.fresh.clear();
        self.wake.clear();
    }

    pub(super) fn and_nothing_else_happened(mut self) {
        self.happened(&[]);
        self.woken(&[]);
    }
}

impl Hand {
    /// Takes an answer: runs what was granted, stops what is not kept.
    pub(super) fn take(&mut self, answer: &PollResponse) -> Vec<GrantName> {
        self.request.seen = answer.seq;
        self.request.epoch = Some(answer.epoch);
        self.request
            .running
            .retain(|running| running.fences.iter().all(|f| answer.keep.iter().any(|keep| keep.contains(f))));
        let names: Vec<GrantName> = answer.grants.iter().map(|grant| grant::name_of(&grant.token).unwrap()).collect();
        for (name, grant) in names.iter().zip(&answer.grants) {
            for fence in name.fences().iter() {
                self.tokens.insert(fence.0, grant.token.clone());
                self.request.running.push(Running {
                    fences: FenceRange::one(fence),
                    progress_permille: None,
                    status: None,
                });
            }
            self.request.free_slots = self.request.free_slots.saturating_sub(name.tasks.count);
        }
        names
    }

    pub(super) fn grants(&self, answer: &PollResponse) -> Vec<GrantName> {
        answer.grants.iter().map(|grant| grant::name_of(&grant.token).unwrap()).collect()
    }

    /// Puts a result into the next poll.
    pub(super) fn report(&mut self, name: &GrantName, tasks: TaskRange, outcome: Ended) {
        let fences: Vec<Fence> = tasks.iter().filter_map(|task| name.fence_of(task)).collect();
        self.request.running.retain(|running| !fences.contains(&running.fences.first));
        self.request.free_slots += tasks.count;
        let results = vec![TaskResult { tasks, outcome }];
        self.request.finished.push(Report { token: secret().sign(name), results });
    }

    pub(super) fn done(&mut self, name: &GrantName, at: Location) {
        if matches!(at, Location::Worker(_)) && !self.request.holds.contains(&name.job) {
            self.request.holds.push(name.job);
        }
        self.report(name, name.tasks, Ended::Done(made(at)));
    }

    pub(super) fn done_here(&mut self, name: &GrantName) {
        let here = Location::Worker(self.request.worker);
        self.done(name, here);
    }

    pub(super) fn failed(&mut self, name: &GrantName, reason: Reason) {
        self.report(name, name.tasks, Ended::Failed(reason));
    }

    /// The worker's process dies and another one takes its directory.
    pub(super) fn reborn(&mut self, world: &mut World) {
        self.request.session = SessionId(world.id());
        self.request.incarnation += 1;
        (self.request.seq, self.request.seen) = (0, 0);
        self.request.running.clear();
        self.request.free_slots = self.request.about.slots;
    }
}

pub(super) fn made(at: Location) -> Done {
    let records = u64::from(at != Location::Nothing);
    let output =
        Output { records, bytes: records * 10, text_bytes: 0, digest: "00".to_owned(), at, ..Output::default() };
    Done { output, records_in: 1, took_ms: 1, counters: BTreeMap::new(), ..Done::default() }
}

pub(super) fn boom() -> Reason {
    Reason::Panicked { message: "boom".to_owned(), at: None }
}

pub(super) fn verdicts(answer: &PollResponse) -> Vec<Verdict> {
    answer.acks.iter().map(|ack| ack.verdict).collect()
}

pub(super) fn refused(reply: Reply, code: Code) -> Problem {
    match reply {
        Reply::Refused(problem) if problem.code == code => problem,
        reply => panic!("not refused as {code:?}: {reply:?}"),
    }
}
