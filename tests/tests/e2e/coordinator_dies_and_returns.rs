//! kill -9 of the coordinator is a pause: running attempts are adopted, nothing that was acknowledged runs again.

use std::time::Duration;

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_adopted_and_no_won_task_runs_again() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for _ in 0..3 {
        cluster.start_worker(1, "state", &[])?;
    }
    // Longer than a busy worker stays silent, so that the first poll after a restart names running attempts.
    let mut spec = fixture::job(&cluster, "returns", Some(1500)).await?;
    spec.split.bytes = Some(32 << 10);
    let job = cluster.submit(&spec).await?;
    for won in [1, 4, 7] {
        cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= won)).await?;
        cluster.kill_coordinator();
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.start_coordinator().await?;
    }
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert!(fixture::count(&events, "adopted") >= 1, "the kills hit running work: {events:#?}");
    assert_eq!(fixture::redone(&events), [""; 0]);
    Ok(())
}
