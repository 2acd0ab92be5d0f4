//! Reduces merge sections while these arrive. Whoever sends them is killed in the middle: the output is what it always is.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use gristmill_common::JobSpec;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::throttle::{Asked, Throttle};
use gristmill_tests::{Cluster, oracle};

use crate::fixture;

/// Bytes of a fetch that have come when its sender is killed: some turns of each section, and far from all.
const MIDDLE: usize = 300 << 10;

/// Several MiB of words, hardly two of them the same.
fn text() -> Vec<u8> {
    let words = (0..250_000_u64).map(|i| {
        let word = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:016x}{}", word ^ word >> 29, if i % 9 == 8 { '\n' } else { ' ' })
    });
    words.collect::<String>().into_bytes()
}

/// Counts them in 16 maps, slow enough that each of two workers gets some, and 2 reduces.
async fn job(cluster: &Cluster, text: &[u8]) -> Result<JobSpec> {
    let urls = cluster.upload(&[("words.txt", text)]).await?;
    let mut step = StepSpec::native("paced-word-count");
    step.args = vec!["100".to_owned()];
    step.partitions = Some(2);
    let mut spec = JobSpec::new("killed", urls.into_iter().map(Input::Url).collect(), vec![step]);
    spec.split.bytes = Some(256 << 10);
    Ok(spec)
}

/// Waits until one of them is in the middle of a fetch, and returns its number.
async fn middle(networks: &[Throttle]) -> Result<usize> {
    for _ in 0..3_000 {
        if let Some(number) = networks.iter().position(|network| network.passed() >= MIDDLE) {
            return Ok(number);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("nothing was fetched")
}

/// Finds files of sections that attempts left behind.
fn left_behind(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            found.extend(left_behind(&entry.path())?);
        } else if name.starts_with("fetched-") {
            found.push(name);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_goes_on_where_the_coordinator_was_killed() -> Result<()> {
    let text = text();
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let network = Throttle::start(cluster.port(), false).await?;
    for host in ["one", "two"] {
        cluster.start_worker_under(&[], network.port, 1, host, &[])?;
    }
    let job = cluster.submit(&job(&cluster, &text).await?).await?;
    let networks = [network];
    middle(&networks).await?;
    cluster.kill_coordinator();
    networks[0].cut();
    cluster.start_coordinator().await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == oracle::word_count(&[&text]));
    let asked = networks[0].asked();
    assert!(asked.iter().any(|asked| asked.from > 0), "no fetch broke off in its middle: {asked:?}");
    let began_anew = |(number, now): (usize, &Asked)| {
        now.from == 0 && asked[..number].iter().any(|before| before.partition == now.partition && before.from > 0)
    };
    assert!(!asked.iter().enumerate().any(began_anew), "what went on was right: {asked:?}");
    let events = cluster.events(&job).await?;
    assert_eq!(fixture::redone(&events), [""; 0]);
    assert_eq!(fixture::count(&events, "failed"), 0, "an outage fails no attempt: {events:#?}");
    for host in ["one", "two"] {
        assert_eq!(left_behind(&cluster.path(host))?, [""; 0]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_a_worker_that_was_killed_while_it_sent_run_again() -> Result<()> {
    let text = text();
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "2000"]).await?;
    let mut networks = Vec::new();
    for host in ["one", "two"] {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let network = Throttle::start(port, true).await?;
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("https://127.0.0.1:{}", network.port));
        cluster.start_worker(1, host, &["--shuffle-listen", &listen, "--shuffle-url", &url])?;
        networks.push(network);
    }
    let job = cluster.submit(&job(&cluster, &text).await?).await?;
    let number = middle(&networks).await?;
    cluster.workers.remove(number).kill();
    networks[number].cut();
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == oracle::word_count(&[&text]));
    let events = cluster.events(&job).await?;
    assert!(fixture::count(&events, "reopened") >= 1, "{events:#?}");
    assert_eq!(left_behind(&cluster.path(["two", "one"][number]))?, [""; 0]);
    Ok(())
}
