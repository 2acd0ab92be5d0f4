//! Whatever refuses, it refuses with a problem.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use gristmill_common::limits;
use serde_json::json;

use super::world::{CLIENT, WORKER, World, generated};

#[tokio::test]
async fn what_the_framework_would_refuse_in_plain_text_is_a_problem_too() {
    let world = World::new().await;
    world.get("/nowhere").refused(404, "not_found").await;
    let problem = world.ask(Method::PATCH, "/v1/jobs").token(CLIENT).refused(405, "invalid").await;
    assert!(problem.detail.contains("POST and GET"), "{problem}");
    for body in ["", "{", "[1,", "nonsense", "{\"name\": \"\u{0}\"}"] {
        let ask = world.ask(Method::POST, "/v1/worker/poll").token(WORKER).header("content-type", "application/json");
        ask.body(body).refused(400, "invalid").await;
    }
    let deep = "[".repeat(100_000);
    let ask = world.ask(Method::POST, "/v1/jobs").token(CLIENT).header("content-type", "application/json");
    ask.body(deep).refused(400, "invalid").await;
    world.get("/v1/jobs?limit=x").refused(400, "invalid").await;
    world.get("/v1/jobs?limit=0").refused(400, "invalid").await;
    world.get("/v1/jobs?limit=1001").refused(400, "invalid").await;
    world.get("/v1/jobs?colour=red").refused(400, "invalid").await;
    world.get("/v1/jobs?cursor=x").refused(400, "invalid").await;
    world.get("/v1/jobs?state=asleep").refused(400, "invalid").await;
    world.get("/v1/jobs/%ff").refused(400, "invalid").await;
    world.get("/v1/jobs/0").refused(404, "not_found").await;
    world.get("/v1/jobs/last").refused(404, "not_found").await;
    world.get("/v1/jobs/last?wait=soon").refused(400, "invalid").await;
}

#[tokio::test]
async fn bodies_must_be_json_by_name_and_keep_their_limit() {
    let world = World::new().await;
    let spec = generated(1, 1, 1).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"] {
        let ask = world.ask(Method::POST, "/v1/jobs").token(CLIENT).header("content-type", kind);
        ask.body(spec.clone()).refused(415, "invalid").await;
    }
    world.ask(Method::POST, "/v1/jobs").token(CLIENT).body(spec.clone()).refused(415, "invalid").await;
    let ask =
        world.ask(Method::POST, "/v1/jobs").token(CLIENT).header("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(ask.body(spec).send().await.status, StatusCode::CREATED);

    let ask = world.ask(Method::POST, "/v1/jobs").token(CLIENT).header("content-type", "application/json");
    let problem = ask.body(Body::from(vec![b' '; limits::SPEC_BYTES + 1])).refused(413, "too_large").await;
    assert!(problem.detail.contains(&limits::SPEC_BYTES.to_string()), "{problem}");
    let ask = world.ask(Method::POST, "/v1/worker/poll").token(WORKER).header("content-type", "application/json");
    ask.body(Body::from(vec![b' '; limits::POLL_BYTES + 1])).refused(413, "too_large").await;
}

#[tokio::test]
async fn mistakes_in_a_spec_are_named_with_their_pointer() {
    let world = World::new().await;
    let cases = [
        (json!({ "inputs": [], "steps": [{ "native": "a" }] }), 400, "invalid", ""),
        (
            json!({ "name": "n", "inputs": ["file:///x"], "steps": [{ "native": "a", "partitions": 0 }] }),
            400,
            "invalid",
            "/steps/0/partitions",
        ),
        (json!({ "name": "n", "inputs": ["file:///x"], "steps": [{ "wasm": "a" }] }), 400, "invalid", "/steps/0/wasm"),
        (json!({ "name": "n", "inputs": ["s3://b/k"], "steps": [{ "native": "a" }] }), 501, "unsupported", "/inputs/0"),
    ];
    for (spec, status, code, pointer) in cases {
        let problem = world.post("/v1/jobs", &spec).refused(status, code).await;
        assert_eq!(problem.pointer.as_deref(), Some(pointer), "{problem}");
    }
    let page: serde_json::Value = world.get("/v1/jobs").send().await.json();
    assert_eq!(page["jobs"], json!([]));
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_the_others_go_on() {
    let panic: Box<dyn std::any::Any + Send> = Box::new("on purpose");
    let response = crate::api::answer::panicked(panic);
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_coordinator_that_stopped_says_so_and_when_to_come_back() {
    let mut world = World::new().await;
    world.ask(Method::GET, "/readyz").send().await.ok();
    world.halt().await;
    for ask in [world.get("/v1/jobs"), world.post("/v1/jobs", &generated(1, 1, 1)), world.ask(Method::GET, "/readyz")] {
        let got = ask.send().await;
        assert_eq!(
            (got.status, &got.headers["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().expect("a value"))
        );
    }
    world.ask(Method::GET, "/healthz").send().await.ok();
}
