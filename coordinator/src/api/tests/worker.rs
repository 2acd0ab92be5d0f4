//! A worker in miniature that does its work through the router: counts generated numbers, keyed by their last digit.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::grant::name_of;
use gristmill_common::plan::SplitInput;
use gristmill_common::wire::{
    Done, FetchRequest, Location, Outcome, Output, OutputsAnswer, PlanAnswer, PollRequest, PollResponse, Report,
    Running, SplitsAnswer, TaskResult, WorkerAbout,
};
use gristmill_common::{Digest, Epoch, Fence, FenceRange, GrantName, SessionId, Stage, TaskRange, WorkerId};
use gristmill_runs::{PartWriter, RunFile, RunHeader, RunSummary, RunWriter, SectionReader, Source};
use serde_json::Value;
use uuid::Uuid;

use super::world::{Got, WORKER, World};

/// Where the miniature puts what it makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Into its reports.
    Inline,
    /// Into the coordinator's store.
    Store,
}

/// The worker's side of one session.
pub(super) struct Miniature {
    pub(super) worker: WorkerId,
    pub(super) session: SessionId,
    pub(super) seq: u64,
    pub(super) seen: u64,
    pub(super) epoch: Option<Epoch>,
    pub(super) finished: Vec<Report>,
    pub(super) running: Vec<Running>,
    pub(super) free_slots: u32,
    keep: Keep,
}

impl Miniature {
    pub(super) fn new(number: u128, keep: Keep) -> Self {
        Self {
            worker: WorkerId(Uuid::from_u128(number)),
            session: SessionId(Uuid::from_u128(number << 8)),
            seq: 0,
            seen: 0,
            epoch: None,
            finished: Vec::new(),
            running: Vec::new(),
            free_slots: 2,
            keep,
        }
    }

    /// Returns its next poll.
    pub(super) fn next_poll(&mut self) -> PollRequest {
        self.seq += 1;
        PollRequest {
            seq: self.seq,
            seen: self.seen,
            epoch: self.epoch,
            free_slots: self.free_slots,
            running: self.running.clone(),
            finished: self.finished.clone(),
            ..PollRequest::new(
                self.worker,
                self.session,
                WorkerAbout {
                    name: "miniature".to_owned(),
                    host: "here".to_owned(),
                    version: "0".to_owned(),
                    slots: 2,
                    programs: vec!["numbers".to_owned()],
                    executable: Digest::of(b"miniature"),
                    ..WorkerAbout::default()
                },
            )
        }
    }

    pub(super) async fn send(&self, world: &World, poll: &PollRequest) -> Got {
        let body = serde_json::to_value(poll).expect("JSON");
        world.ask(Method::POST, "/v1/worker/poll").token(WORKER).json(&body).send().await
    }

    /// Polls, and takes the answer in.
    pub(super) async fn poll(&mut self, world: &World) -> PollResponse {
        let poll = self.next_poll();
        let got = self.send(world, &poll).await;
        assert_eq!(got.status, StatusCode::OK, "{got:?}");
        let answer: PollResponse = got.json();
        self.seen = answer.seq;
        self.epoch = Some(answer.epoch);
        let acked = |fence: Fence| answer.acks.iter().any(|ack| ack.fences.contains(fence));
        self.finished.retain(|report| !acked(name_of(&report.token).expect("a token").first_fence));
        answer
    }

    /// Polls and works until the job is over, and returns its view.
    pub(super) async fn work_until_over(&mut self, world: &World, job: &str) -> Value {
        for _ in 0..200 {
            let view: Value = world.get(&format!("/v1/jobs/{job}")).send().await.ok().json();
            if ["succeeded", "failed", "cancelled"].iter().any(|over| view["state"] == *over)
                && self.finished.is_empty()
            {
                return view;
            }
            let answer = self.poll(world).await;
            for grant in answer.grants {
                self.finished.push(self.carry_out(world, &grant.token).await);
            }
        }
        panic!("job {job} does not end");
    }

    /// Does the tasks of a grant and returns the report.
    pub(super) async fn carry_out(&self, world: &World, token: &str) -> Report {
        let grant = name_of(token).expect("a token");
        let mut results = Vec::new();
        for index in grant.tasks.iter() {
            let output = match grant.stage {
                Stage::Map => self.map(world, token, &grant, index).await,
                Stage::Reduce => self.reduce(world, token, &grant, index).await,
            };
            let done = Done {
                output,
                records_in: 1,
                took_ms: 1,
                counters: BTreeMap::from([("seen".to_owned(), 1)]),
                ..Done::default()
            };
            results.push(TaskResult { tasks: TaskRange::one(index), outcome: Outcome::Done(done) });
        }
        Report { token: token.to_owned(), results }
    }

    async fn map(&self, world: &World, token: &str, grant: &GrantName, index: u32) -> Output {
        let plan: PlanAnswer = get(world, token, "/v1/worker/plan").await.json();
        let step = &plan.head.steps[usize::from(grant.step)];
        let splits: SplitsAnswer = get(world, token, "/v1/worker/splits").await.json();
        let numbers = match &splits.splits[(index - grant.tasks.first) as usize] {
            SplitInput::Generated { first, count } => (*first..first + count).map(|n| n.to_string()).collect(),
            SplitInput::Part { part } => lines(&get(world, token, &format!("/v1/worker/part/{part}")).await.text()),
            SplitInput::Files(pieces) => {
                let mut found = Vec::new();
                for piece in pieces {
                    found.extend(lines(&get(world, token, &format!("/v1/worker/input/{}", piece.file)).await.text()));
                }
                found
            }
        };
        let fence = grant.fence_of(index).expect("in the grant");
        let mut records: Vec<(u32, String)> =
            numbers.into_iter().map(|n| (u32::from(n.as_bytes()[n.len() - 1]) % step.reduces.max(1), n)).collect();
        records.sort();
        let header = RunHeader { fence, partitions: step.reduces, compress: false };
        let mut run = RunWriter::new(Vec::new(), header).expect("writes");
        for (partition, number) in &records {
            run.push(*partition, number.as_bytes(), b"1").expect("writes");
        }
        let (summary, bytes) = run.finish_into().expect("writes");
        self.deliver(world, token, index, summary, bytes).await
    }

    async fn reduce(&self, world: &World, token: &str, grant: &GrantName, index: u32) -> Output {
        let table: OutputsAnswer = get(world, token, "/v1/worker/outputs").await.json();
        let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for output in table.outputs {
            let (map, fence) = (output.map, output.fence);
            let section = if output.at.contains(&Location::Store) {
                fetch(world, token, index, map, fence).await
            } else {
                let Some(Location::Inline(text)) = output.at.first() else { panic!("{output:?}") };
                let run = RunFile::from_bytes(STANDARD.decode(text).expect("base64")).expect("a run");
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut run.section_bytes(index), &mut bytes).expect("reads");
                bytes
            };
            let mut reader = SectionReader::new(section.as_slice(), section.len() as u64).expecting(fence, index);
            while reader.advance().expect("whole") {
                *counts.entry(reader.key().to_vec()).or_default() += 1;
            }
        }
        let fence = grant.fence_of(index).expect("in the grant");
        let mut part = PartWriter::new(Vec::new(), fence, false).expect("writes");
        for (key, count) in counts {
            let text = format!("{}\t{count}\n", String::from_utf8_lossy(&key));
            part.push(&key, text.as_bytes()).expect("writes");
        }
        let (summary, bytes) = part.finish_into().expect("writes");
        self.deliver(world, token, index, summary, bytes).await
    }

    async fn deliver(&self, world: &World, token: &str, index: u32, summary: RunSummary, bytes: Vec<u8>) -> Output {
        let at = match self.keep {
            _ if summary.records == 0 => return Output::default(),
            Keep::Inline => Location::Inline(STANDARD.encode(&bytes)),
            Keep::Store => {
                let got = put(world, token, index, bytes).await;
                assert_eq!(got.status, StatusCode::NO_CONTENT, "{got:?}");
                Location::Store
            }
        };
        let RunSummary { records, bytes, digest, text_bytes } = summary;
        Output { records, bytes, text_bytes, digest: format!("{digest:016x}"), at, ..Output::default() }
    }
}

pub(super) async fn get(world: &World, token: &str, path: &str) -> Got {
    world.ask(Method::GET, path).token(token).send().await.ok()
}

pub(super) async fn put(world: &World, token: &str, index: u32, bytes: Vec<u8>) -> Got {
    world.ask(Method::PUT, &format!("/v1/worker/output/{index}")).token(token).body(bytes).send().await
}

/// Fetches one section.
pub(super) async fn fetch(world: &World, token: &str, partition: u32, map: u32, fence: Fence) -> Vec<u8> {
    let request = FetchRequest { partition, outputs: vec![(map, fence)], from: None };
    let body = serde_json::to_value(&request).expect("JSON");
    let got = world.ask(Method::POST, "/v1/worker/fetch").token(token).json(&body).send().await.ok();
    let (length, section) = got.body.split_at(8);
    assert_eq!(u64::from_le_bytes(length.try_into().expect("8 bytes")), section.len() as u64);
    section.to_vec()
}

pub(super) fn running(fence: Fence, count: u32) -> Running {
    Running { fences: FenceRange { first: fence, count }, progress_permille: None, status: None }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
