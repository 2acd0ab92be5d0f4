//! A map output that rots on disk between map and reduce is found by its checksum, and its map runs again.

use anyhow::{Context, Result};
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_costs_one_map_and_no_wrong_byte() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    let mut spec = fixture::job(&cluster, "rots", Some(400)).await?;
    // Outputs of maps this large are files.
    spec.split.bytes = Some(64 << 10);
    let job = cluster.submit(&spec).await?;
    cluster.until(&job, "mapping", |view| view.stages.first().is_some_and(|stage| stage.won >= 2)).await?;
    let outputs = cluster.path(&format!("state/workers/0/outputs/{}", job.id));
    let file = std::fs::read_dir(&outputs)?.next().context("an output")??.path();
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&file, bytes)?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == fixture::expected()?);
    let events = cluster.events(&job).await?;
    assert_eq!(fixture::count(&events, "reopened"), 1, "{events:#?}");
    Ok(())
}
