//! `on_bad_record: {"skip": n}`: records that kill, hang or fail a program are left out and listed; the result is that of the
//! input without them.

use anyhow::Result;
use gristmill_common::spec::{Input, OnBadRecord, StepSpec};
use gristmill_common::{JobSpec, api::JobView};
use gristmill_tests::Cluster;

use crate::fixture;

const TEXT: &[u8] = b"fine\nboom one\nstill fine\nboom two\nfine again\n";
const CLEAN: &[u8] = b"fine\nstill fine\nfine again\n";

async fn faulty(cluster: &Cluster, mode: &str, text: &[u8], most: u64) -> Result<JobView> {
    let urls = cluster.upload(&[(&format!("{mode}/{}.txt", text.len()), text)]).await?;
    let mut step = StepSpec::native("faulty");
    step.args = vec![mode.to_owned(), "boom".to_owned()];
    let mut spec = JobSpec::new(mode, urls.into_iter().map(Input::Url).collect(), vec![step]);
    spec.progress_timeout_ms = 500;
    spec.on_bad_record = OnBadRecord::Skip(most);
    cluster.submit(&spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_failure_is_narrowed_to_its_records() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "state", &[])?;
    let clean = cluster.finish(&faulty(&cluster, "error", CLEAN, 5).await?).await?;
    let expected = cluster.output(&clean).await?;
    let mut jobs = Vec::new();
    for mode in ["panic", "error", "abort", "exit", "loop"] {
        jobs.push((mode, faulty(&cluster, mode, TEXT, 5).await?));
    }
    for (mode, job) in jobs {
        let view = cluster.finish(&job).await?;
        assert_eq!(view.state.word(), "succeeded", "{mode}: {view:#?}");
        assert!(cluster.output(&view).await? == expected, "{mode}: not the result of the input without them");
        let offsets: Vec<u64> = view.skipped.iter().map(|skipped| skipped.offset).collect();
        assert_eq!((view.skipped_records, offsets), (2, vec![5, 25]), "{mode}");
        assert!(view.skipped.iter().all(|skipped| skipped.file.ends_with(".txt") && !skipped.why.is_empty()), "{mode}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_quota_fails_the_job_and_says_so() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    let view = cluster.finish(&faulty(&cluster, "panic", TEXT, 1).await?).await?;
    assert_eq!(view.state.word(), "failed", "{view:#?}");
    let message = view.failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains(":25") && message.contains("1 of 1 records"), "{message}");
    Ok(())
}
