//! A map that aborts, overflows its stack, exits or hangs ends its own job, with the file and offset; no other job notices.

use anyhow::Result;
use gristmill_common::api::JobView;
use gristmill_common::spec::Input;
use gristmill_common::{JobSpec, Reason};
use gristmill_tests::Cluster;

use crate::fixture;

const TEXT: &[u8] = b"fine\nstill fine\nboom\nfine again\n";

async fn faulty(cluster: &Cluster, mode: &str) -> Result<JobView> {
    let urls = cluster.upload(&[(&format!("{mode}/poison.txt"), TEXT)]).await?;
    let mut step = gristmill_common::spec::StepSpec::native("faulty");
    step.args = vec![mode.to_owned(), "boom".to_owned()];
    let mut spec = JobSpec::new(mode, urls.into_iter().map(Input::Url).collect(), vec![step]);
    spec.attempts = 2;
    spec.progress_timeout_ms = 1000;
    cluster.submit(&spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ends_with_its_reason_and_place() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "state", &[])?;
    let healthy = cluster.submit(&fixture::job(&cluster, "healthy", Some(20)).await?).await?;
    let modes = ["panic", "error", "abort", "exit", "overflow", "loop"];
    let mut jobs = Vec::new();
    for mode in modes {
        jobs.push((mode, faulty(&cluster, mode).await?));
    }
    for (mode, job) in jobs {
        let view = cluster.finish(&job).await?;
        assert_eq!(view.state.word(), "failed", "{mode}: {view:#?}");
        let failure = view.failure.expect("a failed job says why");
        let reason = failure.reason.expect("a failed task has a reason");
        let expected = match reason {
            Reason::Panicked { .. } => "panic",
            Reason::UserError { .. } => "error",
            Reason::TimedOut { .. } => "loop",
            Reason::Crashed { .. } => mode,
            _ => "another reason",
        };
        assert_eq!(mode, expected, "{reason}");
        let place = reason.place().expect("the record is known").clone();
        assert_eq!((place.offset, place.file.ends_with("poison.txt")), (16, true), "{mode}: {place}");
        assert!(failure.message.contains("poison.txt:16"), "{mode}: {}", failure.message);
        assert_eq!(view.stages[0].failures, 2, "{mode}: each attempt is counted once");
    }
    let view = cluster.finish(&healthy).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&healthy).await? == fixture::expected()?);
    assert_eq!(
        view.stages.iter().map(|stage| stage.failures + stage.losses).sum::<u64>(),
        0,
        "{:#?}",
        cluster.events(&healthy).await?
    );
    Ok(())
}
