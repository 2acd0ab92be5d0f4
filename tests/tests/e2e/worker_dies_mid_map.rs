//! kill -9 of a worker while it maps: its attempts are lost, run elsewhere, and the result is the same.

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_the_same() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "2000"]).await?;
    for _ in 0..3 {
        cluster.start_worker(1, "state", &[])?;
    }
    let job = cluster.submit(&fixture::job(&cluster, "dies", Some(150)).await?).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= 5)).await?;
    cluster.workers.remove(0).kill();
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert!(fixture::count(&events, "lost") >= 1, "the kill hit running work");
    assert_eq!(fixture::redone(&events), [""; 0]);
    Ok(())
}
