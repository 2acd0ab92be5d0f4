//! Rolling upgrades: a worker of an earlier version, played from what it really sent, against the coordinator of today.
//!
//! `recorded/polls_of_245885f.jsonl` holds polls of that commit's worker as a proxy saw them; only what names this run (tokens, fences,
//! sequence numbers) is put in anew. That worker refuses fields that it does not know, so the answers are read with its
//! own idea of them, written down here as it was.

use axum::http::{Method, StatusCode};
use gristmill_common::Epoch;
use gristmill_common::grant::name_of;
use gristmill_common::wire::{PollRequest, Report};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::worker::{Keep, Miniature};
use super::world::{WORKER, World, generated};

const RECORDED: &str = include_str!("recorded/polls_of_245885f.jsonl");

fn recorded(what: &str) -> Value {
    let lines = RECORDED.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut found = lines.filter(|line| line["what"] == what);
    found.next().unwrap_or_else(|| panic!("no recorded poll is called {what}"))["poll"].take()
}

/// Answers as that worker read them.
#[expect(dead_code, reason = "what is read is that nothing else is there")]
mod then {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PollResponse {
        pub(super) epoch: Epoch,
        pub(super) seq: u64,
        pub(super) acks: Vec<Ack>,
        pub(super) keep: Vec<Fences>,
        pub(super) grants: Vec<Token>,
        pub(super) relay: Vec<Token>,
        pub(super) drop: Vec<uuid::Uuid>,
        pub(super) lease_ms: u64,
        pub(super) next_poll_ms: u64,
        pub(super) drain: bool,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Ack {
        pub(super) fences: Fences,
        pub(super) verdict: Verdict,
    }

    #[derive(Deserialize, PartialEq, Eq, Debug)]
    #[serde(rename_all = "snake_case")]
    pub(super) enum Verdict {
        Accepted,
        Duplicate,
        Superseded,
        Conflict,
    }

    #[derive(Deserialize, PartialEq, Eq, Debug)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Fences {
        pub(super) first: u64,
        pub(super) count: u32,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Token {
        pub(super) token: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PlanAnswer {
        pub(super) head: PlanHead,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PlanHead {
        pub(super) files: Vec<PinnedFile>,
        pub(super) steps: Vec<PlannedStep>,
        pub(super) progress_timeout_ms: u64,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PinnedFile {
        pub(super) url: String,
        pub(super) bytes: u64,
        pub(super) version: String,
        #[serde(default)]
        pub(super) compression: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PlannedStep {
        pub(super) native: String,
        pub(super) args: Vec<String>,
        pub(super) maps: u32,
        pub(super) reduces: u32,
        pub(super) combine: bool,
        pub(super) sort_budget_bytes: u64,
        pub(super) fan_in: u32,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct SplitsAnswer {
        pub(super) splits: Vec<SplitInput>,
        pub(super) files: Vec<NamedFile>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    pub(super) enum SplitInput {
        Files(Vec<Piece>),
        Generated { first: u64, count: u64 },
        Part { part: u32 },
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Piece {
        pub(super) file: u32,
        pub(super) start: u64,
        pub(super) end: u64,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct NamedFile {
        pub(super) index: u32,
        pub(super) file: PinnedFile,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct OutputsAnswer {
        pub(super) generation: u64,
        pub(super) outputs: Vec<OutputRef>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct OutputRef {
        pub(super) map: u32,
        pub(super) fence: u64,
        pub(super) bytes: u64,
        pub(super) at: Vec<Location>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub(super) enum Location {
        Nothing,
        Inline(String),
        Worker(uuid::Uuid),
        Store,
    }
}

fn strictly<T: DeserializeOwned>(what: &str, body: &[u8]) -> T {
    let text = String::from_utf8_lossy(body);
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("the older worker cannot read {what}: {error}: {text}"))
}

/// The recorded worker in a session of its own.
struct Older<'a> {
    world: &'a World,
    seq: u64,
    seen: u64,
    epoch: Option<Epoch>,
}

impl Older<'_> {
    async fn poll(&mut self, mut poll: Value) -> then::PollResponse {
        self.seq += 1;
        (poll["seq"], poll["seen"], poll["epoch"]) = (json!(self.seq), json!(self.seen), json!(self.epoch));
        let hello = recorded("hello");
        for same in ["worker", "session", "incarnation", "about"] {
            poll[same] = hello[same].clone();
        }
        let got = self.world.ask(Method::POST, "/v1/worker/poll").token(WORKER).json(&poll).send().await;
        assert_eq!(got.status, StatusCode::OK, "{got:?}");
        let answer: then::PollResponse = strictly("an answer", &got.body);
        assert_eq!(answer.seq, self.seq);
        (self.seen, self.epoch) = (answer.seq, Some(answer.epoch));
        answer
    }

    async fn reads_its_tasks(&self, token: &str) {
        let get = async |path: &str| self.world.ask(Method::GET, path).token(token).send().await.ok().body;
        let plan: then::PlanAnswer = strictly("a plan", &get("/v1/worker/plan").await);
        assert_eq!(plan.head.steps.len(), 1);
        let name = name_of(token).expect("a token");
        if name.stage == gristmill_common::Stage::Map {
            let splits: then::SplitsAnswer = strictly("splits", &get("/v1/worker/splits").await);
            assert_eq!(splits.splits.len(), name.tasks.count as usize);
        } else {
            let _: then::OutputsAnswer = strictly("outputs", &get("/v1/worker/outputs").await);
        }
    }
}

/// The recorded report of a success, about another task and with what that one made.
fn won(made: &Report) -> Vec<Value> {
    let mut report = recorded("inline")["finished"][0].clone();
    let result = report["results"][0].take();
    let results = made.results.iter().map(|made| {
        let (mut result, made) = (result.clone(), serde_json::to_value(made).expect("JSON"));
        result["tasks"] = made["tasks"].clone();
        result["outcome"]["done"]["output"] = made["outcome"]["done"]["output"].clone();
        result
    });
    (report["results"], report["token"]) = (results.collect(), json!(made.token));
    vec![report]
}

fn failed(kind: &str, token: &str) -> Vec<Value> {
    let mut report = recorded(kind)["finished"][0].clone();
    let first = name_of(token).expect("a token").tasks.first;
    report["token"] = json!(token);
    report["results"][0]["tasks"] = json!({ "first": first, "count": 1 });
    vec![report]
}

#[test]
fn what_the_older_worker_sent_is_understood() {
    for line in RECORDED.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let poll: PollRequest = serde_json::from_value(line["poll"].clone()).expect("understood");
        assert_eq!(poll.protocol, 1, "{}", line["what"]);
    }
}

#[tokio::test]
async fn a_worker_of_the_version_before_does_a_whole_job() {
    let world = World::new().await;
    let mut spec = generated(12, 3, 1);
    spec["steps"][0]["native"] = json!("word-count");
    let job = world.submit(&spec).await;
    let id = job["id"].as_str().expect("an id");
    let maker = Miniature::new(9, Keep::Inline);
    let mut older = Older { world: &world, seq: 0, seen: 0, epoch: None };

    let mut grants = older.poll(recorded("hello")).await.grants;
    let first = grants.first().expect("work").token.clone();
    older.reads_its_tasks(&first).await;
    let fences = name_of(&first).expect("a token").fences();
    let fences = json!({ "first": fences.first, "count": fences.count });

    // Renews its lease, in its way of saying so, and is told to go on.
    let mut busy = recorded("busy");
    busy["running"].as_array_mut().expect("a list").truncate(1);
    (busy["running"][0]["fences"], busy["free_slots"]) = (fences.clone(), json!(0));
    let answer = older.poll(busy).await;
    assert_eq!(json!({ "first": answer.keep[0].first, "count": answer.keep[0].count }), fences);

    // Fails once each way, gives one back, and then does all of it.
    let mut mishaps = vec!["failed", "panicked", "returned"];
    for _ in 0..60 {
        let view: Value = world.get(&format!("/v1/jobs/{id}")).send().await.json();
        if view["state"] == "succeeded" {
            assert_eq!((&view["counters"]["seen"], mishaps.len()), (&Value::Null, 0), "{view}");
            let text = world.get(&format!("/v1/jobs/{id}/output")).send().await.ok().text();
            assert_eq!(text.lines().count(), 12);
            return drains(&mut older).await;
        }
        let (mut finished, mut returned) = (Vec::new(), Vec::new());
        for grant in std::mem::take(&mut grants) {
            let name = name_of(&grant.token).expect("a token");
            older.reads_its_tasks(&grant.token).await;
            match if name.tasks.count == 1 { mishaps.pop() } else { None } {
                Some("returned") => returned.push(json!({ "first": name.first_fence, "count": 1 })),
                Some(kind) => finished.extend(failed(kind, &grant.token)),
                None => finished.extend(won(&maker.carry_out(&world, &grant.token).await)),
            }
        }
        let has_reports = !finished.is_empty();
        let mut poll = recorded("returned");
        (poll["running"], poll["free_slots"]) = (json!([]), json!(1));
        (poll["finished"], poll["returned"]) = (finished.into(), returned.into());
        let answer = older.poll(poll).await;
        assert_eq!(has_reports, !answer.acks.is_empty());
        assert!(answer.acks.iter().all(|ack| ack.verdict == then::Verdict::Accepted));
        grants = answer.grants;
    }
    panic!("the job does not end: {}", world.get(&format!("/v1/jobs/{id}")).send().await.text());
}

async fn drains(older: &mut Older<'_>) {
    let mut poll = recorded("drain");
    (poll["running"], poll["finished"]) = (json!([]), json!([]));
    let answer = older.poll(poll).await;
    assert!(answer.grants.is_empty() && answer.relay.is_empty());
}
