//! A coordinator without a socket: driver, store and router over a temporary directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use gristmill_common::{Problem, TokenSecret};
use gristmill_storage::Roots;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::api::{App, Hosts, Parts};
use crate::auth::Keys;
use crate::driver::{self, Driver, Surroundings};
use crate::journal::Journal;
use crate::journal::memory::MemoryJournal;
use crate::scheduler::SchedulerConfig;
use crate::store::Store;

pub(super) const CLIENT: &str = "client-token";
pub(super) const WORKER: &str = "worker-token";
pub(super) const CLUSTER: Uuid = Uuid::from_u128(0xc1);

/// A coordinator and the directory that it lives in.
pub(super) struct World {
    pub(super) router: Router,
    pub(super) secret: TokenSecret,
    pub(super) home: Arc<TempDir>,
    driver: Option<Driver>,
    stop: CancellationToken,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A request in the making.
pub(super) struct Ask<'a> {
    world: &'a World,
    builder: axum::http::request::Builder,
    body: Body,
}

impl World {
    pub(super) async fn new() -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::on(home, Box::new(MemoryJournal::new(CLUSTER))).await
    }

    pub(super) async fn on(home: Arc<TempDir>, journal: Box<dyn Journal>) -> Self {
        let (data, allowed) = (home.path().join("data"), home.path().join("allowed"));
        for directory in [&data, &allowed] {
            std::fs::create_dir_all(directory).expect("a directory");
        }
        let store = Store::open(&data).expect("a store");
        let roots = Arc::new(Roots::new([allowed], [data]).expect("roots"));
        let secret = TokenSecret::new([9; 32]);
        let config = SchedulerConfig { hold_ms: 200, renew_ms: 20, ..SchedulerConfig::default() };
        let surroundings = Surroundings::new(store.clone(), Arc::clone(&roots));
        let driver = driver::start(journal, secret.clone(), config, surroundings).await.expect("a driver");
        let stop = CancellationToken::new();
        let app = App::new(Parts {
            driver: driver.handle.clone(),
            store,
            roots,
            keys: Keys::new(CLIENT, WORKER, secret.clone()),
            hosts: Hosts::new("127.0.0.1:4750".parse().expect("an address"), Some("mill.example".to_owned())),
            epoch: driver.epoch,
            stop: stop.clone(),
        });
        Self { router: app.router(), secret, home, driver: Some(driver), stop }
    }

    /// Stops it and returns the directory that it leaves.
    pub(super) async fn stop(mut self) -> Arc<TempDir> {
        self.halt().await;
        self.home
    }

    /// Stops its driver and leaves its router, as a stopping coordinator does for a moment.
    pub(super) async fn halt(&mut self) {
        self.stop.cancel();
        if let Some(driver) = self.driver.take() {
            driver.stop().await.expect("stops");
        }
    }

    pub(super) fn allowed(&self) -> std::path::PathBuf {
        self.home.path().canonicalize().expect("is there").join("allowed")
    }

    /// A request without a token.
    pub(super) fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        let builder = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:4750");
        Ask { world: self, builder, body: Body::empty() }
    }

    pub(super) fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path).token(CLIENT)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Ask<'_> {
        self.ask(Method::POST, path).token(CLIENT).json(body)
    }

    /// Submits a job and returns its view.
    pub(super) async fn submit(&self, spec: &Value) -> Value {
        let got = self.post("/v1/jobs", spec).send().await;
        assert_eq!(got.status, StatusCode::CREATED, "{got:?}");
        got.json()
    }

    /// Looks at a job until it is in this state.
    pub(super) async fn wait_for(&self, job: &str, state: &str) -> Value {
        for _ in 0..500 {
            let view: Value = self.get(&format!("/v1/jobs/{job}")).send().await.json();
            if view["state"] == state {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("job {job} is not {state}: {:?}", self.get(&format!("/v1/jobs/{job}")).send().await);
    }
}

impl Ask<'_> {
    pub(super) fn token(self, token: &str) -> Self {
        self.header(header::AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        let name: header::HeaderName = name.parse().expect("a header");
        let value = value.parse().expect("a value");
        if let Some(headers) = self.builder.headers_mut() {
            headers.insert(name, value);
        }
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(super) fn body(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) async fn send(self) -> Got {
        let request = self.builder.body(self.body).expect("a request");
        let response = self.world.router.clone().oneshot(request).await.expect("never fails");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Got { status: parts.status, headers: parts.headers, body }
    }

    /// Expects a problem of this code and returns it.
    pub(super) async fn refused(self, status: u16, code: &str) -> Problem {
        let got = self.send().await;
        assert_eq!(got.status.as_u16(), status, "{got:?}");
        assert_eq!(got.headers[header::CONTENT_TYPE], "application/problem+json", "{got:?}");
        let problem: Problem = got.json();
        assert_eq!((json!(problem.code), problem.status), (json!(code), status), "{problem}");
        assert!(!problem.detail.is_empty());
        problem
    }
}

impl Got {
    pub(super) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn ok(self) -> Self {
        assert!(self.status.is_success(), "{self:?}");
        self
    }
}

/// A spec of a job that maps generated records.
pub(super) fn generated(records: u64, each: u64, partitions: u32) -> Value {
    json!({
        "name": "numbers", "inputs": [{ "generate": records }], "split": { "records": each },
        "steps": [{ "native": "numbers", "partitions": partitions }],
    })
}

/// Writes a file under the allowed directory and returns its URL.
pub(super) fn allowed_file(world: &World, name: &str, text: &str) -> String {
    let path = world.allowed().join(name);
    std::fs::write(&path, text).expect("writes");
    file_url(&path)
}

pub(super) fn file_url(path: &Path) -> String {
    gristmill_storage::file_url(path)
}
