//! A disk without room, of a worker or of the coordinator: attempts fail cleanly and go on elsewhere, nothing new is taken.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use gristmill_common::JobSpec;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::Cluster;

use crate::fixture;

/// A file system of one MiB, gone with its owner. Only root can make one.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: std::path::PathBuf) -> Result<Option<Self>> {
        std::fs::create_dir_all(&path)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path).status();
        Ok(mounted.is_ok_and(|status| status.success()).then_some(Self(path)))
    }

    /// Gives it room after all.
    pub(crate) fn grow(&self) -> Result<()> {
        let grown = Command::new("mount").args(["-o", "remount,size=512m"]).arg(&self.0).status()?;
        ensure!(grown.success(), "cannot make {} larger", self.0.display());
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A job whose only map writes more than a small disk holds.
async fn large(cluster: &Cluster) -> Result<(JobSpec, Vec<u8>)> {
    let text: Vec<u8> =
        (0..200_000).flat_map(|n: u32| format!("line {}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let urls = cluster.upload(&[("large.txt", &text)]).await?;
    let mut step = StepSpec::native("grep");
    step.args = vec!["line".to_owned()];
    step.reduce = false;
    let mut spec = JobSpec::new("large", urls.into_iter().map(Input::Url).collect(), vec![step]);
    spec.split.bytes = Some(1 << 40);
    Ok((spec, text))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_worker() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let Some(_disk) = SmallDisk::mount(cluster.path("small"))? else {
        eprintln!("SKIPPED: only root can mount a small disk; run this test as root");
        return Ok(());
    };
    let (spec, text) = large(&cluster).await?;
    cluster.start_worker(1, "small", &["--disk-reserve", "0", "--name", "small"])?;
    let job = cluster.submit(&spec).await?;
    let failed =
        |entry: &serde_json::Value| entry["reason"]["kind"] == "worker" && entry["reason"].to_string().contains("pace");
    for _ in 0..600 {
        if cluster.events(&job).await?.iter().any(|event| event.kind == "failed") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.start_worker(1, "roomy", &["--name", "roomy"])?;
    let view = cluster.finish(&job).await?;
    let events = cluster.events(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert_eq!(view.stages[0].failures, 0, "a full disk is not the program's failure");
    assert!(events.iter().any(|event| event.kind == "failed" && failed(&event.entry)), "{events:#?}");
    let output = cluster.client()?.output(&job.id.to_string(), false, None).await?.whole(1 << 30).await?;
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').count();
    ensure!(lines(&output) == lines(&text), "{} lines of {}", lines(&output), lines(&text));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_worker_that_keeps_a_reserve_takes_nothing_and_says_so() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--disk-reserve", &u64::MAX.to_string()])?;
    let job = cluster.submit(&fixture::job(&cluster, "waits", None).await?).await?;
    let client = cluster.client()?;
    // A worker hashes its executable first, which takes a while on a busy machine.
    for _ in 0..1_200 {
        let lines = client.explain(&job.id.to_string(), None).await?.lines.join("\n");
        if lines.contains("takes no work") && lines.contains("--disk-reserve") {
            let workers = client.workers().await?.workers;
            ensure!(workers.iter().all(|worker| worker.no_room.is_some() && worker.running == 0), "{workers:#?}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("nothing is said: {:#?}", client.explain(&job.id.to_string(), None).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_coordinator_refuses_jobs_and_uploads_with_a_507() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &["--disk-reserve", &u64::MAX.to_string()]).await?;
    let upload = cluster.upload(&[("a.txt", b"a\n")]).await.expect_err("refused").to_string();
    let input = Input::Generated(gristmill_common::spec::Generated { generate: 1 });
    let spec = JobSpec::new("late", vec![input], vec![StepSpec::native("no-op")]);
    let submit = cluster.submit(&spec).await.expect_err("refused").to_string();
    for refusal in [upload, submit] {
        ensure!(refusal.contains("free some space"), "{refusal}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_past_its_share_of_the_store_fails_and_names_the_flag() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--relay-quota", "1000"]).await?;
    for host in ["one", "two"] {
        cluster.start_worker(1, host, &[])?;
    }
    let mut spec = fixture::job(&cluster, "too much to relay", Some(200)).await?;
    spec.split.bytes = Some(64 << 10);
    let view = cluster.finish(&cluster.submit(&spec).await?).await?;
    assert_eq!(view.state.word(), "failed", "{view:#?}");
    let message = view.failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("--relay-quota"), "{message}");
    Ok(())
}
