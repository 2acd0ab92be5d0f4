//! Users' files: written whole, read in ranges, listed, deleted.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{CLIENT, World};

async fn put(world: &World, path: &str, body: &'static str) -> super::world::Got {
    world.ask(Method::PUT, path).token(CLIENT).body(body).send().await
}

#[tokio::test]
async fn files_come_back_whole_and_in_ranges() {
    let world = World::new().await;
    let got = put(&world, "/v1/store/books/a%20b.txt", "0123456789").await;
    assert_eq!(got.status, StatusCode::CREATED);
    let stored = got.json::<Value>();
    assert_eq!((&stored["url"], &stored["bytes"]), (&json!("store://books/a%20b.txt"), &json!(10)));
    put(&world, "/v1/store/books/empty", "").await.ok();
    put(&world, "/v1/store/other", "x").await.ok();

    let path = "/v1/store/books/a%20b.txt";
    let whole = world.get(path).send().await.ok();
    assert_eq!((whole.text().as_str(), whole.headers["content-length"].to_str().ok()), ("0123456789", Some("10")));
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    for (range, bytes, content) in
        [("bytes=2-4", "234", "bytes 2-4/10"), ("bytes=7-", "789", "bytes 7-9/10"), ("bytes=-2", "89", "bytes 8-9/10")]
    {
        let got = world.get(path).header("range", range).send().await;
        assert_eq!((got.status, got.text().as_str()), (StatusCode::PARTIAL_CONTENT, bytes), "{range}");
        assert_eq!(got.headers["content-range"], content);
    }
    let got = world.get(path).header("range", "bytes=10-").send().await;
    assert_eq!(
        (got.status, got.headers["content-range"].to_str().ok()),
        (StatusCode::RANGE_NOT_SATISFIABLE, Some("bytes */10"))
    );
    assert_eq!(got.json::<Value>()["code"], "range");
    assert_eq!(world.get("/v1/store/books/empty").send().await.ok().text(), "");
    let head = world.ask(Method::HEAD, path).token(CLIENT).send().await.ok();
    assert_eq!((head.body.len(), head.headers["content-length"].to_str().ok()), (0, Some("10")));

    let listed: Value = world.get("/v1/store?prefix=books/").send().await.json();
    let urls: Vec<_> = listed["files"].as_array().expect("a list").iter().map(|file| file["url"].clone()).collect();
    assert_eq!(urls, ["store://books/a%20b.txt", "store://books/empty"]);

    world.ask(Method::DELETE, path).token(CLIENT).send().await.ok();
    world.get(path).refused(404, "not_found").await;
    world.ask(Method::DELETE, path).token(CLIENT).refused(404, "not_found").await;
}

#[tokio::test]
async fn a_directory_is_deleted_and_nothing_beside_it() {
    let world = World::new().await;
    for path in ["a/b/1", "a/b/2", "a/bc", "a/b.txt"] {
        put(&world, &format!("/v1/store/{path}"), "x").await.ok();
    }
    let delete = |prefix: &str| world.ask(Method::DELETE, &format!("/v1/store?prefix={prefix}")).token(CLIENT);
    for prefix in ["", "/", "a/b", "a//", "../"] {
        delete(prefix).refused(400, "invalid").await;
    }
    assert_eq!(delete("a/b/").send().await.ok().json::<Value>(), json!({ "removed": 2 }));
    assert_eq!(delete("a/b/").send().await.ok().json::<Value>(), json!({ "removed": 0 }));
    let listed: Value = world.get("/v1/store").send().await.json();
    let urls: Vec<_> = listed["files"].as_array().expect("a list").iter().map(|file| file["url"].clone()).collect();
    assert_eq!(urls, ["store://a/b.txt", "store://a/bc"]);
    assert!(listed["files"][0]["modified_at"].as_str().expect("a time").ends_with('Z'));
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_refused() {
    let world = World::new().await;
    for path in ["/v1/store/..%2fx", "/v1/store/a/../../x", "/v1/store/a%00b", "/v1/store/./a", "/v1/store/a//b"] {
        let got = put(&world, path, "x").await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{path}: {got:?}");
    }
    let left = std::fs::read_dir(world.home.path()).expect("is there").count();
    assert_eq!(left, 2, "data and allowed, nothing else");
}
