//! Workers that serve their map outputs need no relay; where they cannot be reached, the coordinator still helps.

use std::collections::BTreeSet;

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_tests::Cluster;

use crate::fixture;

/// Large enough that map outputs do not travel inside their reports.
async fn job(cluster: &Cluster, name: &str) -> Result<JobSpec> {
    let mut spec = fixture::job(cluster, name, Some(200)).await?;
    spec.split.bytes = Some(64 << 10);
    Ok(spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_that_listen_relay_nothing() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for host in ["one", "two", "three"] {
        cluster.start_worker(1, host, &["--shuffle-listen", "127.0.0.1:0"])?;
    }
    let job = cluster.submit(&job(&cluster, "direct").await?).await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert_eq!(fixture::count(&events, "output_stored"), 0);
    let maps = events.iter().filter(|event| event.kind == "granted" && event.entry["stage"] == "map");
    let hosts: BTreeSet<String> = maps.map(|event| event.entry["worker"].to_string()).collect();
    assert!(hosts.len() >= 2, "the maps ran on one host, so nothing was fetched: {hosts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_nobody_reaches_cost_a_relay() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for host in ["one", "two", "three"] {
        let args = ["--shuffle-listen", "127.0.0.1:0", "--shuffle-url", "https://127.0.0.1:9"];
        cluster.start_worker(1, host, &args)?;
    }
    let job = cluster.submit(&job(&cluster, "walled").await?).await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert!(fixture::count(&events, "output_stored") >= 1);
    assert_eq!(fixture::redone(&events), [""; 0], "no map runs again for it");
    Ok(())
}
