//! Many held polls, a job of many tasks and a flood of submits at once: the coordinator's memory stays bounded, no poll waits
//! beyond twice its hold, submits are refused with a 503, and the job ends.
//!
//! The long form (9,999 idle workers and one that works, 1,000,000 tasks, 20,000 submits; half a minute, `ulimit -n` of 20,000):
//! `GRISTMILL_LOAD=full cargo test -p gristmill-tests --test e2e overload -- --nocapture`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gristmill_client::{Client, ClientError, JobsFilter};
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::wire::{PollRequest, PollResponse, WorkerAbout};
use gristmill_common::{Digest, JobSpec, SessionId, WorkerId, limits};
use gristmill_tests::Cluster;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

use crate::fixture;

/// Memory that a coordinator may use, whatever comes.
const RSS_BYTES: u64 = 1 << 30;

struct Load {
    polls: u128,
    tasks: u64,
    submits: u64,
}

impl Load {
    fn asked() -> Self {
        if std::env::var("GRISTMILL_LOAD").is_ok_and(|load| load == "full") {
            Self { polls: 9_999, tasks: 1_000_000, submits: 20_000 }
        } else {
            Self { polls: 200, tasks: 20_000, submits: 300 }
        }
    }
}

/// What the pollers saw.
#[derive(Default)]
struct Seen {
    longest_ms: AtomicU64,
    /// The longest that a list of jobs took.
    listed_ms: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

fn poll(number: u128, seq: u64) -> PollRequest {
    PollRequest {
        seq,
        seen: seq - 1,
        free_slots: 1,
        ..PollRequest::new(
            WorkerId(uuid::Uuid::from_u128(1 << 100 | number)),
            SessionId(uuid::Uuid::from_u128(1 << 101 | number)),
            WorkerAbout {
                name: format!("idle-{number}"),
                slots: 1,
                programs: vec!["nothing-anyone-wants".to_owned()],
                executable: Digest::of(b"idle"),
                ..WorkerAbout::default()
            },
        )
    }
}

/// Sends a poll as bare HTTP, so that ten thousand of them cost this process little, and waits for the answer.
async fn ask(stream: &mut BufStream<TcpStream>, token: &str, request: &PollRequest) -> Result<PollResponse> {
    let body = serde_json::to_string(request)?;
    let head = format!(
        "POST /v1/worker/poll HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await?;
    let (mut status, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end().to_ascii_lowercase();
        if status.is_empty() {
            status.clone_from(&line);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    ensure!(status.contains(" 200 "), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

async fn keep_polling(port: u16, token: Arc<str>, number: u128, seen: Arc<Seen>) -> Result<()> {
    let mut stream = BufStream::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut seq = 0;
    while !seen.stop.load(Ordering::Relaxed) {
        seq += 1;
        let sent = now();
        let answer = ask(&mut stream, &token, &poll(number, seq)).await?;
        let took_ms = u64::try_from(sent.elapsed().as_millis())?;
        seen.longest_ms.fetch_max(took_ms, Ordering::Relaxed);
        seen.answered.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(answer.next_poll_ms)).await;
    }
    Ok(())
}

/// A user who looks at the jobs all the time.
async fn keep_listing(client: Client, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::Relaxed) {
        let asked = now();
        if client.jobs(&JobsFilter::default()).await.is_ok() {
            let took_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            seen.listed_ms.fetch_max(took_ms, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn now() -> Instant {
    Instant::now()
}

/// Peak and present memory of a process, in bytes.
fn memory(pid: u32) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name)).context("no such field")?;
        Ok(line.split_whitespace().nth(1).context("no value")?.parse::<u64>()? << 10)
    };
    Ok((field("VmHWM:")?, field("VmRSS:")?))
}

fn generated(program: &str, tasks: u64) -> JobSpec {
    let mut step = StepSpec::native(program);
    step.reduce = false;
    let mut spec = JobSpec::new(program, vec![Input::Generated(Generated { generate: tasks })], vec![step]);
    spec.split.records = Some(1);
    spec
}

/// Submits jobs that nobody can run; returns how many were taken and how many refused with a 503.
async fn flood(cluster: &Cluster, submits: u64) -> Result<(u64, u64)> {
    let (client, next) = (cluster.client()?, Arc::new(AtomicU64::new(0)));
    let flooders: Vec<_> = (0..64)
        .map(|_| {
            let (client, next) = (client.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let (mut taken, mut refused) = (0, 0);
                while next.fetch_add(1, Ordering::Relaxed) < submits {
                    let key = next.load(Ordering::Relaxed).to_string()
                        + &format!("-{taken}-{refused}-{:p}", &raw const taken);
                    match client.submit(&generated("nothing-anyone-has", 1), &key, None).await {
                        Ok(_) => taken += 1,
                        Err(ClientError::Problem(problem)) if problem.status == 503 => refused += 1,
                        Err(error) => anyhow::bail!("{error}"),
                    }
                }
                Ok((taken, refused))
            })
        })
        .collect();
    let mut sum = (0, 0);
    for flooder in flooders {
        let (taken, refused) = flooder.await??;
        sum = (sum.0 + taken, sum.1 + refused);
    }
    Ok(sum)
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_waits_are_bounded() -> Result<()> {
    let load = Load::asked();
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let token: Arc<str> = std::fs::read_to_string(cluster.path("data").join("worker.token"))?.trim().into();
    let pid = cluster.coordinator()?.pid();
    let seen = Arc::new(Seen::default());
    for number in 0..load.polls {
        let (seen, token, port) = (Arc::clone(&seen), Arc::clone(&token), cluster.port());
        tokio::spawn(async move {
            if let Err(error) = keep_polling(port, token, number, Arc::clone(&seen)).await {
                seen.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("poller {number}: {error:#}");
            }
        });
    }
    cluster.start_worker(2, "state", &[])?;
    let begun = now();
    tokio::spawn(keep_listing(cluster.client()?, Arc::clone(&seen)));
    let job = cluster.submit(&generated("no-op", load.tasks)).await?;
    let (taken, refused) = flood(&cluster, load.submits).await?;
    let flooded_s = begun.elapsed().as_secs_f64();
    let view = loop {
        let view = cluster.client()?.job(&job.id.to_string(), Some(Duration::from_secs(30))).await?;
        if view.state.is_over() {
            break view;
        }
    };
    let over_s = begun.elapsed().as_secs_f64();
    // A poll is held for longer than the job takes: each poller has had an answer before any is judged.
    let patience = Duration::from_millis(3 * limits::HOLD_MS);
    while u128::from(seen.answered.load(Ordering::Relaxed)) < load.polls && begun.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (peak, rss) = memory(pid)?;
    seen.stop.store(true, Ordering::Relaxed);
    let listed_ms = seen.listed_ms.load(Ordering::Relaxed);
    let (longest_ms, answered) = (seen.longest_ms.load(Ordering::Relaxed), seen.answered.load(Ordering::Relaxed));
    println!(
        "{} held polls, {} tasks in {:.1} s, {taken} submits taken and {refused} refused in {flooded_s:.1} s: peak memory {} MiB, \
         now {} MiB; {answered} polls answered, the longest after {longest_ms} ms; a list of jobs took {listed_ms} ms at most",
        load.polls,
        load.tasks,
        over_s,
        peak >> 20,
        rss >> 20
    );
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0, "polls are never shed");
    assert!(peak <= RSS_BYTES, "{peak} bytes of memory");
    assert!(longest_ms <= 2 * limits::HOLD_MS, "a poll was held for {longest_ms} ms");
    assert!(listed_ms <= limits::HOLD_MS, "a list of jobs took {listed_ms} ms");
    assert_eq!(taken + refused, load.submits);
    if load.submits > limits::LIVE_JOBS as u64 {
        assert!(refused > 0, "more live jobs than the limit were taken");
    }
    Ok(())
}
