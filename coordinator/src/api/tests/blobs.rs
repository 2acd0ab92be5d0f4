//! What the token of a grant opens, and what it does not.

use axum::http::{Method, StatusCode};
use gristmill_common::grant::name_of;
use gristmill_common::wire::FetchRequest;
use gristmill_common::{Fence, GrantName, Stage, TaskRange, limits};
use gristmill_runs::{RunHeader, RunWriter};
use serde_json::json;

use super::worker::{Keep, Miniature, put};
use super::world::{CLIENT, World, generated};

pub(super) async fn granted(world: &World) -> (String, GrantName) {
    world.submit(&generated(4, 2, 2)).await;
    let token = Miniature::new(1, Keep::Store).poll(world).await.grants.remove(0).token;
    let grant = name_of(&token).expect("a token");
    (token, grant)
}

fn run(fence: Fence, text: &[u8]) -> Vec<u8> {
    let mut run = RunWriter::new(Vec::new(), RunHeader { fence, partitions: 2, compress: false }).expect("writes");
    run.push(0, text, b"").expect("writes");
    run.push(1, text, b"").expect("writes");
    run.finish_into().expect("writes").1
}

#[tokio::test]
async fn an_output_is_taken_from_the_attempt_that_was_granted_and_only_whole() {
    let world = World::new().await;
    let (token, grant) = granted(&world).await;
    let first = grant.tasks.first;
    let fence = grant.first_fence;
    let refused = async |index: u32, bytes: Vec<u8>, status: StatusCode| {
        let got = put(&world, &token, index, bytes).await;
        assert_eq!(got.status, status, "{got:?}");
    };
    let good = run(fence, b"key");
    refused(grant.tasks.end(), good.clone(), StatusCode::FORBIDDEN).await;
    refused(first, good[..good.len() - 1].to_vec(), StatusCode::BAD_REQUEST).await;
    refused(first, run(fence.plus(77), b"key"), StatusCode::BAD_REQUEST).await;
    let mut flipped = good.clone();
    flipped[60] ^= 1;
    refused(first, flipped, StatusCode::BAD_REQUEST).await;
    refused(first, good.clone(), StatusCode::NO_CONTENT).await;
    refused(first, good.clone(), StatusCode::NO_CONTENT).await;

    world.ask(Method::POST, "/v1/jobs/last/cancel").token(CLIENT).send().await.ok();
    refused(first, good, StatusCode::PRECONDITION_FAILED).await;
}

#[tokio::test]
async fn sections_come_in_the_order_asked_for_and_missing_ones_say_so() {
    let world = World::new().await;
    let (token, grant) = granted(&world).await;
    let large = vec![b'x'; 600 << 10];
    put(&world, &token, grant.tasks.first, run(grant.first_fence, &large)).await.ok();
    let reduce = GrantName { stage: Stage::Reduce, tasks: TaskRange::one(1), first_fence: Fence(1 << 40), ..grant };
    let token = world.secret.sign(&reduce);
    let ask = |outputs: Vec<(u32, Fence)>| {
        let body = serde_json::to_value(FetchRequest { partition: 1, outputs, from: None }).expect("JSON");
        world.ask(Method::POST, "/v1/worker/fetch").token(&token).json(&body)
    };
    let (map, fence) = (grant.tasks.first, grant.first_fence);
    let got = ask(vec![(map, fence.plus(500)), (map, fence), (99, fence), (map, fence)]).send().await.ok();
    let mut rest = got.body.as_slice();
    let mut lengths = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes"));
        lengths.push(length);
        rest = &rest[8 + if length == u64::MAX { 0 } else { usize::try_from(length).expect("fits") }..];
    }
    assert_eq!((lengths[0], lengths[2], lengths.len()), (u64::MAX, u64::MAX, 4));
    assert!(lengths[1] > 600 << 10 && lengths[1] == lengths[3], "{lengths:?}");
    assert_eq!(ask(Vec::new()).send().await.ok().body, b"");
    ask(vec![(0, fence); limits::OUTPUTS_PER_FETCH + 1]).refused(413, "too_large").await;
}

#[tokio::test]
async fn a_grant_of_one_stage_does_not_open_what_is_of_the_other() {
    let world = World::new().await;
    let (token, grant) = granted(&world).await;
    let reduce = world.secret.sign(&GrantName { stage: Stage::Reduce, ..grant });
    world.ask(Method::GET, "/v1/worker/splits").token(&reduce).refused(400, "invalid").await;
    world.ask(Method::GET, "/v1/worker/part/0").token(&reduce).refused(404, "not_found").await;
    world.ask(Method::GET, "/v1/worker/part/0").token(&token).refused(404, "not_found").await;
    let body = json!({ "partition": 0, "outputs": [] });
    world.ask(Method::POST, "/v1/worker/fetch").token(&token).json(&body).refused(400, "invalid").await;
    let nobody = GrantName { job: gristmill_common::JobId(uuid::Uuid::from_u128(5)), ..grant };
    for path in ["plan", "splits", "input/0"] {
        let token = world.secret.sign(&nobody);
        world.ask(Method::GET, &format!("/v1/worker/{path}")).token(&token).refused(404, "not_found").await;
    }
    let beyond = world.secret.sign(&GrantName { tasks: TaskRange { first: 0, count: 1_000 }, ..grant });
    world.ask(Method::GET, "/v1/worker/splits").token(&beyond).refused(404, "not_found").await;
}

#[tokio::test]
async fn a_finished_part_is_taken_by_its_checksum_or_from_the_inbox() {
    let world = World::new().await;
    let (token, grant) = granted(&world).await;
    let path = |query: &str| format!("/v1/worker/output/{}{query}", grant.tasks.first);
    let put = async |query: &str, bytes: &'static [u8]| {
        world.ask(Method::PUT, &path(query)).token(&token).body(bytes.to_vec()).send().await
    };
    let crc = gristmill_runs::Checksum::of(b"text").crc();
    let good = format!("?bytes=4&checksum={crc:016x}");
    for (query, bytes) in [
        (good.as_str(), b"texT".as_slice()),
        ("?bytes=4", b"text"),
        ("?checksum=00", b"text"),
        ("?bytes=4&checksum=x", b"text"),
        ("?bytes=4&checksum=00&placed=true", b""),
    ] {
        let got = put(query, bytes).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{query}: {got:?}");
    }
    let got = put(&good, b"text").await;
    assert_eq!(got.status, StatusCode::NO_CONTENT, "{got:?}");
    let got = put("?bytes=4&placed=true", b"").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "nothing was laid there: {got:?}");
}
