//! What a fleet of 10,000 workers and a job of 1,000,000 tasks cost the real scheduler and the real journal.
//!
//! `cargo test --release -p gristmill-coordinator large_fleet -- --ignored --nocapture` prints transitions (a task granted,
//! a task won) per second, bytes per task, and how long a journal of 1,000,000 entries takes to open. Two ways: tasks that
//! end alike are granted and reported as ranges; tasks that each have an output of their own are reported one by one.

use std::time::{Duration, Instant};

use gristmill_common::plan::{PlanSummary, StepShape};
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::wire::{
    Done, Location, Outcome as Ended, Output, PollRequest, PollResponse, Report, TaskResult, WorkerAbout,
};
use gristmill_common::{Digest, Epoch, JobId, JobSpec, SessionId, TaskRange, TokenSecret, WorkerId, grant, limits};
use uuid::Uuid;

use crate::journal::sqlite::SqliteJournal;
use crate::journal::{Journal as _, Record, Replay};
use crate::scheduler::{Command, Entry, Now, Outcome, Reply, Scheduler, SchedulerConfig};

const WORKERS: u32 = 10_000;
const TASKS: u32 = 1_000_000;
/// Attempts that a worker takes at a time.
const FREE: u32 = 20;
/// Entries of the journal that is opened.
const ENTRIES: usize = 1_000_000;
const CLUSTER: Uuid = Uuid::from_u128(77);
const JOB: JobId = JobId(Uuid::from_u128(1));

#[expect(clippy::disallowed_methods, reason = "measures; no decision reads it")]
fn clock() -> Instant {
    Instant::now()
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4_096)
}

/// Time that this thread has had of a processor: on a busy machine less than has passed.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

struct Fleet {
    scheduler: Scheduler,
    now: Now,
    spent: Duration,
    polls: u64,
    entries: Vec<Entry>,
    requests: Vec<PollRequest>,
    /// Whether each task is reported by itself.
    one_by_one: bool,
}

impl Fleet {
    fn new(one_by_one: bool) -> Self {
        let mut scheduler =
            Scheduler::recover(std::iter::empty(), TokenSecret::new([3; 32]), SchedulerConfig::default());
        let entries = scheduler.start(Epoch { cluster: CLUSTER, counter: 1 }, Now::default());
        let requests = (0..WORKERS).map(request).collect();
        Self { scheduler, now: Now::default(), spent: Duration::ZERO, polls: 0, entries, requests, one_by_one }
    }

    fn tell(&mut self, command: Command) -> Reply {
        let start = clock();
        let Outcome { reply, entries, .. } = self.scheduler.handle(command, self.now);
        self.spent += start.elapsed();
        self.entries.extend(entries);
        reply
    }

    fn submit(&mut self) {
        let input = Input::Generated(Generated { generate: u64::from(TASKS) });
        let spec = Box::new(JobSpec::new("large", vec![input], vec![StepSpec::native("no-op")]));
        self.tell(Command::SubmitJob { job: JOB, spec, idempotency: None });
        let shapes = vec![StepShape { maps: TASKS, reduces: 0, fused: false }];
        let (digest, roots) = (Digest([1; 32]), Vec::new());
        let plan = PlanSummary { digest, shapes, input_files: 0, input_bytes: 0, roots, protocol: 0 };
        self.tell(Command::FinishPlan { job: JOB, result: Ok(plan) });
    }

    /// Every worker polls once: reports what it has, takes what it gets.
    fn round(&mut self) {
        self.now.mono_ms += 100;
        for index in 0..self.requests.len() {
            let request = &mut self.requests[index];
            request.seq += 1;
            let request = Box::new(request.clone());
            self.polls += 1;
            let reply = self.tell(Command::Poll(request));
            let request = &mut self.requests[index];
            (request.finished, request.running) = (Vec::new(), Vec::new());
            if let Reply::Poll(answer) = reply {
                take(request, &answer, self.one_by_one);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.entries.iter().rev().take(10).any(|entry| matches!(entry, Entry::CommitStarted { .. }))
    }
}

fn request(number: u32) -> PollRequest {
    let id = |kind: u128| Uuid::from_u128((kind << 64) + u128::from(number));
    let about = WorkerAbout {
        name: format!("worker-{number}"),
        host: format!("host-{number}"),
        version: "1".to_owned(),
        slots: 4,
        programs: vec!["no-op".to_owned()],
        executable: Digest([2; 32]),
        ..WorkerAbout::default()
    };
    PollRequest { free_slots: FREE, ..PollRequest::new(WorkerId(id(1)), SessionId(id(2)), about) }
}

/// The worker runs what it was granted until its next poll, which reports it.
fn take(request: &mut PollRequest, answer: &PollResponse, one_by_one: bool) {
    request.seen = answer.seq;
    request.epoch = Some(answer.epoch);
    for grant in &answer.grants {
        let name = grant::name_of(&grant.token).unwrap();
        let ranges: Vec<TaskRange> =
            if one_by_one { name.tasks.iter().map(TaskRange::one).collect() } else { vec![name.tasks] };
        let results =
            ranges.into_iter().map(|tasks| TaskResult { tasks, outcome: Ended::Done(done(tasks, one_by_one)) });
        request.finished.push(Report { token: grant.token.clone(), results: results.collect() });
    }
}

fn done(tasks: TaskRange, one_by_one: bool) -> Done {
    let output = Output {
        records: u64::from(one_by_one),
        bytes: u64::from(one_by_one) * 100,
        text_bytes: 0,
        digest: if one_by_one { format!("{:016x}", tasks.first) } else { "0000000000000000".to_owned() },
        at: if one_by_one { Location::Store } else { Location::Nothing },
        ..Output::default()
    };
    Done { output, records_in: 1, took_ms: 1, ..Done::default() }
}

fn run(one_by_one: bool) -> Fleet {
    let mut fleet = Fleet::new(one_by_one);
    fleet.round();
    let connected = resident();
    fleet.submit();
    let queued = resident();
    let (mut spent, mut rounds) = (Duration::ZERO, 0);
    (fleet.spent, fleet.polls) = (Duration::ZERO, 0);
    let (start, worked_before) = (clock(), worked());
    while !fleet.is_over() {
        fleet.round();
        rounds += 1;
        spent = fleet.spent;
        assert!(rounds < 200, "the job does not end");
    }
    // What the scheduler took, without the time that other processes had.
    let share = (worked() - worked_before).as_secs_f64() / start.elapsed().as_secs_f64();
    let (seconds, transitions) = (spent.as_secs_f64() * share, 2.0 * f64::from(TASKS));
    let how = if one_by_one { "each task by itself" } else { "as ranges" };
    println!(
        "{how}: {:.0} transitions/s; {} polls in {seconds:.2} s, {:.1} us each; {} entries",
        transitions / seconds,
        fleet.polls,
        seconds * 1e6 / fleet.polls as f64,
        fleet.entries.len()
    );
    let entries = fleet.entries.len() * size_of::<Entry>();
    let ended = resident().saturating_sub(connected).saturating_sub(entries as u64);
    println!(
        "{how}: {:.3} bytes per queued task, at most {:.0} per won one",
        queued.saturating_sub(connected) as f64 / f64::from(TASKS),
        ended as f64 / f64::from(TASKS)
    );
    fleet
}

/// What a million tasks that run cost, each granted by itself: the most that tables can be.
fn running_bytes() -> f64 {
    let mut fleet = Fleet::new(true);
    fleet.submit();
    let before = resident();
    let mut durable = fleet.scheduler.durable().clone();
    for n in 0..TASKS {
        let (worker, first_fence) = (WorkerId(Uuid::from_u128(u128::from(n % WORKERS))), grant_fence(n));
        let (step, stage, tasks) = (0, gristmill_common::Stage::Map, TaskRange::one(n));
        let generation = gristmill_common::Generation(0);
        durable.apply(&Entry::Granted { job: JOB, worker, step, stage, tasks, first_fence, generation, backup: false });
    }
    resident().saturating_sub(before) as f64 / f64::from(TASKS)
}

fn grant_fence(n: u32) -> gristmill_common::Fence {
    gristmill_common::Fence::first_of(1).plus(u64::from(n) * 2)
}

fn recovery(entries: &[Entry]) {
    let home = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).unwrap();
    for batch in entries[..entries.len().min(ENTRIES)].chunks(limits::ENTRIES_PER_COMMIT) {
        let records: Vec<Record> = batch.iter().map(|entry| Record { wall_ms: 1, entry: entry.clone() }).collect();
        journal.append(&records).unwrap();
    }
    drop(journal);
    let before = worked();
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).unwrap();
    let mut replay = Replay::new(&mut journal);
    let scheduler = Scheduler::recover(&mut replay, TokenSecret::new([3; 32]), SchedulerConfig::default());
    replay.finish().unwrap();
    let seconds = (worked() - before).as_secs_f64();
    println!("recovery: {} entries from SQLite in {seconds:.2} s", entries.len().min(ENTRIES));
    assert!(scheduler.epoch().is_some());
}

#[test]
#[ignore = "takes a minute; it measures"]
fn large_fleet() {
    println!("running, each granted by itself: {:.0} bytes per task", running_bytes());
    run(false);
    let fleet = run(true);
    fleet.scheduler.check_invariants();
    recovery(&fleet.entries);
}
