//! Commands in control groups: the kernel limits the memory and the processes of a program together, and no group is left.
//!
//! As root, on a machine where groups can be made; elsewhere it is skipped, and says so.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use gristmill_tests::Cluster;
use gristmill_worker::control_groups::ControlGroups;

use crate::fixture;

/// Each of the children takes less than the limit, all together more.
const TOGETHER: &str = "import os, time\nfor i in range(6):\n if os.fork() == 0:\n  x = b'x' * (24 << 20)\n  time.sleep(1)\n  os._exit(0)\nfor i in range(6):\n os.wait()\n";
const BOMB: &str = "f() { f | f & }; f; sleep 1000";

fn submit(cluster: &Cluster, argv: &[&str], memory_bytes: Option<u64>) -> Result<String> {
    let mut command = serde_json::json!({ "mapper": argv });
    command["memory_bytes"] = memory_bytes.into();
    let spec = serde_json::json!({ "name": "grouped", "inputs": [{ "generate": 1 }], "attempts": 1,
        "progress_timeout_ms": 8000, "steps": [{ "command": command, "reduce": false }] });
    std::fs::write(cluster.path("spec.json"), spec.to_string())?;
    let output = cluster.command().args(["submit", "--spec"]).arg(cluster.path("spec.json")).output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// The groups that a program was in, of those that are made here.
fn joined(own: &str, places: &[PathBuf]) -> Vec<PathBuf> {
    let names = own.lines().filter_map(|line| line.rsplit('/').next()).filter(|name| name.starts_with("gristmill-"));
    let paths = names.flat_map(|name| places.iter().map(move |place| place.join(name)));
    let paths: BTreeSet<PathBuf> = paths.filter(|path| path.exists()).collect();
    paths.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_keeps_the_limits() -> Result<()> {
    let Some(found) = ControlGroups::find(None)? else {
        println!("SKIPPED: this user may make no control groups here");
        return Ok(());
    };
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--allow-commands"])?;
    let own = submit(&cluster, &["cat", "/proc/self/cgroup"], None)?;
    let groups = joined(&own, &found.directories());
    assert_eq!(groups.len(), found.directories().len(), "{own}");
    let said = cluster.workers[0].log();
    assert!(said.contains("commands run in control groups"), "{said}");

    if found.limits_memory() {
        let said = submit(&cluster, &["/usr/bin/python3", "-c", TOGETHER], Some(96 << 20))?;
        assert!(said.contains("out of memory") && said.contains("wanted more than memory_bytes"), "{said}");
        let said = submit(&cluster, &["/usr/bin/python3", "-c", TOGETHER], Some(512 << 20))?;
        assert!(said.contains(" in, "), "with more it fits: {said}");
    } else {
        println!("SKIPPED: memory is not limited by control groups here");
    }
    let said = submit(&cluster, &["sh", "-c", BOMB], None)?;
    assert!(said.contains("processes and threads"), "{said}");
    assert!(submit(&cluster, &["cat"], None)?.contains(" in, "));

    cluster.workers[0].signal("TERM")?;
    cluster.workers[0].wait()?;
    for _ in 0..100 {
        if !groups.iter().any(|group| group.exists()) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("left: {groups:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn and_not_where_they_are_turned_off() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--allow-commands", "--no-cgroup"])?;
    let own = submit(&cluster, &["cat", "/proc/self/cgroup"], None)?;
    assert!(!own.contains("/gristmill-") && own.contains(" in, "), "{own}");
    let wrong = cluster.start_worker(1, "other", &["--allow-commands", "--cgroup", "/proc"])?;
    cluster.workers[wrong].wait().context("it ends")?;
    let said = cluster.workers[wrong].log();
    assert!(said.contains("--cgroup /proc: no group can be made there"), "{said}");
    Ok(())
}
