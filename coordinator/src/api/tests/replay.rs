//! The token of a replay reads what a task reads, and changes nothing.

use axum::http::{Method, StatusCode};
use gristmill_common::api::ReplayView;
use gristmill_common::wire::{Done, Outcome, Report, SplitsAnswer, TaskResult, Verdict};
use gristmill_common::{Reason, TaskRange};
use serde_json::Value;

use super::blobs::granted;
use super::worker::{Keep, Miniature};
use super::world::{CLIENT, WORKER, World};

async fn view(world: &World) -> Value {
    let mut view: Value = world.get("/v1/jobs/last").send().await.ok().json();
    view.as_object_mut().expect("an object").remove("elapsed_ms");
    view
}

#[tokio::test]
async fn a_replay_reads_what_the_task_reads_and_changes_nothing() {
    let world = World::new().await;
    let (_, grant) = granted(&world).await;
    let task = grant.tasks.first;
    let before = view(&world).await;
    let asked = format!("/v1/jobs/last/replay?task=m{task}");
    let replay: ReplayView = world.ask(Method::POST, &asked).token(CLIENT).send().await.ok().json();
    let token = replay.token.as_str();
    let splits: SplitsAnswer = world.ask(Method::GET, "/v1/worker/splits").token(token).send().await.ok().json();
    assert_eq!(splits.splits.len(), 1);
    world.ask(Method::GET, "/v1/worker/plan").token(token).send().await.ok();
    for (path, body) in [("output", "x"), ("log", "{}\nx")] {
        let put = world.ask(Method::PUT, &format!("/v1/worker/{path}/{task}")).token(token).body(body).send().await;
        assert_eq!(put.status, StatusCode::PRECONDITION_FAILED, "{path}: {put:?}");
    }
    for outcome in [Outcome::Done(Done::default()), Outcome::Failed(Reason::Worker { message: "x".to_owned() })] {
        let mut liar = Miniature::new(2, Keep::Inline);
        liar.free_slots = 0;
        let results = vec![TaskResult { tasks: TaskRange::one(task), outcome }];
        liar.finished = vec![Report { token: token.to_owned(), results }];
        let answer = liar.poll(&world).await;
        assert!(answer.acks.iter().all(|ack| ack.verdict != Verdict::Accepted), "{answer:?}");
    }
    assert_eq!(view(&world).await, before);

    for foreign in [WORKER, token] {
        world.ask(Method::POST, &asked).token(foreign).refused(403, "forbidden").await;
    }
    let post = |path: &str| world.ask(Method::POST, path).token(CLIENT);
    post("/v1/jobs/last/replay").refused(400, "invalid").await;
    post("/v1/jobs/last/replay?task=x").refused(400, "invalid").await;
    post("/v1/jobs/last/replay?task=m99999").refused(404, "not_found").await;
    post("/v1/jobs/last/replay?task=s7.m0").refused(409, "conflict").await;
}
