//! Nobody without the right token gets in, and each token only does what it is for.

use anyhow::Result;
use gristmill_tests::{Cluster, Process};

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_wrong_token_ends_with_the_reason() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let url = cluster.client()?.endpoint().address();
    let client_token = std::fs::read_to_string(cluster.path("data").join("client.token"))?;
    for token in ["00", client_token.trim()] {
        let mut command = cluster.command();
        command.args(["worker", "--join", &format!("{url}#.{token}"), "--state-dir"]).arg(cluster.path("state"));
        let mut worker = Process::start(&mut command, cluster.path("refused.log"))?;
        assert_eq!(worker.wait()?, Some(5), "{}", worker.log());
        assert!(worker.log().contains("token"), "{}", worker.log());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_token_cannot_submit() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let token = std::fs::read_to_string(cluster.path("data").join("worker.token"))?;
    let output = cluster.command().args(["job", "ls", "--token", token.trim()]).output()?;
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
