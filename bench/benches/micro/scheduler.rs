//! The scheduler by itself: one worker that polls, takes what it is granted, and reports it with its next poll.

use criterion::{BatchSize, Criterion, Throughput};
use gristmill_common::plan::PlanSummary;
use gristmill_common::wire::{Outcome, PollRequest, Report, TaskResult, WorkerAbout};
use gristmill_common::{Digest, Epoch, JobId, JobSpec, SessionId, TokenSecret, WorkerId, grant};
use gristmill_coordinator::scheduler::{Command, Now, Reply, Scheduler, SchedulerConfig};
use serde_json::{from_value, json};
use uuid::Uuid;

/// Tasks of the job.
const TASKS: u32 = 100_000;
const JOB: JobId = JobId(Uuid::from_u128(1));

/// A scheduler with one job that is planned and has run nothing yet.
fn planned() -> Scheduler {
    let mut scheduler = Scheduler::recover(std::iter::empty(), TokenSecret::new([3; 32]), SchedulerConfig::default());
    scheduler.start(Epoch { cluster: Uuid::from_u128(77), counter: 1 }, Now::default());
    let spec: JobSpec = from_value(json!({
        "name": "bench", "inputs": [{ "generate": TASKS }], "steps": [{ "native": "no-op", "reduce": false }],
    }))
    .expect("a spec");
    let plan: PlanSummary = from_value(json!({
        "digest": Digest([1; 32]), "shapes": [{ "maps": TASKS, "reduces": 0 }], "input_files": 0, "input_bytes": 0,
    }))
    .expect("a plan");
    scheduler.handle(Command::SubmitJob { job: JOB, spec: Box::new(spec), idempotency: None }, Now::default());
    scheduler.handle(Command::FinishPlan { job: JOB, result: Ok(plan) }, Now::default());
    scheduler
}

fn worker() -> PollRequest {
    PollRequest {
        free_slots: 1,
        ..PollRequest::new(
            WorkerId(Uuid::from_u128(2)),
            SessionId(Uuid::from_u128(3)),
            WorkerAbout {
                name: "w".to_owned(),
                host: "h".to_owned(),
                slots: 1,
                programs: vec!["no-op".to_owned()],
                executable: Digest([2; 32]),
                ..WorkerAbout::default()
            },
        )
    }
}

/// Polls until every task is won; returns how many polls it took.
fn run(scheduler: &mut Scheduler) -> u64 {
    let (mut poll, mut won, mut now) = (worker(), 0, Now::default());
    while won < TASKS {
        poll.seq += 1;
        now.mono_ms += 1;
        let Reply::Poll(answer) = scheduler.handle(Command::Poll(Box::new(poll.clone())), now).reply else {
            panic!("a poll with work is answered at once");
        };
        (poll.seen, poll.epoch) = (answer.seq, Some(answer.epoch));
        poll.finished.clear();
        for grant in &answer.grants {
            let tasks = grant::name_of(&grant.token).expect("a token").tasks;
            won += tasks.count;
            let outcome = Outcome::Done(gristmill_common::wire::Done::default());
            poll.finished.push(Report { token: grant.token.clone(), results: vec![TaskResult { tasks, outcome }] });
        }
    }
    poll.seq
}

/// A job of no-op tasks, granted and reported in ranges.
pub(crate) fn no_ops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(u64::from(TASKS)));
    group.bench_function("no-op tasks", |bencher| {
        bencher.iter_batched(planned, |mut scheduler| run(&mut scheduler), BatchSize::PerIteration);
    });
    group.finish();
}
