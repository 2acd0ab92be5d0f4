//! A worker that fails through its own fault again and again gets no work for a while, says why, and is tried again.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use gristmill_common::JobSpec;
use gristmill_common::api::WorkerView;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::Cluster;

use crate::a_full_disk_sends_attempts_elsewhere::SmallDisk;
use crate::fixture;

/// Waits until the flaky worker is in this state.
async fn until(cluster: &Cluster, word: &str) -> Result<WorkerView> {
    let client = cluster.client()?;
    for _ in 0..1_200 {
        let workers = client.workers().await?.workers;
        if let Some(worker) = workers.into_iter().find(|worker| worker.name == "flaky" && worker.state == word) {
            return Ok(worker);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("the flaky worker is never {word}: {:#?}", client.workers().await?.workers)
}

/// A job of many maps, each of which writes more than a small disk holds.
async fn large(cluster: &Cluster, tasks: usize) -> Result<JobSpec> {
    let text: Vec<u8> =
        (0..200_000).flat_map(|n: u32| format!("line {}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let url = cluster.upload(&[("large.txt", &text)]).await?.pop().context("one file")?;
    let mut step = StepSpec::native("grep");
    step.args = vec!["line".to_owned()];
    step.reduce = false;
    let mut spec = JobSpec::new("large", vec![Input::Url(url); tasks], vec![step]);
    spec.split.bytes = Some(1 << 40);
    Ok(spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn and_gets_another_chance() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "3000"]).await?;
    let Some(disk) = SmallDisk::mount(cluster.path("small"))? else {
        eprintln!("SKIPPED: only root can mount a small disk; run this test as root");
        return Ok(());
    };
    cluster.start_worker(1, "small", &["--disk-reserve", "0", "--name", "flaky"])?;
    let job = cluster.submit(&large(&cluster, 30).await?).await?;
    let benched = until(&cluster, "quarantined").await?;
    let why = benched.why.unwrap_or_default();
    assert!(why.contains("failed too often through its own fault") && why.contains("pace"), "{why}");
    cluster.start_worker(1, "roomy", &["--name", "healthy"])?;
    let explained = cluster.client()?.explain(&job.id.to_string(), None).await?.lines.join("\n");
    assert!(explained.contains("worker flaky is "), "{explained}");
    disk.grow()?;
    until(&cluster, "on probation").await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert_eq!(view.stages[0].failures, 0, "it was not the program's fault");
    // On probation a win makes it a worker like any other.
    for _ in 0..10 {
        if until_live(&cluster).await? {
            return Ok(());
        }
        cluster.finish(&cluster.submit(&large(&cluster, 6).await?).await?).await?;
    }
    bail!("it is never trusted again: {:#?}", cluster.client()?.workers().await?.workers)
}

async fn until_live(cluster: &Cluster) -> Result<bool> {
    let workers = cluster.client()?.workers().await?.workers;
    Ok(workers.iter().any(|worker| worker.name == "flaky" && worker.state == "live"))
}
