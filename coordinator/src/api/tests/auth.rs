//! No route without its token.

use axum::http::Method;

use super::world::{CLIENT, WORKER, World};
use crate::api::routes::table;
use crate::auth::Scope;

/// A path of the route with something in the place of its parameters.
fn example(path: &str) -> String {
    path.replace("{*path}", "a/b")
        .replace("{id}", "0")
        .replace("{part}", "0")
        .replace("{file}", "0")
        .replace("{n}", "0")
        .replace("{index}", "0")
        .replace("{sha256}", "0")
}

#[tokio::test]
async fn every_route_refuses_no_token_unknown_tokens_and_tokens_of_other_scopes() {
    let world = World::new().await;
    for route in table() {
        let method: Method = route.method.parse().expect("a method");
        let ask = || world.ask(method.clone(), &example(route.path));
        if route.scope == Scope::Public {
            assert!(matches!(route.path, "/healthz" | "/readyz"), "{} is open to anyone", route.path);
            ask().send().await.ok();
            continue;
        }
        ask().refused(401, "unauthorized").await;
        for token in ["", "guess", "g1.x"] {
            ask().token(token).refused(401, "unauthorized").await;
        }
        ask().header("authorization", &format!("Basic {CLIENT}")).refused(401, "unauthorized").await;
        let foreign = if route.scope == Scope::Client { WORKER } else { CLIENT };
        ask().token(foreign).refused(403, "forbidden").await;
    }
}

#[tokio::test]
async fn a_worker_token_does_not_open_blobs_and_an_attempts_token_does_not_open_the_poll() {
    let world = World::new().await;
    world.ask(Method::GET, "/v1/worker/plan").token(WORKER).refused(403, "forbidden").await;
    let grant = gristmill_common::GrantName {
        job: gristmill_common::JobId(uuid::Uuid::from_u128(1)),
        step: 0,
        stage: gristmill_common::Stage::Map,
        tasks: gristmill_common::TaskRange::one(0),
        first_fence: gristmill_common::Fence(1),
        generation: gristmill_common::Generation(0),
    };
    let token = world.secret.sign(&grant);
    for path in ["/v1/jobs", "/v1/about"] {
        world.ask(Method::GET, path).token(&token).refused(403, "forbidden").await;
    }
    world.ask(Method::POST, "/v1/worker/poll").token(&token).refused(403, "forbidden").await;
    world.ask(Method::GET, "/v1/worker/plan").token(&token).refused(404, "not_found").await;
}

#[tokio::test]
async fn names_that_are_not_ours_and_pages_of_others_are_refused() {
    let world = World::new().await;
    for host in ["evil.example", "127.0.0.1.evil.example:4750", "192.168.1.1:4750"] {
        for path in ["/healthz", "/v1/jobs", "/nowhere"] {
            let problem = world.get(path).header("host", host).refused(403, "forbidden").await;
            assert!(problem.detail.contains("--public-url"), "{problem}");
        }
    }
    for host in ["mill.example", "MILL.example:443", "localhost:1", "[::1]:4750"] {
        world.get("/v1/jobs").header("host", host).send().await.ok();
    }
    let drain = || world.ask(Method::POST, "/v1/jobs/last/cancel").token(CLIENT);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1"] {
        drain().header("origin", origin).refused(403, "forbidden").await;
        world.get("/v1/jobs").header("origin", origin).send().await.ok();
    }
    drain().header("origin", "http://127.0.0.1:4750").refused(404, "not_found").await;
    let got = world.get("/v1/jobs").header("origin", "http://evil.example").send().await.ok();
    assert!(!got.headers.contains_key("access-control-allow-origin"));
}
