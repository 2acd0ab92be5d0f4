//! Logs of attempts: written by the attempt that runs and by nobody else, read by users.

use axum::http::{Method, StatusCode};
use gristmill_common::{GrantName, limits};

use super::blobs::granted;
use super::world::{CLIENT, WORKER, World};

async fn put(world: &World, token: &str, index: u32, body: String) -> StatusCode {
    world.ask(Method::PUT, &format!("/v1/worker/log/{index}")).token(token).body(body).send().await.status
}

#[tokio::test]
async fn logs_are_told_under_a_header_each_and_only_what_is_new_when_asked() {
    let world = World::new().await;
    let (token, grant) = granted(&world).await;
    let (first, second) = (grant.tasks.first, grant.tasks.first + 1);
    assert_eq!(put(&world, &token, first, "{\"failed\":\"crashed:\\nsignal 6\"}\nboom\n".into()).await, 204);
    assert_eq!(put(&world, &token, second, "{}\nall is well".into()).await, 204);
    let logs = async |query: &str| world.get(&format!("/v1/jobs/last/logs{query}")).send().await.ok();
    let (fence, other) = (grant.first_fence.0, grant.first_fence.0 + 1);
    let failed = format!("==> m{first} attempt {fence} on miniature: failed: crashed: signal 6 <==\nboom\n");
    let fine = format!("==> m{second} attempt {other} on miniature: finished <==\nall is well\n");
    assert_eq!(logs("").await.text(), failed, "of a whole job, the failed attempts");
    assert_eq!(logs(&format!("?task=m{second}")).await.text(), fine);
    assert_eq!(logs(&format!("?fence={other}")).await.text(), fine);
    let got = logs(&format!("?task=m{second}&after=1")).await;
    assert_eq!((got.text(), got.headers["x-log-cursor"].to_str().ok()), (fine, Some("2")));
    assert_eq!(logs(&format!("?task=m{second}&after=2")).await.text(), "");
    assert_eq!(put(&world, &token, first, "{\"failed\":\"crashed\"}\nagain".into()).await, 204);
    assert!(logs("").await.text().ends_with("failed: crashed <==\nagain\n"), "the later of two counts");
    world.get("/v1/jobs/last/logs?task=x1").refused(400, "invalid").await;
}

#[tokio::test]
async fn only_the_attempt_that_runs_writes_its_log() {
    let world = World::new().await;
    let (token, grant) = granted(&world).await;
    let first = grant.tasks.first;
    for foreign in [CLIENT, WORKER] {
        assert_eq!(put(&world, foreign, first, "{}\nx".into()).await, 403);
    }
    assert_eq!(put(&world, &token, grant.tasks.end(), "{}\nx".into()).await, 403, "not a task of the grant");
    assert_eq!(put(&world, &token, first, "no head".into()).await, 400);
    assert_eq!(put(&world, &token, first, format!("{{}}\n{}", "x".repeat(limits::LOG_BYTES))).await, 413);
    let older = GrantName { first_fence: grant.first_fence.plus(1000), ..grant };
    assert_eq!(put(&world, &world.secret.sign(&older), first, "{}\nx".into()).await, 412, "not the one that runs");
    world.ask(Method::POST, "/v1/jobs/last/cancel").token(CLIENT).send().await.ok();
    assert_eq!(put(&world, &token, first, "{}\nx".into()).await, 412);
    assert_eq!(world.get("/v1/jobs/last/logs").send().await.ok().text(), "");
}
