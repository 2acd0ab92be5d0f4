//! The JSON of the exchange, frozen: workers of this version and the one before must be understood.

use std::collections::BTreeMap;

use gristmill_common::wire::{
    Ack, Done, Grant, Location, Outcome, Output, PollResponse, Relay, Report, Running, TaskResult, Verdict,
};
use gristmill_common::{Epoch, Fence, FenceRange, JobId, Place, Reason, TaskRange, WorkerId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::worker::{Keep, Miniature};
use super::world::CLUSTER;
use crate::golden::golden;

fn freeze<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let text = serde_json::to_string_pretty(value).expect("JSON");
    golden(&format!("api/tests/golden/{name}.json"), &text);
    assert_eq!(&serde_json::from_str::<T>(&text).expect("reads back"), value);
}

fn fences(first: u64, count: u32) -> FenceRange {
    FenceRange { first: Fence(first), count }
}

fn done(at: Location, first: u32, count: u32) -> TaskResult {
    let output = Output {
        records: 5,
        bytes: 99,
        text_bytes: 40,
        digest: "00000000000000ff".to_owned(),
        at,
        ..Output::default()
    };
    let done = Done {
        output,
        records_in: 7,
        took_ms: 12,
        counters: BTreeMap::from([("words".to_owned(), -4)]),
        ..Done::default()
    };
    TaskResult { tasks: TaskRange { first, count }, outcome: Outcome::Done(done) }
}

#[test]
fn a_poll_is_what_it_was() {
    let mut worker = Miniature::new(1, Keep::Inline);
    worker.epoch = Some(Epoch { cluster: CLUSTER, counter: 3 });
    worker.running = vec![
        Running { fences: fences(10, 2), progress_permille: Some(250), status: Some("half way".to_owned()) },
        Running { fences: fences(20, 1), progress_permille: None, status: None },
    ];
    let place = Some(Place { file: "store://in.txt".to_owned(), offset: 17 });
    let reasons = [
        Reason::UserError { message: "bad line".to_owned(), at: place.clone() },
        Reason::Panicked { message: "oh".to_owned(), at: None },
        Reason::Crashed { message: "signal 6 (SIGABRT)".to_owned(), at: place.clone() },
        Reason::TimedOut { after_ms: 600_000, at: place.clone() },
        Reason::OutOfMemory { message: "killed".to_owned(), at: place.clone() },
        Reason::Limit { message: "a line of 65 MiB".to_owned(), at: place.clone() },
        Reason::InputChanged { message: "it shrank".to_owned() },
        Reason::InputUnreadable { message: "gone".to_owned(), at: place },
        Reason::LostOutput { map: "s1.m3".parse().expect("a task"), fence: Fence(8), message: "checksum".to_owned() },
        Reason::Unreachable { map: "m4".parse().expect("a task"), fence: Fence(9) },
        Reason::Worker { message: "no room".to_owned() },
    ];
    let failed = |(index, reason): (usize, &Reason)| TaskResult {
        tasks: TaskRange::one(50 + u32::try_from(index).expect("few")),
        outcome: Outcome::Failed(reason.clone()),
    };
    let mut results = vec![
        done(Location::Nothing, 1, 2),
        done(Location::Inline("cnVu".to_owned()), 3, 1),
        done(Location::Worker(WorkerId(Uuid::from_u128(1))), 4, 1),
        done(Location::Store, 5, 1),
    ];
    results.extend(reasons.iter().enumerate().map(failed));
    worker.finished = vec![Report { token: "g1.token".to_owned(), results }];
    let mut poll = worker.next_poll();
    (poll.returned, poll.holds) = (vec![fences(30, 1)], vec![JobId(Uuid::from_u128(4))]);
    freeze("poll_request", &poll);
}

#[test]
fn an_answer_is_what_it_was() {
    let verdicts = [Verdict::Accepted, Verdict::Duplicate, Verdict::Superseded, Verdict::Conflict];
    let ack = |(n, verdict): (u64, Verdict)| Ack { fences: fences(n, 1), verdict };
    let answer = PollResponse {
        epoch: Epoch { cluster: CLUSTER, counter: 3 },
        seq: 7,
        acks: (1..).zip(verdicts).map(ack).collect(),
        keep: vec![fences(10, 2)],
        grants: vec![Grant { token: "g1.token".to_owned() }],
        relay: vec![Relay { token: "g1.relay".to_owned() }],
        drop: vec![JobId(Uuid::from_u128(4))],
        lease_ms: 30_000,
        next_poll_ms: 1_000,
        drain: true,
    };
    freeze("poll_response", &answer);
}
