//! The JSON of entries is the journal's format: old journals must open for ever.

use gristmill_common::api::{JobFailure, OutputView};
use gristmill_common::{Generation, Stage, TaskName};

use super::*;

fn summary_of_a_job() -> JobSummary {
    let mut world = World::new();
    let id = world.job(0, 0);
    let output = OutputView { url: "file:///out".to_owned(), bytes: 1, records: 2, parts: 3 };
    world.tell(Command::FinishCommit { job: id, output });
    let Some(Entry::JobCompacted { summary, .. }) = world.scheduler.compacted(id) else { panic!("it is over") };
    *summary
}

fn every_kind() -> Vec<Entry> {
    let job = JobId(uuid::Uuid::from_u128(1));
    let worker = WorkerId(uuid::Uuid::from_u128(2));
    let (step, stage, tasks, first_fence) = (0, Stage::Map, TaskRange { first: 3, count: 2 }, Fence::first_of(1));
    let fence = first_fence;
    let fences = vec![FenceRange { first: fence, count: 2 }];
    let mut done = made(Location::Worker(worker));
    done.counters.insert("lines".to_owned(), 7);
    let idempotency = Some(Idempotency { key: "key".to_owned(), body: Digest([4; 32]) });
    let map = TaskName { step: 0, stage: Stage::Map, index: 3 };
    let lost = Reason::LostOutput { map, fence, message: "gone".to_owned() };
    let failure = JobFailure { task: Some(map), reason: Some(boom()), message: "why".to_owned() };
    let output = OutputView { url: "file:///out".to_owned(), bytes: 1, records: 2, parts: 3 };
    let at = gristmill_common::Place { file: "file:///a".to_owned(), offset: 9 };
    let skipped = gristmill_common::wire::Skipped { at, why: "boom".to_owned(), by_reader: false };
    vec![
        Entry::EpochStarted { epoch: epoch(1) },
        Entry::JobSubmitted { job, spec: Box::new(spec(1)), at: 5, idempotency },
        Entry::JobPlanned { job, plan: summary(&[(2, 1)]) },
        Entry::ProgramPinned { job, step, executable: Digest([2; 32]) },
        Entry::Granted { job, worker, step, stage, tasks, first_fence, generation: Generation(1), backup: false },
        Entry::Won { job, worker, step, stage, tasks, first_fence, done },
        Entry::Failed { job, worker, step, stage: Stage::Reduce, task: 0, fence, reason: lost },
        Entry::Lost { job, worker, fences: fences.clone(), why: Loss::WorkerDied },
        Entry::Lost { job, worker, fences: fences.clone(), why: Loss::NotStarted },
        Entry::Lost { job, worker, fences: fences.clone(), why: Loss::LeaseExpired },
        Entry::Lost { job, worker, fences: fences.clone(), why: Loss::NotHeld },
        Entry::Lost { job, worker, fences: fences.clone(), why: Loss::Returned },
        Entry::Adopted { job, worker, fences },
        Entry::OutputStored { job, step, map: 3, fence },
        Entry::OutputUnshared { job, step, map: 3, fence },
        Entry::TaskReopened { job, step, stage, tasks, below: fence.plus(9), why: "lost".to_owned() },
        Entry::RecordSkipped { job, step, stage, task: 3, skipped },
        Entry::OutputDiffered { job, step, stage, task: 3 },
        Entry::RolledBack { job, step, stage, below: fence.plus(9), why: "another one".to_owned() },
        Entry::CommitStarted { job },
        Entry::JobSucceeded { job, at: 6, output },
        Entry::JobFailed { job, at: 7, failure: failure.clone() },
        Entry::JobCancelled { job, at: 8 },
        Entry::JobCompacted { job, summary: Box::new(summary_of_a_job()) },
        Entry::JobRemoved { job },
        Entry::Granted {
            job,
            worker,
            step,
            stage,
            tasks: TaskRange::one(3),
            first_fence,
            generation: Generation(0),
            backup: true,
        },
        Entry::TaskGivenUp { job, task: map, failure },
        Entry::JobRetried { job },
        Entry::JobExpired { job },
    ]
}

#[test]
fn entries_are_written_as_they_always_were() {
    let lines: Vec<String> = every_kind().iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    let text = lines.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scheduler/golden/entries.jsonl");
    if std::env::var_os("GRISTMILL_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, golden, "the journal's format changed: old journals would not open");
}

#[test]
fn a_reopening_from_before_parts_could_be_lost_is_one_of_maps() {
    let line = r#"{"entry":"task_reopened","job":"00000000-0000-0000-0000-000000000001","step":0,"maps":{"first":3,"count":2},"below":68719476745,"why":"lost"}"#;
    let Entry::TaskReopened { stage, tasks, .. } = serde_json::from_str(line).unwrap() else { panic!("another entry") };
    assert_eq!((stage, tasks), (Stage::Map, TaskRange { first: 3, count: 2 }));
}

#[test]
fn entries_are_read_as_they_were_written() {
    let golden = include_str!("../golden/entries.jsonl");
    let read: Vec<Entry> = golden.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(read, every_kind());
}
