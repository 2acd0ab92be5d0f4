//! What an attempt printed before it failed, also before its process died, is read when its worker is gone; a retry runs
//! what is not won.

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::Cluster;

use crate::fixture;

async fn logs(cluster: &Cluster, job: &str, task: Option<&str>) -> Result<String> {
    let task = task.map(|task| task.parse().expect("a task"));
    let text = cluster.client()?.logs(job, task, None, None).await?.whole(1 << 20).await?;
    Ok(String::from_utf8(text)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn and_the_job_can_be_retried() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let number = cluster.start_worker(1, "state", &[])?;
    let urls = cluster.upload(&[("a.txt", b"fine\n"), ("b.txt", b"fine\nboom\n")]).await?;
    for mode in ["abort", "error"] {
        let mut step = StepSpec::native("faulty");
        step.args = vec![mode.to_owned(), "boom".to_owned()];
        let mut spec = JobSpec::new(mode, urls.iter().cloned().map(Input::Url).collect(), vec![step]);
        spec.attempts = 1;
        spec.split.bytes = Some(5);
        let job = cluster.submit(&spec).await?;
        let view = cluster.finish(&job).await?;
        assert_eq!(view.state.word(), "failed");
        let failed = view.failure.and_then(|failure| failure.task).expect("a task failed").to_string();
        let id = job.id.to_string();
        let text = logs(&cluster, &id, None).await?;
        let reason = if mode == "abort" { "crashed: signal 6 (SIGABRT)" } else { "user error: the test's error" };
        assert!(text.starts_with(&format!("==> {failed} attempt ")) && text.contains(reason), "{mode}: {text}");
        assert!(text.contains("about to misbehave\n"), "{mode}: {text}");
        assert_eq!(logs(&cluster, &id, Some(&failed)).await?, text);

        let retried = cluster.client()?.retry(&id).await?;
        assert_eq!(retried.state.word(), "running");
        assert_eq!(cluster.finish(&job).await?.state.word(), "failed", "it is as it was");
        let twice = logs(&cluster, &id, None).await?;
        assert_eq!(twice.matches("about to misbehave\n").count(), 2, "{twice}");
    }
    cluster.workers[number].kill();
    assert!(logs(&cluster, "last", None).await?.contains("about to misbehave"));
    assert!(cluster.workers[number].log().contains("about to misbehave"), "the worker's own log has it too");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_command_that_had_to_be_killed() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--allow-commands"])?;
    let script = "echo first words >&2; echo reporter:status:waiting >&2; sleep 1000";
    let spec = serde_json::json!({ "name": "hangs", "inputs": [{ "generate": 1 }], "attempts": 1,
        "progress_timeout_ms": 1000, "steps": [{ "command": { "mapper": ["sh", "-c", script] }, "reduce": false }] });
    let job = cluster.submit(&JobSpec::from_json(spec.to_string().as_bytes())?).await?;
    assert_eq!(cluster.finish(&job).await?.state.word(), "failed");
    let text = logs(&cluster, &job.id.to_string(), Some("m0")).await?;
    assert!(text.contains("timed out") && text.contains("first words\n[gristmill] status: waiting\n"), "{text}");
    Ok(())
}
