//! kill -9, again and again, of coordinator, workers and executors while jobs run: every output is the sequential one, and
//! nothing that was acknowledged is lost or done again.
//!
//! `GRISTMILL_KILLS=1000` is the long form, with up to 3 s between kills.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use gristmill_common::JobSpec;
use gristmill_common::api::JobView;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_tests::{Chance, Cluster, asked, cluster, oracle};

use crate::fixture;

/// Kills of the run in every test.
const KILLS: u64 = 50;
const KILLS_PER_ROUND: u64 = 10;
/// A coordinator that is killed more often than a lease lasts never learns that a worker is dead: past so many kills of a round
/// it is left alone for longer than that.
const KILLS_WITHOUT_REST: u64 = 20;
const LEASE: Duration = Duration::from_millis(2_000);
const SMALL: u64 = 40;

#[derive(Default, Debug)]
struct Tally {
    coordinator: u64,
    workers: u64,
    executors: u64,
    lost: usize,
    adopted: usize,
    paced_jobs: usize,
}

struct Rounds {
    cluster: Cluster,
    chance: Chance,
    tally: Tally,
    longest_ms: u64,
}

/// A small job that someone submits under a key until it is acknowledged, whatever happens to the coordinator.
fn small(number: usize) -> JobSpec {
    let mut step = StepSpec::native("word-count");
    step.partitions = Some(2);
    let mut spec =
        JobSpec::new(format!("small {number}"), vec![Input::Generated(Generated { generate: SMALL })], vec![step]);
    (spec.split.records, spec.attempts) = (Some(7), 50);
    spec
}

impl Rounds {
    async fn start(kills: u64) -> Result<Self> {
        let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", &LEASE.as_millis().to_string()]).await?;
        for host in ["one", "one", "two"] {
            cluster.start_worker(1, host, &[])?;
        }
        let longest_ms = if kills > KILLS { 3_000 } else { 900 };
        Ok(Self { cluster, chance: Chance::new(7), tally: Tally::default(), longest_ms })
    }

    async fn paced(&mut self) -> Result<JobView> {
        let pace = self.chance.between(300, 900);
        let mut spec = fixture::job(&self.cluster, "paced", Some(pace)).await?;
        (spec.attempts, spec.split.bytes) = (50, Some(20 << 10));
        self.cluster.submit(&spec).await
    }

    async fn kill_coordinator(&mut self) -> Result<()> {
        self.tally.coordinator += 1;
        self.cluster.kill_coordinator();
        tokio::time::sleep(Duration::from_millis(self.chance.between(0, 150))).await;
        self.cluster.start_coordinator().await
    }

    fn kill_worker(&mut self) -> Result<()> {
        self.tally.workers += 1;
        let victim = self.chance.index(self.cluster.workers.len());
        self.cluster.workers.remove(victim).kill();
        // Where the directories are free: the new one takes the place of the dead.
        let host = if self.cluster.workers.len() % 2 == victim % 2 { "one" } else { "two" };
        self.cluster.start_worker(1, host, &[])?;
        Ok(())
    }

    fn kill_executor(&mut self) -> Result<()> {
        let children: Vec<u32> = self.cluster.workers.iter().flat_map(cluster::Process::children).collect();
        if children.is_empty() {
            return self.kill_worker();
        }
        self.tally.executors += 1;
        cluster::signal(children[self.chance.index(children.len())], "KILL")
    }

    async fn kill(&mut self) -> Result<()> {
        match self.chance.index(10) {
            0..3 => self.kill_coordinator().await,
            3..7 => self.kill_worker(),
            _ => self.kill_executor(),
        }
    }

    /// Kills until the round has had its kills and the job is over; judges the job.
    async fn round(&mut self) -> Result<()> {
        let (mut kills, mut lost, mut adopted) = (0, 0, 0);
        while kills < KILLS_PER_ROUND || lost == 0 || adopted == 0 {
            let job = self.paced().await?;
            self.tally.paced_jobs += 1;
            loop {
                tokio::time::sleep(Duration::from_millis(self.chance.between(200, self.longest_ms))).await;
                if self.cluster.client()?.job(&job.id.to_string(), None).await?.state.is_over() {
                    break;
                }
                if kills >= KILLS_WITHOUT_REST {
                    tokio::time::sleep(LEASE + LEASE / 2).await;
                }
                if kills < KILLS_PER_ROUND {
                    self.kill().await?;
                    kills += 1;
                } else if adopted == 0 {
                    self.kill_coordinator().await?;
                    kills += 1;
                } else if lost == 0 {
                    self.kill_worker()?;
                    kills += 1;
                }
                let events = self.cluster.events(&job).await?;
                adopted += fixture::count(&events, "adopted");
                lost += fixture::count(&events, "lost");
            }
            let view = self.cluster.finish(&job).await?;
            assert_eq!(view.state.word(), "succeeded", "{view:#?}");
            assert!(self.cluster.output(&job).await? == fixture::expected()?, "{view:#?}");
            let events = self.cluster.events(&job).await?;
            assert_eq!(fixture::redone(&events), [""; 0]);
            self.tally.lost += fixture::count(&events, "lost");
            self.tally.adopted += fixture::count(&events, "adopted");
        }
        Ok(())
    }

    fn kills(&self) -> u64 {
        self.tally.coordinator + self.tally.workers + self.tally.executors
    }
}

type Acked = Arc<Mutex<Vec<(usize, JobView)>>>;

/// Submits small jobs one after the other, each under its key until the coordinator says that it has it.
async fn submits(client: gristmill_client::Client, acked: Acked) -> Result<()> {
    for number in 0.. {
        let (spec, key) = (small(number), format!("small-{number}"));
        let view = loop {
            match client.submit(&spec, &key, None).await {
                Ok(view) => break view,
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(30)).await,
                Err(error) => return Err(error).context("a submit was refused"),
            }
        };
        acked.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push((number, view));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_output_is_right_and_nothing_acknowledged_is_lost() -> Result<()> {
    let kills = asked("GRISTMILL_KILLS", KILLS);
    let mut rounds = Rounds::start(kills).await?;
    let acked = Acked::default();
    let submitter = tokio::spawn(submits(rounds.cluster.client()?, Arc::clone(&acked)));
    while rounds.kills() < kills {
        rounds.round().await?;
        assert!(!submitter.is_finished(), "{:?}", submitter.await);
    }
    submitter.abort();
    let acked = std::mem::take(&mut *acked.lock().map_err(|_| anyhow::anyhow!("poisoned"))?);
    let numbers: String = (0..SMALL).map(|number| format!("{number}\n")).collect();
    let expected = oracle::word_count(&[numbers.as_bytes()]);
    for (number, job) in &acked {
        let view = rounds.cluster.finish(job).await?;
        assert_eq!(view.state.word(), "succeeded", "{view:#?}");
        assert!(rounds.cluster.output(job).await? == expected);
        let again = rounds.cluster.client()?.submit(&small(*number), &format!("small-{number}"), None).await?;
        assert_eq!(again.id, job.id, "one key, one job");
    }
    println!("{:?}, {} small jobs acknowledged, none lost", rounds.tally, acked.len());
    assert!(rounds.tally.coordinator >= kills / 5 && acked.len() >= 10, "{:?}", rounds.tally);
    Ok(())
}
