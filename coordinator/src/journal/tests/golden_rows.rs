//! The JSON of every kind of entry, frozen: a coordinator must read what its predecessors wrote.

use std::collections::BTreeMap;

use gristmill_common::api::{JobFailure, OutputView};
use gristmill_common::wire::{Done, Location, Output};
use gristmill_common::{
    Digest, Epoch, Fence, FenceRange, Generation, Place, Reason, Stage, TaskName, TaskRange, WorkerId,
};
use uuid::Uuid;

use super::{CLUSTER, job, planned, submitted};
use crate::golden::golden;
use crate::journal::memory::MemoryJournal;
use crate::journal::{Journal, Record};
use crate::scheduler::{Entry, Idempotency, Loss};

fn every_kind() -> Vec<Entry> {
    let (job, worker, step, map, fence) = (job(1), WorkerId(Uuid::from_u128(2)), 0, 3, Fence(1 << 36));
    let fences = vec![FenceRange { first: fence, count: 2 }];
    let Entry::JobSubmitted { spec, at, .. } = submitted(1).entry else { unreachable!("it is a submit") };
    let idempotency = Some(Idempotency { key: "key".to_owned(), body: Digest::of(b"body") });
    let output = Output {
        records: 5,
        bytes: 99,
        text_bytes: 0,
        digest: "00000000000000ff".to_owned(),
        at: Location::Inline("cnVu".to_owned()),
        ..Output::default()
    };
    let done = Done {
        output,
        records_in: 7,
        took_ms: 12,
        counters: BTreeMap::from([("words".to_owned(), 4)]),
        ..Done::default()
    };
    let reason = Reason::Panicked {
        message: "index out of bounds".to_owned(),
        at: Some(Place { file: "store://in.txt".to_owned(), offset: 17 }),
    };
    let task = TaskName { step, stage: Stage::Map, index: map };
    let failure = JobFailure { task: Some(task), reason: Some(reason.clone()), message: "m3 failed".to_owned() };
    let view = OutputView { url: "/v1/jobs/1/output".to_owned(), bytes: 10, records: 5, parts: 1 };
    let (stage, tasks, first_fence, generation) = (Stage::Map, TaskRange { first: 3, count: 2 }, fence, Generation(0));
    vec![
        Entry::EpochStarted { epoch: Epoch { cluster: CLUSTER, counter: 1 } },
        Entry::JobSubmitted { job, spec, at, idempotency },
        planned(1).entry,
        Entry::ProgramPinned { job, step, executable: Digest::of(b"program") },
        Entry::Granted { job, worker, step, stage, tasks, first_fence, generation, backup: false },
        Entry::Won { job, worker, step, stage, tasks, first_fence, done },
        Entry::Failed { job, worker, step, stage, task: map, fence, reason },
        Entry::Lost { job, worker, fences: fences.clone(), why: Loss::LeaseExpired },
        Entry::Adopted { job, worker, fences },
        Entry::OutputStored { job, step, map, fence },
        Entry::OutputUnshared { job, step, map, fence },
        Entry::TaskReopened { job, step, stage, tasks, below: fence.plus(9), why: "its worker is gone".to_owned() },
        Entry::CommitStarted { job },
        Entry::JobSucceeded { job, at: 9_000, output: view },
        Entry::JobFailed { job, at: 9_000, failure: failure.clone() },
        Entry::JobCancelled { job, at: 9_000 },
        Entry::JobRemoved { job },
        Entry::TaskGivenUp { job, task, failure },
    ]
}

#[test]
fn rows_are_what_they_were() {
    let mut journal = MemoryJournal::new(CLUSTER);
    let entries = every_kind();
    let records: Vec<_> =
        entries.iter().map(|entry| Record { wall_ms: 1_700_000_000_000, entry: entry.clone() }).collect();
    journal.append(&records).expect("appends");
    let rows = journal.rows(None, 0, 100).expect("reads");
    let text: Vec<_> = rows.iter().map(|row| format!("{} {} {}", row.seq, row.kind, row.body)).collect();
    golden("journal/tests/golden/rows.txt", &text.join("\n"));

    let read: Vec<_> = rows.iter().map(|row| row.entry().expect("an entry")).collect();
    assert_eq!(read, entries);
    let kinds: std::collections::BTreeSet<_> = entries.iter().map(Entry::kind).collect();
    assert_eq!(kinds.len(), 18, "every kind once");
}
