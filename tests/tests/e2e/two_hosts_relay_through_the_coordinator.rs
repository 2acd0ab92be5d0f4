//! Workers that do not share a disk exchange map outputs through the coordinator; the ones that do, never.

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

/// Large enough that map outputs do not travel inside their reports.
fn big_splits(mut spec: gristmill_common::JobSpec) -> gristmill_common::JobSpec {
    spec.split.bytes = Some(64 << 10);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_relay() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for host in ["one", "two", "three"] {
        cluster.start_worker(1, host, &[])?;
    }
    let job = cluster.submit(&big_splits(fixture::job(&cluster, "relayed", Some(200)).await?)).await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    assert!(fixture::count(&cluster.events(&job).await?, "output_stored") >= 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_never_relays() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for _ in 0..3 {
        cluster.start_worker(1, "one", &[])?;
    }
    let job = cluster.submit(&big_splits(fixture::job(&cluster, "shared", Some(200)).await?)).await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    assert_eq!(fixture::count(&cluster.events(&job).await?, "output_stored"), 0);
    Ok(())
}
