//! Upgrade: the data directory of an earlier version, killed in the middle of its work, opens and its jobs go on.
//!
//! `fixtures/data-of-245885f` was written by that commit's coordinator with two workers: jobs that succeeded (inline,
//! relayed, without outputs), failed and were cancelled, one that nobody can run, and one that was halfway.

use std::path::Path;

use anyhow::{Context, Result};
use gristmill_common::api::JobView;
use gristmill_tests::{Cluster, oracle};

use crate::fixture;

const TEXT: &[u8] = b"the quick brown fox\njumps over the lazy dog\nthe end\nand the fox\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_there_and_what_was_begun_ends() -> Result<()> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-of-245885f");
    let mut cluster =
        Cluster::start_after(fixture::BINARY, &[], |dir| fixture::copy(&fixture, &dir.join("data"))).await?;
    let jobs = cluster.client()?.jobs(&gristmill_client::JobsFilter::default()).await?.jobs;
    let named = |name: &str| jobs.iter().find(|job| job.name == name).with_context(|| format!("no job {name}"));
    let states: Vec<_> = jobs.iter().rev().map(|job| (job.name.as_str(), job.state.word())).collect();
    let expected = [
        ("done", "succeeded"),
        ("failing", "failed"),
        ("panics", "failed"),
        ("cancelled", "cancelled"),
        ("relayed", "succeeded"),
        ("drained", "succeeded"),
        ("batch", "succeeded"),
        ("waits", "running"),
        ("halfway", "running"),
    ];
    assert_eq!(states, expected);
    assert!(cluster.output(named("done")?).await? == oracle::word_count(&[TEXT]));
    assert!(cluster.output(named("drained")?).await? == oracle::word_count(&[TEXT]));
    assert_eq!(
        cluster.output(named("relayed")?).await?.split(|byte| *byte == b'\n').count() - 1,
        relayed(named("relayed")?)?
    );
    let failure = named("panics")?.failure.as_ref().context("a reason")?;
    assert!(failure.message.contains("the test's panic"), "{}", failure.message);

    let halfway = named("halfway")?;
    let won = halfway.stages.first().context("a stage")?.won;
    assert!((3..8).contains(&won), "{halfway:#?}");
    cluster.start_worker(2, "state", &[])?;
    let view = cluster.finish(halfway).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    let numbers: String = (0..8).map(|number| format!("{number}\n")).collect();
    assert!(cluster.output(&view).await? == oracle::word_count(&[numbers.as_bytes()]));
    assert_eq!(fixture::redone(&cluster.events(&view).await?), [""; 0]);
    let explained = cluster.client()?.explain(&named("waits")?.id.to_string(), None).await?.lines.join("\n");
    assert!(explained.contains("nobody-has-this"), "{explained}");
    Ok(())
}

fn relayed(job: &JobView) -> Result<usize> {
    Ok(usize::try_from(job.output.as_ref().context("an output")?.records)?)
}
