//! W9r: a sort by two workers that share no host, so that every map output goes through the coordinator, and what polls take
//! beside that.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gristmill_client::{Endpoint, WorkerClient};
use gristmill_common::wire::{PollRequest, WorkerAbout};
use gristmill_common::{Digest, SessionId, WorkerId};
use gristmill_tests::cluster::Cluster;

use super::tasks::block_on;
use crate::bench::{Bench, say, size};
use crate::data::RECORD_BYTES;
use crate::measure::{self, Taken};
use crate::report::{Report, Row};

/// How often the prober polls.
const POLL_EVERY: Duration = Duration::from_millis(5);
/// How long it polls a coordinator that has nothing else to do.
const IDLE: Duration = Duration::from_secs(3);

/// 2 GiB of records.
pub(crate) fn sort(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(2 << 30) / RECORD_BYTES * RECORD_BYTES;
    let input = bench.data.records(bytes)?;
    std::fs::create_dir_all(&bench.scratch)?;
    let (mut idle, mut relay) = (Row::new("idle"), Row::new("relay"));
    block_on(async {
        let cluster = cluster(bench, &input).await?;
        let mut prober = Prober::new(&cluster)?;
        let stop = Arc::new(AtomicBool::new(false));
        let probe = prober.poll_until(Arc::clone(&stop));
        let rest = async {
            tokio::time::sleep(IDLE).await;
            stop.store(true, Ordering::Relaxed);
        };
        let (polls, ()) = tokio::join!(probe, rest);
        idle.taken.push(Taken { wall_s: IDLE.as_secs_f64(), cpu_s: 0.0, peak_bytes: 0 });
        idle.note = described(polls?);
        stop.store(false, Ordering::Relaxed);
        let mut command = cluster.command();
        let output = bench.scratch.join("relayed");
        command.args(["submit", "sort", "--key-bytes", "10", "--quiet"]).arg(&input).arg("-o").arg(&output);
        let work = tokio::task::spawn_blocking({
            let stop = Arc::clone(&stop);
            move || {
                let watch = measure::stopwatch();
                let done = succeed(&mut command);
                stop.store(true, Ordering::Relaxed);
                done.map(|()| watch.elapsed().as_secs_f64())
            }
        });
        let (polls, taken) = tokio::join!(prober.poll_until(stop), work);
        relay.taken.push(Taken { wall_s: taken??, cpu_s: 0.0, peak_bytes: 0 });
        relay.note = described(polls?);
        say(&format!("W9r: {}", relay.note));
        Ok(std::fs::remove_file(output)?)
    })?;
    let input = format!("{} of records, two hosts of one slot", size(bytes));
    Ok(Report { workload: "W9r".to_owned(), input, rows: vec![idle, relay] })
}

fn succeed(command: &mut Command) -> Result<()> {
    let done = command.output().context("cannot start the program")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

async fn cluster(bench: &Bench, input: &Path) -> Result<Cluster> {
    let mut cluster = Cluster::new(&bench.gristmill.to_string_lossy(), &[])?;
    let inputs = input.parent().context("an input in no directory")?;
    cluster.allow(inputs);
    cluster.allow(&bench.scratch);
    cluster.start_coordinator().await?;
    let allowed = inputs.to_string_lossy();
    for state in ["here", "there"] {
        cluster.start_worker(1, state, &["--allow-path", &allowed])?;
    }
    while cluster.client()?.workers().await?.workers.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(cluster)
}

/// A worker that takes no work: its polls are answered at once.
struct Prober {
    client: WorkerClient,
    request: PollRequest,
}

impl Prober {
    fn new(cluster: &Cluster) -> Result<Self> {
        let token = std::fs::read_to_string(cluster.path("data").join("worker.token"))?;
        let client = WorkerClient::new(Endpoint::local(cluster.port(), Some(token.trim().to_owned())))?;
        let about = WorkerAbout {
            name: "prober".to_owned(),
            slots: 1,
            programs: vec!["nothing-anyone-wants".to_owned()],
            executable: Digest::of(b"prober"),
            ..WorkerAbout::default()
        };
        let request = PollRequest::new(
            WorkerId(uuid::Uuid::from_u128(1 << 100)),
            SessionId(uuid::Uuid::from_u128(1 << 101)),
            about,
        );
        Ok(Self { client, request })
    }

    /// Polls again and again; returns how long each took.
    async fn poll_until(&mut self, stop: Arc<AtomicBool>) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            self.request.seen = self.request.seq;
            self.request.seq += 1;
            let watch = measure::stopwatch();
            let answer = self.client.poll(&self.request).await?;
            took.push(watch.elapsed());
            self.request.epoch = Some(answer.epoch);
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(took)
    }
}

fn described(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |part: f64| {
        let place = (took.len().saturating_sub(1)) as f64 * part;
        took.get(place as usize).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    let (middle, most, longest) = (at(0.5), at(0.99), at(1.0));
    format!("{} polls: median {middle:.1} ms, 99 % within {most:.1} ms, longest {longest:.1} ms", took.len())
}
