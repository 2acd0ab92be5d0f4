//! `reporter:status:` of a running attempt is seen where people look, while it runs: one short line without control characters.

use anyhow::{Context as _, Result};
use gristmill_client::TasksFilter;
use gristmill_common::JobSpec;
use gristmill_common::api::JobView;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::Cluster;

use crate::fixture;

/// What the first task says, if there is one.
async fn status(cluster: &Cluster, job: &JobView) -> Result<Option<String>> {
    let page = cluster.client()?.tasks(&job.id.to_string(), &TasksFilter::default()).await?;
    Ok(page.tasks.into_iter().next().and_then(|task| task.status))
}

fn printed(cluster: &Cluster, args: &[&str]) -> Result<String> {
    let output = cluster.command().arg("job").args(args).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_runs_and_not_after() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--allow-commands"])?;
    let urls = cluster.upload(&[("a.txt", b"one line\n")]).await?;
    let (go, end) = (cluster.path("go"), cluster.path("end"));
    let script = format!(
        "printf 'reporter:status:at \\033[31mhome\\n' >&2\nuntil [ -e '{go}' ]; do sleep 0.05; done\n\
         printf 'reporter:status:{long}\\n' >&2\nuntil [ -e '{end}' ]; do sleep 0.05; done\ncat",
        go = go.display(),
        end = end.display(),
        long = "x".repeat(1_000),
    );
    let spec = serde_json::json!({ "name": "says", "inputs": urls, "steps": [
        { "command": { "mapper": ["sh", "-c", script] }, "reduce": false }] });
    let job = cluster.submit(&JobSpec::from_json(spec.to_string().as_bytes())?).await?;

    let first = wait_for(&cluster, &job, |now| now.is_some()).await?.context("a status")?;
    assert_eq!(first, "at \\u{1b}[31mhome");
    assert!(printed(&cluster, &["show"])?.contains(&format!(": {first}\n")), "{}", printed(&cluster, &["show"])?);
    assert!(printed(&cluster, &["tasks"])?.contains(&first));
    assert!(printed(&cluster, &["explain", "--task", "m0"])?.contains(&format!("its code says: {first}\n")));
    std::fs::write(&go, "")?;
    let long =
        wait_for(&cluster, &job, |now| now.as_ref().is_some_and(|now| *now != first)).await?.context("a status")?;
    assert_eq!(long, "x".repeat(512), "it is cut");

    std::fs::write(&end, "")?;
    assert_eq!(cluster.finish(&job).await?.state.word(), "succeeded");
    assert_eq!(status(&cluster, &job).await?, None, "what is over says nothing");
    let log =
        cluster.client()?.logs(&job.id.to_string(), Some("m0".parse()?), None, None).await?.whole(1 << 20).await?;
    assert!(String::from_utf8(log)?.contains("[gristmill] status: xxx"), "it is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_native_programs_too() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    let urls = cluster.upload(&[("a.txt", b"half way\n")]).await?;
    let job = JobSpec::new("says", urls.into_iter().map(Input::Url).collect(), vec![StepSpec::native("says")]);
    let job = cluster.submit(&job).await?;
    let status = wait_for(&cluster, &job, |status| status.is_some()).await?;
    assert_eq!(status.as_deref(), Some("half way"));
    assert_eq!(cluster.finish(&job).await?.state.word(), "succeeded");
    Ok(())
}

/// Waits until the status of the first task is as it should be, and returns it.
async fn wait_for(cluster: &Cluster, job: &JobView, is: impl Fn(&Option<String>) -> bool) -> Result<Option<String>> {
    for _ in 0..300 {
        let status = status(cluster, job).await?;
        if is(&status) {
            return Ok(status);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("{:?}; {}", status(cluster, job).await?, cluster.workers[0].log())
}
