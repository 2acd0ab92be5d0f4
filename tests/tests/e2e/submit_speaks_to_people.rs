//! `gristmill submit`: repeated under its key it is one job, a job that stands still says why, a refused one leaves nothing.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use gristmill_tests::Cluster;

use crate::fixture;

/// How long a line on stderr is waited for; it comes after three seconds without a running task.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_under_one_key_is_one_job() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let file = cluster.path("notes.txt");
    std::fs::write(&file, "to be or not to be\n")?;
    let submit = || -> Result<String> {
        let mut command = cluster.command();
        command.args(["submit", "word-count", "--detach", "--idempotency-key", "k"]).arg(&file);
        let output = command.output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    assert_eq!(submit()?, submit()?);
    assert_eq!(cluster.client()?.list_files("uploads/").await?.len(), 1, "and one upload");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_workers_says_so_while_it_waits() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let file = cluster.path("notes.txt");
    std::fs::write(&file, "to be or not to be\n")?;
    // Quiet is without news, not without what somebody has to do something about.
    for how in [&[][..], &["--quiet"]] {
        let mut command = cluster.command();
        let mut child = command.args(["submit", "word-count"]).args(how).arg(&file).stderr(Stdio::piped()).spawn()?;
        let (said, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().context("piped")?);
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        let mut heard = String::new();
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            heard.push_str(&line);
            if heard.contains("no worker is connected") {
                break;
            }
        }
        child.kill()?;
        child.wait()?;
        assert!(heard.contains("no worker is connected"), "{how:?}: {heard}");
        assert_eq!(heard.contains("uploaded"), how.is_empty(), "{how:?}: {heard}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_job_takes_its_uploads_back() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let file = cluster.path("notes.txt");
    std::fs::write(&file, "x\n")?;
    let mut command = cluster.command();
    // No directory is allowed: the coordinator finds out after the upload.
    let output = command.args(["submit", "word-count", "-o"]).arg(cluster.path("counts.tsv")).arg(&file).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("uploaded 1 file") && said.contains("--allow-path"), "{said}");
    assert_eq!(cluster.client()?.list_files("uploads/").await?, []);
    let mut command = cluster.command();
    let output = command.args(["submit", "grep", "-a", "("]).arg(&file).output()?;
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("regular expression"));
    Ok(())
}
