//! SIGSTOP: a worker that stands still past its lease loses its attempts in time, and when it wakes after the job it
//! changes nothing and works on. A coordinator that stands still for longer than a lease takes nothing away from anyone.

use std::time::Duration;

use anyhow::Result;
use gristmill_common::api::{EventView, JobView};
use gristmill_tests::{Cluster, cluster};
use tokio::time::Instant;

use crate::fixture;

const LEASE_MS: u64 = 1_500;
/// A poll that is held and a turn of the machine, beyond the lease.
const SLACK_MS: u64 = 1_500;

fn freeze(worker: &cluster::Process, how: &str) -> Result<()> {
    for pid in worker.children().into_iter().chain([worker.pid()]) {
        cluster::signal(pid, how)?;
    }
    Ok(())
}

async fn started(name: &str) -> Result<(Cluster, JobView)> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", &LEASE_MS.to_string()]).await?;
    for host in ["one", "two"] {
        cluster.start_worker(1, host, &[])?;
    }
    let mut spec = fixture::job(&cluster, name, Some(250)).await?;
    spec.split.bytes = Some(24 << 10);
    let job = cluster.submit(&spec).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= 3)).await?;
    Ok((cluster, job))
}

fn granted_after_loss(events: &[EventView]) -> bool {
    let lost = events.iter().position(|event| event.kind == "lost");
    lost.is_some_and(|lost| events[lost..].iter().any(|event| event.kind == "granted"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_after_the_job_changes_nothing() -> Result<()> {
    let (mut cluster, job) = started("zombie").await?;
    freeze(&cluster.workers[0], "STOP")?;
    let stopped = Instant::now();
    while !granted_after_loss(&cluster.events(&job).await?) {
        assert!(stopped.elapsed() < Duration::from_millis(LEASE_MS + SLACK_MS), "its task idles too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("granted again {} ms after the stop, with a lease of {LEASE_MS} ms", stopped.elapsed().as_millis());
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    let (output, events) = (cluster.output(&job).await?, cluster.events(&job).await?);
    assert!(output == fixture::expected()?);

    freeze(&cluster.workers[0], "CONT")?;
    let next = cluster.submit(&fixture::job(&cluster, "next", Some(60)).await?).await?;
    let view = cluster.finish(&next).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&next).await? == fixture::expected()?);
    assert!(!cluster.workers[0].has_ended(), "{}", cluster.workers[0].log());
    let by: std::collections::BTreeSet<_> =
        cluster.events(&next).await?.iter().map(|event| event.entry["worker"].to_string()).collect();
    assert!(by.len() >= 2, "the zombie works again: {by:?}");
    assert_eq!(cluster.events(&job).await?, events, "nothing was added to the history of the job");
    assert!(cluster.output(&job).await? == output);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_stands_still_takes_nothing_away() -> Result<()> {
    let (mut cluster, job) = started("stands still").await?;
    cluster.coordinator()?.signal("STOP")?;
    tokio::time::sleep(Duration::from_millis(2 * LEASE_MS)).await;
    cluster.coordinator()?.signal("CONT")?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert_eq!(view.stages.iter().map(|stage| stage.failures + stage.losses).sum::<u64>(), 0, "{events:#?}");
    assert_eq!(fixture::redone(&events), [""; 0]);
    Ok(())
}
