//! Bundles: taken under their hash, read again, and wanted by a submit.

use axum::http::{Method, StatusCode};
use gristmill_common::Digest;
use serde_json::{Value, json};

use super::blobs::granted;
use super::world::{CLIENT, World};

#[tokio::test]
async fn a_bundle_is_taken_under_its_hash_and_comes_back() {
    let world = World::new().await;
    let name = Digest::of(b"print(1)");
    let path = format!("/v1/bundles/{name}");
    let ask = |method| world.ask(method, &path).token(CLIENT);
    ask(Method::HEAD).send().await.status.is_client_error().then_some(()).expect("not there yet");
    ask(Method::PUT).body("print(2)").refused(400, "invalid").await;
    ask(Method::GET).refused(404, "not_found").await;
    let got = ask(Method::PUT).body("print(1)").send().await;
    assert_eq!(got.status, StatusCode::CREATED);
    assert_eq!(got.json::<Value>(), json!({ "sha256": name.to_string(), "bytes": 8 }));
    assert_eq!(ask(Method::PUT).body("print(1)").send().await.status, StatusCode::OK);
    assert_eq!(ask(Method::GET).send().await.ok().text(), "print(1)");
    let part = ask(Method::GET).header("range", "bytes=6-").send().await;
    assert_eq!((part.status, part.text().as_str()), (StatusCode::PARTIAL_CONTENT, "1)"));
    let head = ask(Method::HEAD).send().await.ok();
    assert_eq!((head.body.len(), head.headers["content-length"].to_str().ok()), (0, Some("8")));
    for name in ["x", "..%2f..%2fclient.token", &name.to_string()[1..]] {
        world.get(&format!("/v1/bundles/{name}")).refused(400, "invalid").await;
    }
    let large = ask(Method::PUT).header("content-length", &(5_u64 << 30).to_string()).body("");
    large.refused(413, "too_large").await;
}

#[tokio::test]
async fn an_attempt_reads_no_bundle_that_its_job_does_not_name() {
    let world = World::new().await;
    let name = Digest::of(b"another job's secret");
    let put = world.ask(Method::PUT, &format!("/v1/bundles/{name}")).token(CLIENT).body("another job's secret");
    put.send().await.ok();
    let (token, _) = granted(&world).await;
    world.ask(Method::GET, &format!("/v1/worker/bundle/{name}")).token(&token).refused(403, "forbidden").await;
    world.ask(Method::GET, &format!("/v1/worker/bundle/{name}")).token(CLIENT).refused(403, "forbidden").await;
}
