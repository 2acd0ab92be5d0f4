//! Whole jobs over the exchange, and what it refuses.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use gristmill_common::grant::name_of;
use gristmill_common::wire::PollResponse;
use serde_json::{Value, json};

use super::worker::{Keep, Miniature, running};
use super::world::{CLIENT, CLUSTER, WORKER, World, generated};
use crate::journal::Journal;
use crate::journal::memory::MemoryJournal;
use crate::journal::sqlite::SqliteJournal;

async fn counts_numbers(journal: Option<SqliteJournal>, keep: Keep) {
    let home = Arc::new(tempfile::tempdir().expect("a directory"));
    let journal: Box<dyn Journal> = match journal {
        Some(journal) => Box::new(journal),
        None => Box::new(MemoryJournal::new(CLUSTER)),
    };
    let world = World::on(home, journal).await;
    let job = world.submit(&generated(12, 5, 3)).await;
    let id = job["id"].as_str().expect("an id");
    let view = Miniature::new(1, keep).work_until_over(&world, id).await;
    assert_eq!((&view["state"], &view["output"]["records"]), (&json!("succeeded"), &json!(12)), "{view}");
    assert_eq!(view["counters"]["seen"], 6);
    let path = format!("/v1/jobs/{id}/output");

    let merged = world.get(&format!("{path}?merge=key")).send().await.ok().text();
    let mut expected: Vec<String> = (0..12).map(|n| format!("{n}\t1\n")).collect();
    expected.sort();
    assert_eq!(merged, expected.concat());
    let whole = world.get(&path).send().await.ok();
    assert_eq!(whole.headers["content-type"], "text/plain; charset=utf-8");
    let mut parts = String::new();
    for part in 0..3 {
        parts += &world.get(&format!("{path}/{part}")).send().await.ok().text();
    }
    assert_eq!(whole.text(), parts);
    for (range, start, end) in [("bytes=3-9", 3, 10), ("bytes=40-", 40, 50), ("bytes=-4", 46, 50)] {
        let got = world.get(&format!("{path}?merge=key")).header("range", range).send().await;
        assert_eq!((got.status, got.text().as_str()), (StatusCode::PARTIAL_CONTENT, &merged[start..end]));
    }
    world.get(&path).header("range", "bytes=50-").refused(416, "range").await;
    world.get(&format!("{path}/3")).refused(404, "not_found").await;
    world.get(&format!("{path}?merge=size")).refused(400, "invalid").await;

    let removed = world.ask(Method::DELETE, &format!("/v1/jobs/{id}")).token(CLIENT).send().await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    world.get(&path).refused(404, "not_found").await;
    world.stop().await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_with_inline_outputs() {
    counts_numbers(None, Keep::Inline).await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_with_outputs_in_the_store() {
    counts_numbers(None, Keep::Store).await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_on_a_journal_on_disk() {
    let home = tempfile::tempdir().expect("a directory");
    let journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    counts_numbers(Some(journal), Keep::Inline).await;
}

#[tokio::test]
async fn maps_of_a_later_step_read_the_parts_of_the_step_before() {
    for keep in [Keep::Inline, Keep::Store] {
        let world = World::new().await;
        let mut spec = generated(20, 7, 2);
        spec["steps"] =
            json!([{ "native": "numbers", "partitions": 2 }, { "native": "numbers", "partitions": 1, "fuse": false }]);
        let job = world.submit(&spec).await;
        let id = job["id"].as_str().expect("an id");
        let view = Miniature::new(1, keep).work_until_over(&world, id).await;
        assert_eq!(view["state"], "succeeded", "{view}");
        let text = world.get(&format!("/v1/jobs/{id}/output")).send().await.ok().text();
        assert_eq!(text.lines().count(), 20);
        assert!(text.lines().all(|line| line.ends_with("\t1\t1")), "{text}");
    }
}

#[tokio::test]
async fn inputs_in_the_store_are_read_by_the_token_of_the_grant_and_pinned() {
    let world = World::new().await;
    world.ask(Method::PUT, "/v1/store/in.txt").token(CLIENT).body("10\n11\n").send().await.ok();
    let spec =
        json!({ "name": "n", "inputs": ["store://in.txt"], "steps": [{ "native": "numbers", "partitions": 1 }] });
    world.submit(&spec).await;
    let mut worker = Miniature::new(1, Keep::Inline);
    let grant = worker.poll(&world).await.grants.remove(0);
    let input = |index: u32| world.ask(Method::GET, &format!("/v1/worker/input/{index}")).token(&grant.token);
    assert_eq!(input(0).header("range", "bytes=3-4").send().await.text(), "11");
    input(1).refused(404, "not_found").await;
    world.ask(Method::PUT, "/v1/store/in.txt").token(CLIENT).body("20\n21\n").send().await.ok();
    input(0).refused(412, "stale").await;
    world.ask(Method::DELETE, "/v1/store/in.txt").token(CLIENT).send().await.ok();
    input(0).refused(412, "stale").await;
}

#[tokio::test]
async fn a_poll_is_held_until_there_is_work_and_not_longer_than_its_time() {
    let world = World::new().await;
    let mut worker = Miniature::new(1, Keep::Inline);
    let started = tokio::time::Instant::now();
    let idle = worker.poll(&world).await;
    assert!(idle.is_idle() && started.elapsed().as_millis() >= 150, "held for {:?}", started.elapsed());

    let submit = async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        world.submit(&generated(1, 1, 1)).await
    };
    let (answer, _) = tokio::join!(worker.poll(&world), submit);
    assert_eq!(answer.grants.len(), 1, "{answer:?}");
    assert!(started.elapsed().as_millis() < 600, "woken by the job, not by the clock");
}

#[tokio::test]
async fn the_same_poll_again_gets_the_same_answer_and_takes_the_place_of_the_held_one() {
    let world = World::new().await;
    let mut worker = Miniature::new(1, Keep::Inline);
    let poll = worker.next_poll();
    let second = async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        worker.send(&world, &poll).await
    };
    let (first, second) = tokio::join!(worker.send(&world, &poll), second);
    assert_eq!(first.status, StatusCode::PRECONDITION_FAILED, "{first:?}");
    let (second, third): (PollResponse, PollResponse) = (second.json(), worker.send(&world, &poll).await.json());
    assert_eq!(second, third);
}

#[tokio::test]
async fn workers_of_another_protocol_cluster_or_time_are_refused_with_the_reason() {
    let world = World::new().await;
    let mut worker = Miniature::new(1, Keep::Inline);
    worker.poll(&world).await;
    let refused = async |change: &dyn Fn(&mut Value), status: u16, code: &str| {
        let mut poll = serde_json::to_value(Miniature::new(2, Keep::Inline).next_poll()).expect("JSON");
        change(&mut poll);
        world.ask(Method::POST, "/v1/worker/poll").token(WORKER).json(&poll).refused(status, code).await
    };
    refused(&|poll| poll["protocol"] = json!(99), 412, "stale").await;
    refused(&|poll| poll["epoch"] = json!({ "cluster": uuid::Uuid::nil(), "counter": 1 }), 409, "conflict").await;
    refused(&|poll| poll["epoch"] = json!({ "cluster": CLUSTER, "counter": 9 }), 412, "stale").await;
    refused(&|poll| poll["colour"] = json!("red"), 400, "invalid").await;
    refused(&|poll| poll["seq"] = json!(-1), 400, "invalid").await;
}

#[tokio::test]
async fn a_restart_adopts_what_runs_and_takes_its_report() {
    let home = Arc::new(tempfile::tempdir().expect("a directory"));
    let directory = tempfile::tempdir().expect("a directory");
    let open = || Box::new(SqliteJournal::open(directory.path(), CLUSTER).expect("opens"));
    let world = World::on(home, open()).await;
    let job = world.submit(&generated(4, 2, 1)).await;
    let id = job["id"].as_str().expect("an id");
    let mut worker = Miniature::new(1, Keep::Inline);
    let grants = worker.poll(&world).await.grants;
    let mut reports = Vec::new();
    for grant in &grants {
        reports.push(worker.carry_out(&world, &grant.token).await);
        let name = name_of(&grant.token).expect("a token");
        worker.running.push(running(name.first_fence, name.tasks.count));
    }
    let home = world.stop().await;

    let world = World::on(home, open()).await;
    worker.free_slots = 0;
    let kept = worker.poll(&world).await;
    assert_eq!(kept.epoch.counter, 2);
    assert_eq!(kept.keep.iter().map(|range| range.count).sum::<u32>(), 2, "{kept:?}");
    (worker.running, worker.finished, worker.free_slots) = (Vec::new(), reports, 2);
    let view = worker.work_until_over(&world, id).await;
    assert_eq!(view["state"], "succeeded", "{view}");
    let events: Value = world.get(&format!("/v1/jobs/{id}/events")).send().await.json();
    let kinds: Vec<_> = events["events"].as_array().expect("a list").iter().map(|event| &event["kind"]).collect();
    assert!(kinds.contains(&&json!("adopted")) && !kinds.contains(&&json!("lost")), "{kinds:?}");
}
