//! SIGTERM or `worker drain`: the worker finishes what it runs, leaves with exit code 0, and nothing is lost or counted
//! against anyone. A second signal ends it at once, and one whose coordinator is gone says what it waits for.

use std::time::Duration;

use anyhow::{Result, ensure};
use gristmill_tests::Cluster;

use crate::fixture;

#[derive(Clone, Copy)]
enum Ask {
    Signal,
    Command,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_is_lost() -> Result<()> {
    drains(Ask::Signal).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_when_the_coordinator_asks() -> Result<()> {
    drains(Ask::Command).await
}

async fn drains(ask: Ask) -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    // Two hosts: what the drained worker holds has to be handed over.
    cluster.start_worker(1, "one", &["--name", "one"])?;
    cluster.start_worker(1, "two", &["--name", "two"])?;
    let mut spec = fixture::job(&cluster, "drains", Some(100)).await?;
    spec.split.bytes = Some(32 << 10);
    let job = cluster.submit(&spec).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= 3)).await?;
    let mut drained = cluster.workers.remove(0);
    match ask {
        Ask::Signal => drained.signal("TERM")?,
        Ask::Command => {
            let told = cluster.command().args(["worker", "drain", "one"]).output()?;
            ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        }
    }
    assert_eq!(drained.wait()?, Some(0), "{}", drained.log());
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert_eq!(view.stages.iter().map(|stage| stage.failures + stage.losses).sum::<u64>(), 0, "{events:#?}");
    assert_eq!(fixture::redone(&events), [""; 0]);
    assert_eq!(fixture::count(&events, "reopened"), 0, "{events:#?}");
    Ok(())
}

/// A worker that serves, and its coordinator.
async fn serving(pace: u64) -> Result<(Cluster, gristmill_tests::Process)> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    let job = cluster.submit(&fixture::job(&cluster, "paced", Some(pace)).await?).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.running > 0)).await?;
    let worker = cluster.workers.remove(0);
    Ok((cluster, worker))
}

async fn until_it_says(worker: &gristmill_tests::Process, text: &str) -> Result<()> {
    for _ in 0..600 {
        if worker.log().contains(text) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("it does not say {text:?}:\n{}", worker.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let (_cluster, mut worker) = serving(60_000).await?;
    let children = worker.children();
    worker.signal("TERM")?;
    until_it_says(&worker, "a second signal stops at once").await?;
    ensure!(!worker.has_ended(), "it finishes what it runs");
    worker.signal("TERM")?;
    assert_eq!(worker.wait()?, Some(143), "{}", worker.log());
    for _ in 0..200 {
        if !children.iter().any(|pid| std::path::Path::new(&format!("/proc/{pid}/exe")).exists()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("executors of it are left: {children:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_coordinator_it_says_what_it_waits_for() -> Result<()> {
    let (mut cluster, mut worker) = serving(300).await?;
    cluster.kill_coordinator();
    worker.signal("TERM")?;
    until_it_says(&worker, "the coordinator does not answer: waiting for it").await?;
    ensure!(worker.log().contains("limit_s=") && !worker.has_ended(), "{}", worker.log());
    // What it has is handed over as soon as somebody is there to take it.
    cluster.start_coordinator().await?;
    assert_eq!(worker.wait()?, Some(0), "{}", worker.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_coordinator_and_with_nothing_to_hand_over_it_leaves() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    while cluster.client()?.workers().await?.workers.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut worker = cluster.workers.remove(0);
    cluster.kill_coordinator();
    worker.signal("TERM")?;
    assert_eq!(worker.wait()?, Some(0), "{}", worker.log());
    Ok(())
}
