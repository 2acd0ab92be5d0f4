//! What the MapReduce lab of MIT 6.5840 checks, as checks of our own: word count, indexer, parallel maps, parallel reduces,
//! each task once, no output before its time, and a job that keeps crashing, also with the coordinator killed.
//!
//! `GRISTMILL_BOOKS=DIR` counts and indexes the lab's eight books too; `GRISTMILL_LAB_SLEEP_MS=10000` is the lab's own pace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use gristmill_common::api::{EventView, JobView};
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::{Digest, JobSpec};
use gristmill_tests::{Chance, Cluster, asked};

use crate::fixture;

const BOOKS_COUNTED: &str = "08d25f8329d8b7054a8330033736775249ffd98ca861f12e24e0cda079322c19";
const BOOKS_INDEXED: &str = "cfb90d39e9c75809a08b22498ed4e5d4af12a8fb5b5a149e6d1ef0160aba6c51";

fn step(program: &str, args: &[&str], partitions: u32) -> StepSpec {
    let mut step = StepSpec::native(program);
    (step.args, step.partitions) = (args.iter().map(|&arg| arg.to_owned()).collect(), Some(partitions));
    step
}

fn sorted(text: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// The sequential answers: sorted lines `word count`, and `word n file,file`.
fn sequential(files: &[(String, Vec<u8>)]) -> (Vec<u8>, Vec<u8>) {
    let mut words: BTreeMap<String, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (name, text) in files {
        for word in String::from_utf8_lossy(text).split(|letter: char| !letter.is_alphabetic()) {
            if !word.is_empty() {
                let (count, names) = words.entry(word.to_owned()).or_default();
                *count += 1;
                names.insert(name);
            }
        }
    }
    let counted: String = words.iter().map(|(word, (count, _))| format!("{word} {count}\n")).collect();
    let files = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(",");
    let indexed: String =
        words.iter().map(|(word, (_, names))| format!("{word} {} {}\n", names.len(), files(names))).collect();
    (sorted(counted.as_bytes()), sorted(indexed.as_bytes()))
}

fn texts(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let named = |path: &PathBuf| -> Result<_> {
        Ok((path.file_name().context("a name")?.to_string_lossy().into_owned(), std::fs::read(path)?))
    };
    paths.iter().map(named).collect()
}

async fn counts_and_indexes(cluster: &Cluster, files: &[(String, Vec<u8>)]) -> Result<(Vec<u8>, Vec<u8>)> {
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    let urls = cluster.upload(&named).await?;
    let mut outputs = Vec::new();
    for program in ["lab-wc", "lab-indexer"] {
        let inputs = urls.iter().cloned().map(Input::Url).collect();
        let job = cluster.submit(&JobSpec::new(program, inputs, vec![step(program, &[], 10)])).await?;
        let view = cluster.finish(&job).await?;
        assert_eq!(view.state.word(), "succeeded", "{view:#?}");
        outputs.push(sorted(&cluster.output(&job).await?));
    }
    let indexed = outputs.pop().context("two")?;
    Ok((outputs.pop().context("two")?, indexed))
}

#[tokio::test(flavor = "multi_thread")]
async fn word_count_and_indexer() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for _ in 0..3 {
        cluster.start_worker(1, "state", &[])?;
    }
    let files = texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/texts"))?;
    assert!(counts_and_indexes(&cluster, &files).await? == sequential(&files));
    if let Some(books) = std::env::var_os("GRISTMILL_BOOKS") {
        let (counted, indexed) = counts_and_indexes(&cluster, &texts(Path::new(&books))?).await?;
        assert_eq!(Digest::of(&counted).to_string(), BOOKS_COUNTED);
        assert_eq!(Digest::of(&indexed).to_string(), BOOKS_INDEXED);
    }
    Ok(())
}

/// A job of `maps` maps that tells when its tasks ran.
async fn timed(cluster: &Cluster, maps: u64, map_ms: u64, reduces: u32, reduce_ms: u64) -> Result<JobView> {
    let directory = cluster.path("ran");
    std::fs::create_dir_all(&directory)?;
    let (map_ms, reduce_ms) = (map_ms.to_string(), reduce_ms.to_string());
    let args = [map_ms.as_str(), &reduce_ms, directory.to_str().context("a path")?];
    let inputs = vec![Input::Generated(Generated { generate: maps })];
    let mut spec = JobSpec::new("timed", inputs, vec![step("lab-timed", &args, reduces)]);
    spec.split.records = Some(1);
    cluster.submit(&spec).await
}

/// From when to when tasks of a kind ran, by the index of their task.
async fn times(cluster: &Cluster, job: &JobView, kind: &str) -> Result<BTreeMap<u64, (u64, u64)>> {
    let mut found = BTreeMap::new();
    let parts = cluster.finish(job).await?.output.context("an output")?.parts;
    for part in 0..parts {
        let text = cluster.client()?.output_part(&job.id.to_string(), part).await?.whole(1 << 20).await?;
        for line in String::from_utf8(text)?.lines() {
            let mut words = line.split(' ');
            let (of, index) = (words.next().context("a kind")?, words.next().context("a task")?.parse::<u64>()?);
            let mut time = || -> Result<u64> { Ok(words.next().context("a time")?.parse()?) };
            if of == kind {
                found.insert(if kind == "reduce" { u64::from(part) } else { index }, (time()?, time()?));
            }
        }
    }
    Ok(found)
}

/// Which worker won each task of a stage.
fn winners(events: &[EventView], stage: &str) -> BTreeMap<u64, String> {
    let wins = events.iter().filter(|event| event.kind == "won" && event.entry["stage"] == stage);
    let named = wins.flat_map(|event| {
        let (first, count) = (event.entry["tasks"]["first"].as_u64(), event.entry["tasks"]["count"].as_u64());
        let worker = event.entry["worker"].as_str().unwrap_or_default().to_owned();
        let first = first.unwrap_or(0);
        (first..first + count.unwrap_or(0)).map(move |task| (task, worker.clone()))
    });
    named.collect()
}

async fn is_parallel(cluster: &Cluster, job: &JobView, stage: &str) -> Result<()> {
    let view = cluster.finish(job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    let (times, winners) = (times(cluster, job, stage).await?, winners(&cluster.events(job).await?, stage));
    let together = times.iter().any(|(one, (start, end))| {
        let overlaps =
            |(other, (from, to)): (&u64, &(u64, u64))| start < to && from < end && winners[one] != winners[other];
        times.iter().any(overlaps)
    });
    assert!(together, "no two workers ran a {stage} at the same time: {times:?} {winners:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_and_reduces_run_in_parallel() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for _ in 0..2 {
        cluster.start_worker(1, "state", &[])?;
    }
    let job = timed(&cluster, 4, 700, 4, 700).await?;
    is_parallel(&cluster, &job, "map").await?;
    is_parallel(&cluster, &job, "reduce").await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_map_runs_exactly_once() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for _ in 0..4 {
        cluster.start_worker(1, "state", &[])?;
    }
    let (least, most) = (asked("GRISTMILL_LAB_MAP_MS", 800), asked("GRISTMILL_LAB_MAP_MS", 800) * 2);
    for map_ms in [least, most] {
        let job = timed(&cluster, 8, map_ms, 2, 10).await?;
        assert_eq!(cluster.finish(&job).await?.state.word(), "succeeded");
        let ran: Vec<_> = std::fs::read_dir(cluster.path("ran"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().split('-').next().unwrap_or_default().to_owned()))
            .collect::<Result<_>>()?;
        let distinct: BTreeSet<_> = ran.iter().collect();
        assert_eq!((ran.len(), distinct.len()), (8, 8), "{ran:?}");
        std::fs::remove_dir_all(cluster.path("ran"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_output_before_every_reduce_is_done() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for _ in 0..2 {
        cluster.start_worker(1, "state", &[])?;
    }
    let job = timed(&cluster, 2, 10, 6, 500).await?;
    let mut seen = BTreeSet::new();
    loop {
        let view = cluster.client()?.job(&job.id.to_string(), None).await?;
        let won = view.stages.get(1).map_or(0, |stage| stage.won);
        if view.state.word() == "succeeded" {
            assert_eq!(won, 6);
            break;
        }
        seen.insert(won);
        let early = cluster.client()?.output(&job.id.to_string(), true, None).await;
        // It may have ended between the two questions.
        if early.is_ok() {
            assert_eq!(cluster.client()?.job(&job.id.to_string(), None).await?.state.word(), "succeeded");
            break;
        }
        let mut command = cluster.command();
        let printed = command.args(["output", &job.id.to_string()]).output()?;
        if printed.status.success() || !printed.stdout.is_empty() {
            // It ended since it was looked at.
            let now = cluster.client()?.job(&job.id.to_string(), None).await?;
            assert_eq!(now.state.word(), "succeeded", "{printed:?}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(seen.iter().any(|won| (1..6).contains(won)), "some reduces were done while others were not: {seen:?}");
    assert!(!cluster.output(&job).await?.is_empty());
    Ok(())
}

/// Every call exits or sleeps, and every second a worker that is gone is started again, or one is killed.
async fn crashes(kill_coordinator: bool) -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "2000"]).await?;
    let mut chance = Chance::new(1);
    let texts: Vec<(String, Vec<u8>)> =
        (0..8).map(|n| (format!("{n}.txt"), format!("text{n}\n").into_bytes())).collect();
    let named: Vec<(&str, &[u8])> = texts.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    let urls = cluster.upload(&named).await?;
    let sleep_ms = asked("GRISTMILL_LAB_SLEEP_MS", 400).to_string();
    let inputs = urls.into_iter().map(Input::Url).collect();
    let mut spec = JobSpec::new("crash", inputs, vec![step("lab-crash", &[&sleep_ms], 4)]);
    (spec.attempts, spec.split.bytes) = (50, Some(1));
    for _ in 0..3 {
        cluster.start_worker(1, "state", &[])?;
    }
    let job = cluster.submit(&spec).await?;
    let mut seconds = 0_u64;
    let view = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        let view = cluster.client()?.job(&job.id.to_string(), None).await?;
        if view.state.is_over() {
            break view;
        }
        assert!(seconds < 600, "{view:#?}");
        if chance.index(3) == 0 && seconds < 20 {
            cluster.workers.remove(0).kill();
            cluster.start_worker(1, "state", &[])?;
        }
        if kill_coordinator && seconds == 2 {
            cluster.kill_coordinator();
            cluster.start_coordinator().await?;
        }
    };
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(view.stages.iter().map(|stage| stage.failures).sum::<u64>() >= 3, "calls crashed: {view:#?}");
    let all: Vec<String> = (0..8).map(|n| format!("text{n}")).collect();
    let expected: String = ["a", "b", "c", "d"].iter().map(|key| format!("{key} {}\n", all.join(" "))).collect();
    assert_eq!(String::from_utf8(sorted(&cluster.output(&job).await?))?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_keeps_crashing_is_right() -> Result<()> {
    crashes(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_keeps_crashing_is_right_with_the_coordinator_killed_too() -> Result<()> {
    crashes(true).await
}
