//! `--listen` beyond loopback: TLS by itself, and the printed line carries the certificate's hash.

use anyhow::{Context, Result};
use gristmill_tests::{Cluster, Process};

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_line_joins_and_another_certificate_is_refused() -> Result<()> {
    let mut cluster =
        Cluster::start(fixture::BINARY, &["--listen", "0.0.0.0", "--public-url", "https://127.0.0.1"]).await?;
    let log = cluster.coordinator()?.log();
    let line = log.split('\'').find(|part| part.starts_with("https://")).context(log.clone())?.to_owned();
    let worker = |cluster: &Cluster, join: &str, log: &str| {
        let mut command = cluster.command();
        command.args(["worker", "--join", join, "--slots", "1", "--state-dir"]).arg(cluster.path("state"));
        Process::start(&mut command, cluster.path(log))
    };
    let (address, rest) = line.split_once('#').context("a hash")?;
    let port = cluster.client()?.endpoint().port();
    let address = if address.matches(':').count() == 2 { address.to_owned() } else { format!("{address}:{port}") };
    let (hash, token) = rest.split_once('.').context("a token")?;
    let other: String = hash.chars().rev().collect();
    let mut refused = worker(&cluster, &format!("{address}#{other}.{token}"), "refused.log")?;
    assert_eq!(refused.wait()?, Some(5), "{}", refused.log());
    assert!(refused.log().contains("certificate"), "{}", refused.log());

    let joined = worker(&cluster, &format!("{address}#{rest}"), "joined.log")?;
    let job = cluster.submit(&fixture::job(&cluster, "tls", None).await?).await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}\n{}", joined.log());
    assert!(cluster.output(&job).await? == fixture::expected()?);
    Ok(())
}
