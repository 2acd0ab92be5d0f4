//! A job that no worker can run says so; it never just hangs.

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_common::spec::{Executable, Input, StepSpec};
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn no_worker_then_no_program_then_another_executable() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let urls = cluster.upload(&[("a.txt", b"a\n")]).await?;
    let spec = |program: &str, executable: Option<Executable>| {
        let mut step = StepSpec::native(program);
        step.executable = executable;
        JobSpec::new(program, urls.iter().cloned().map(Input::Url).collect(), vec![step])
    };
    let unknown = cluster.submit(&spec("no-such-program", None)).await?;
    let explain = async |cluster: &Cluster, id: &str| -> Result<String> {
        Ok(cluster.client()?.explain(id, None).await?.lines.join("\n"))
    };
    let lines = explain(&cluster, &unknown.id.to_string()).await?;
    assert!(lines.contains("no worker"), "{lines}");

    cluster.start_worker(1, "state", &[])?;
    while cluster.client()?.workers().await?.workers.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let lines = explain(&cluster, &unknown.id.to_string()).await?;
    assert!(lines.contains("no-such-program"), "{lines}");

    let other = Executable::Pinned(gristmill_common::Digest::of(b"another build"));
    let pinned = cluster.submit(&spec("word-count", Some(other))).await?;
    let lines = explain(&cluster, &pinned.id.to_string()).await?;
    assert!(lines.contains("executable"), "{lines}");
    let view = cluster.client()?.cancel(&pinned.id.to_string()).await?;
    assert_eq!(view.state.word(), "cancelled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_input_is_refused_at_submit() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let input = Input::Url("store://nothing/here.txt".to_owned());
    let spec = JobSpec::new("missing", vec![input], vec![StepSpec::native("word-count")]);
    let error = cluster.submit(&spec).await.expect_err("refused").to_string();
    assert!(error.contains("/inputs/0") && error.contains("nothing/here.txt"), "{error}");
    Ok(())
}
