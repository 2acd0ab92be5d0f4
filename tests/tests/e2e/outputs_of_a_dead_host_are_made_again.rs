//! A host dies with map outputs that live nowhere else: exactly those maps run again.

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn lost_maps_run_again() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "2000"]).await?;
    cluster.start_worker(1, "dead", &[])?;
    // Outputs of maps this large do not travel inside their reports.
    let mut spec = fixture::job(&cluster, "lost", Some(500)).await?;
    spec.split.bytes = Some(64 << 10);
    let job = cluster.submit(&spec).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= 2)).await?;
    cluster.workers.remove(0).kill();
    std::fs::remove_dir_all(cluster.path("dead"))?;
    cluster.start_worker(2, "other", &[])?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert!(fixture::count(&events, "reopened") >= 1, "{events:#?}");
    assert_eq!(fixture::redone(&events), [""; 0]);
    Ok(())
}
