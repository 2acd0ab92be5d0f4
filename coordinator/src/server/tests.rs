//! A coordinator behind real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use gristmill_client::{Client, ClientError, Endpoint, WorkerClient};
use gristmill_common::wire::{PollRequest, WorkerAbout};
use gristmill_common::{Digest, SessionId, WorkerId};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

fn config(home: &TempDir) -> CoordinatorConfig {
    CoordinatorConfig { listen: "127.0.0.1:0".parse().expect("an address"), ..CoordinatorConfig::new(home.path()) }
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn client(running: &Running) -> Client {
    Client::new(running.endpoint().expect("an endpoint")).expect("a client")
}

fn poll() -> PollRequest {
    PollRequest {
        seq: 1,
        free_slots: 1,
        ..PollRequest::new(
            WorkerId(Uuid::from_u128(1)),
            SessionId(Uuid::from_u128(2)),
            WorkerAbout {
                name: "w".to_owned(),
                host: "h".to_owned(),
                version: "0".to_owned(),
                slots: 1,
                programs: Vec::new(),
                executable: Digest::of(b"w"),
                ..WorkerAbout::default()
            },
        )
    }
}

#[tokio::test]
async fn tokens_and_cluster_stay_and_epochs_rise_over_restarts() {
    let home = home();
    let first = start(config(&home)).await.expect("starts");
    let about = client(&first).about().await.expect("answers");
    let token = first.client_token().to_owned();
    first.stop().await.expect("stops");
    let second = start(config(&home)).await.expect("starts again");
    let again = client(&second).about().await.expect("answers");
    assert_eq!((again.cluster, again.epoch, second.client_token()), (about.cluster, about.epoch + 1, token.as_str()));
    second.stop().await.expect("stops");
}

#[tokio::test]
async fn a_held_poll_does_not_hold_up_a_stop() {
    let home = home();
    let running = start(config(&home)).await.expect("starts");
    let join: Endpoint = running.join_line().parse().expect("a join line");
    assert!(running.join_line().starts_with("http://127.0.0.1:"));
    let worker = WorkerClient::new(join).expect("a client");
    let held = tokio::spawn(async move { worker.poll(&poll()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!held.is_finished(), "held, there is no work");
    let stopped = tokio::time::timeout(Duration::from_secs(3), running.stop()).await;
    stopped.expect("stops soon").expect("stops well");
    assert!(held.await.expect("no panic").expect("an answer").is_idle());
}

#[tokio::test]
async fn beyond_loopback_it_speaks_tls_and_the_join_line_pins_its_certificate() {
    let home = home();
    let wide = CoordinatorConfig { listen: "0.0.0.0:0".parse().expect("an address"), ..config(&home) };
    let running = start(wide.clone()).await.expect("starts");
    assert!(running.url().starts_with("https://127.0.0.1:"), "{}", running.url());
    let (greeting, port) = (running.greeting(), running.address().port());
    let bound = format!("listening on 0.0.0.0:{port}, which is https://127.0.0.1:{port} here and https://");
    assert!(greeting.starts_with(&bound), "{greeting}");
    let about = client(&running).about().await.expect("answers over TLS");

    let join: Endpoint = running.join_line().parse().expect("a join line");
    assert_eq!((join.pin, join.token.as_deref()), (running.pin(), Some(running.worker_token())));
    let other = running.endpoint().map(|endpoint| endpoint.with_pin(Some(Digest::of(b"another certificate"))));
    let refused = Client::new(other.expect("an endpoint")).expect("a client").about().await;
    assert!(matches!(refused, Err(ClientError::BadCertificate { .. })), "{refused:?}");
    let plain = Endpoint::local(running.address().port(), Some(running.client_token().to_owned()));
    Client::new(plain).expect("a client").about().await.expect_err("plain HTTP is not spoken");
    let pin = running.pin();
    running.stop().await.expect("stops");

    let again = start(wide).await.expect("starts again");
    assert_eq!((again.pin(), client(&again).about().await.expect("answers").cluster), (pin, about.cluster));
    again.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_url_is_what_others_join_and_may_be_addressed() {
    let home = home();
    let front = CoordinatorConfig {
        listen: "0.0.0.0:0".parse().expect("an address"),
        public_url: Some("https://mill.example".to_owned()),
        tls_terminated_in_front: true,
        journal: JournalKind::Memory,
        ..config(&home)
    };
    let running = start(front).await.expect("starts");
    assert_eq!(running.join_line(), format!("https://mill.example#.{}", running.worker_token()));
    let status = |host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", running.address().port())).expect("connects");
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        answer.split(' ').nth(1).map(str::to_owned)
    };
    let answers = tokio::task::block_in_place(|| (status("mill.example"), status("other.example")));
    assert_eq!(answers, (Some("200".to_owned()), Some("403".to_owned())));
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_named() {
    let home = home();
    let running = start(config(&home)).await.expect("starts");
    let second = start(config(&home)).await.map(drop).expect_err("the directory is in use");
    assert!(matches!(second, StartError::DataDir(DataDirError::InUse { .. })), "{second}");
    let other = tempfile::tempdir().expect("a directory");
    let taken = CoordinatorConfig { listen: running.address(), ..config(&other) };
    let second = start(taken).await.map(drop).expect_err("the address is taken");
    assert!(second.to_string().contains("--port"), "{second}");
    let missing = CoordinatorConfig { roots: vec![other.path().join("missing")], ..config(&other) };
    let second = start(missing).await.map(drop).expect_err("no such directory");
    assert!(second.to_string().contains("missing"), "{second}");
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn run_ends_with_its_token() {
    let home = home();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let ended = run(config(&home), shutdown, move |running| {
        assert!(running.greeting().contains(&running.join_line()));
        stop.cancel();
    });
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("in time").expect("well");
}

/// Sends a request as text and returns the head of the answer.
async fn raw(running: &Running, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(running.address()).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let read = stream.read(&mut answer).await.expect("answered");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn wrong_tokens_of_one_address_are_counted_and_right_ones_still_work() {
    let home = home();
    let running = start(config(&home)).await.expect("started");
    let wrong = "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n";
    for _ in 0..limits::AUTH_FAILURES_PER_MINUTE {
        let answer = raw(&running, wrong).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let answer = raw(&running, wrong).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after:"), "{answer}");
    client(&running).about().await.expect("a right token");
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn heads_of_requests_are_bounded() {
    let home = home();
    let running = start(config(&home)).await.expect("started");
    let many: String = (0..=limits::HEADERS).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(2 * limits::HEAD_BYTES));
    for headers in [many, long] {
        let answer = raw(&running, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    running.stop().await.expect("stopped");
}
