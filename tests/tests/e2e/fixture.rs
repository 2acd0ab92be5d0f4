//! The texts, jobs and questions that the tests share.

use std::path::Path;

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_common::api::EventView;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::{Cluster, cluster, oracle};

/// The program under test: the `gristmill` command with test programs beside the ready-made ones.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_gristmill-under-test");

/// The texts of the repository.
pub(crate) fn texts() -> Result<[Vec<u8>; 2]> {
    Ok([cluster::text("pg-being_ernest.txt")?, cluster::text("pg-metamorphosis.txt")?])
}

/// Their word count.
pub(crate) fn expected() -> Result<Vec<u8>> {
    let texts = texts()?;
    Ok(oracle::word_count(&[&texts[0], &texts[1]]))
}

/// Uploads the texts and returns a job that counts their words, in about 35 maps of 8 KiB and 3 reduces.
///
/// `pace`: each map and each reduce sleeps this many milliseconds.
pub(crate) async fn job(cluster: &Cluster, name: &str, pace: Option<u64>) -> Result<JobSpec> {
    let texts = texts()?;
    let urls = cluster.upload(&[("ernest.txt", &texts[0]), ("metamorphosis.txt", &texts[1])]).await?;
    let mut step = StepSpec::native(if pace.is_some() { "paced-word-count" } else { "word-count" });
    step.args = pace.iter().map(u64::to_string).collect();
    step.partitions = Some(3);
    let mut spec = JobSpec::new(name, urls.into_iter().map(Input::Url).collect(), vec![step]);
    spec.split.bytes = Some(8 << 10);
    Ok(spec)
}

/// Counts the events of a kind.
pub(crate) fn count(events: &[EventView], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

/// Finds tasks that were granted again after they had been won, though their output was not lost.
pub(crate) fn redone(events: &[EventView]) -> Vec<String> {
    let mut won = std::collections::BTreeSet::new();
    let mut redone = Vec::new();
    for event in events {
        let entry = &event.entry;
        let tasks = |range: &serde_json::Value, stage: &str| {
            let first = range["first"].as_u64().unwrap_or(0);
            let count = range["count"].as_u64().unwrap_or(0);
            let stage = format!("{}.{stage}", entry["step"]);
            (first..first + count).map(move |task| format!("{stage}.{task}"))
        };
        let stage = entry["stage"].as_str().unwrap_or_default();
        match event.kind.as_str() {
            "won" => won.extend(tasks(&entry["tasks"], stage)),
            "granted" => redone.extend(tasks(&entry["tasks"], stage).filter(|task| won.contains(task))),
            "reopened" => tasks(&entry["tasks"], entry["stage"].as_str().unwrap_or("map")).for_each(|task| {
                won.remove(&task);
            }),
            _ => {}
        }
    }
    redone
}

/// Copies a directory with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
