//! SIGTERM: the worker finishes what it runs, leaves with exit code 0, and nothing is lost or counted against anyone.

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_is_lost() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    // Two hosts: what the drained worker holds has to be handed over.
    cluster.start_worker(1, "one", &[])?;
    cluster.start_worker(1, "two", &[])?;
    let mut spec = fixture::job(&cluster, "drains", Some(100)).await?;
    spec.split.bytes = Some(32 << 10);
    let job = cluster.submit(&spec).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= 3)).await?;
    let mut drained = cluster.workers.remove(0);
    drained.signal("TERM")?;
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
