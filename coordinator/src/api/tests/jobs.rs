//! Jobs as users see them.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{CLIENT, World, allowed_file, file_url, generated};

#[tokio::test]
async fn the_same_key_finds_the_same_job_and_never_another_one() {
    let world = World::new().await;
    let submit = |spec: &Value, key: &str| world.post("/v1/jobs", spec).header("idempotency-key", key);
    let spec = generated(4, 2, 1);
    let first = submit(&spec, "k1").send().await;
    assert_eq!(first.status, StatusCode::CREATED);
    let again = submit(&spec, "k1").send().await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(first.json::<Value>()["id"], again.json::<Value>()["id"]);
    submit(&generated(5, 2, 1), "k1").refused(409, "conflict").await;
    let other = submit(&spec, "k2").send().await;
    assert_eq!(other.status, StatusCode::CREATED);
    for key in ["", " ", "a b", &"x".repeat(257)] {
        submit(&spec, key).refused(400, "invalid").await;
    }
    let page: Value = world.get("/v1/jobs").send().await.json();
    assert_eq!(page["jobs"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_plan_that_cannot_be_made_is_the_submits_answer() {
    let world = World::new().await;
    let spec = |input: &str| json!({ "name": "n", "inputs": [input], "steps": [{ "native": "a" }] });
    let missing = file_url(&world.allowed().join("missing.txt"));
    let problem = world.post("/v1/jobs", &spec(&missing)).refused(400, "invalid").await;
    assert!(problem.detail.contains("missing.txt") && problem.pointer.as_deref() == Some("/inputs/0"), "{problem}");
    let problem = world.post("/v1/jobs", &spec("file:///etc/hostname")).refused(403, "forbidden").await;
    assert!(problem.detail.contains("--allow-path"), "{problem}");
    let failed = world.wait_for("last", "failed").await;
    assert!(failed["failure"]["message"].as_str().is_some_and(|text| text.contains("--allow-path")), "{failed}");

    let mut taken = spec(&allowed_file(&world, "in.txt", "a\n"));
    taken["output"] = json!({ "url": allowed_file(&world, "taken", "here") });
    let problem = world.post("/v1/jobs", &taken).refused(409, "conflict").await;
    assert_eq!(problem.pointer.as_deref(), Some("/output/url"));
    taken["output"] = json!({ "url": file_url(&world.allowed().join("free")) });
    world.submit(&taken).await;
    world.post("/v1/jobs", &taken).refused(409, "conflict").await;

    let allowed = world.allowed();
    std::os::unix::fs::symlink(&allowed, allowed.join("link")).expect("a link");
    let url = file_url(&allowed);
    taken["output"] = json!({ "url": format!("{url}/a&b") });
    let job = world.submit(&taken).await;
    assert_eq!(job["spec"]["output"]["url"], format!("{url}/a&b"));
    for same in ["a%26b", "a%26b/", "%61&b", "link/a&b"] {
        taken["output"] = json!({ "url": format!("{url}/{same}") });
        let problem = world.post("/v1/jobs", &taken).refused(409, "conflict").await;
        assert_eq!(problem.pointer.as_deref(), Some("/output/url"), "{same}");
    }
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut spec = generated(2, 1, 1);
        spec["name"] = json!(format!("job-{}", n % 2));
        ids.push(world.submit(&spec).await["id"].clone());
    }
    ids.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/jobs?limit=2".to_owned());
    loop {
        let page: Value = world.get(&path).send().await.json();
        let jobs = page["jobs"].as_array().expect("a list");
        assert!(jobs.len() <= 2);
        seen.extend(jobs.iter().map(|job| job["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/jobs?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ids);
    let named: Value = world.get("/v1/jobs?name=job-1").send().await.json();
    assert_eq!(named["jobs"].as_array().map(Vec::len), Some(2));
    let over: Value = world.get("/v1/jobs?state=failed").send().await.json();
    assert_eq!(over["jobs"], json!([]));
    let prefix = &ids[0].as_str().expect("an id")[..35];
    let found: Value = world.get(&format!("/v1/jobs/{prefix}")).send().await.json();
    assert!(ids.contains(&found["id"]) || found["code"] == "conflict", "{found}");
    let last: Value = world.get("/v1/jobs/last").send().await.json();
    assert_eq!(last["id"], ids[0]);
}

#[tokio::test]
async fn tasks_explanations_and_events_tell_where_a_job_is() {
    let world = World::new().await;
    let job = world.submit(&generated(5, 1, 2)).await;
    assert_eq!(job["state"], "running");
    let page: Value = world.get("/v1/jobs/last/tasks?stage=map&limit=3").send().await.json();
    let names: Vec<_> = page["tasks"].as_array().expect("a list").iter().map(|task| task["task"].clone()).collect();
    assert_eq!(names, ["m0", "m1", "m2"]);
    let cursor = page["next_cursor"].as_str().expect("more");
    let rest: Value = world.get(&format!("/v1/jobs/last/tasks?stage=map&limit=3&cursor={cursor}")).send().await.json();
    assert_eq!(rest["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(rest["next_cursor"], Value::Null);

    for path in ["/v1/jobs/last/explain", "/v1/jobs/last/explain?task=m1"] {
        let explained: Value = world.get(path).send().await.ok().json();
        assert!(explained["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{explained}");
    }
    world.get("/v1/jobs/last/explain?task=x").refused(400, "invalid").await;
    world.get("/v1/jobs/last/explain?task=m99").refused(404, "not_found").await;

    let events: Value = world.get("/v1/jobs/last/events?limit=1").send().await.ok().json();
    assert_eq!(
        (&events["events"][0]["kind"], events["events"].as_array().map(Vec::len)),
        (&json!("submitted"), Some(1))
    );
    let cursor = events["next_cursor"].as_str().expect("more");
    let rest: Value = world.get(&format!("/v1/jobs/last/events?cursor={cursor}")).send().await.ok().json();
    assert_eq!((&rest["events"][0]["kind"], &rest["next_cursor"]), (&json!("planned"), &Value::Null));
}

#[tokio::test]
async fn a_cancelled_job_can_be_removed_and_a_live_one_cannot() {
    let world = World::new().await;
    let job = world.submit(&generated(5, 1, 2)).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().expect("an id"));
    world.ask(Method::DELETE, &path).token(CLIENT).refused(409, "conflict").await;
    world.get(&format!("{path}/output")).refused(409, "conflict").await;
    let cancelled = world.ask(Method::POST, &format!("{path}/cancel")).token(CLIENT).send().await.ok();
    assert_eq!(cancelled.json::<Value>()["state"], "cancelled");
    let removed = world.ask(Method::DELETE, &path).token(CLIENT).send().await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    world.get(&path).refused(404, "not_found").await;
    world.get(&format!("{path}/events")).refused(404, "not_found").await;
    world.ask(Method::DELETE, &path).token(CLIENT).refused(404, "not_found").await;
}

#[tokio::test]
async fn waiting_ends_with_the_job_or_with_the_time() {
    let world = World::new().await;
    let job = world.submit(&generated(5, 1, 2)).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().expect("an id"));
    let waited: Value = world.get(&format!("{path}?wait=30ms")).send().await.ok().json();
    assert_eq!(waited["state"], "running");
    let (cancel, wait) = (format!("{path}/cancel"), format!("{path}?wait=30s"));
    let cancel = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        world.ask(Method::POST, &cancel).token(CLIENT).send().await.ok()
    };
    let (_, waited) = tokio::join!(cancel, world.get(&wait).send());
    assert_eq!(waited.json::<Value>()["state"], "cancelled");
}

#[tokio::test]
async fn the_coordinator_tells_what_it_is() {
    let world = World::new().await;
    let about: Value = world.get("/v1/about").send().await.ok().json();
    assert_eq!(about["epoch"], 1);
    assert_eq!(about["roots"], json!([world.allowed()]));
    let workers: Value = world.get("/v1/workers").send().await.ok().json();
    assert_eq!(workers, json!({ "workers": [] }));
    let drain = |id: &str| world.ask(Method::POST, &format!("/v1/workers/{id}/drain")).token(CLIENT);
    drain("nobody").refused(404, "not_found").await;
    drain("00000000-0000-0000-0000-000000000001").refused(404, "not_found").await;
}
