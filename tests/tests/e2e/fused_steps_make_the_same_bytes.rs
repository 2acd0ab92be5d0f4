//! A chain whose reduces run the maps of the next step: the same bytes as without, fewer tasks, and whatever dies or is lost on the
//! way costs the tasks that it took with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use gristmill_common::JobSpec;
use gristmill_common::api::{JobView, StageView};
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::{Cluster, oracle};
use serde_json::{Value, json};

use crate::fixture;

/// Words enough that outputs of a few tasks do not travel inside their reports.
fn words() -> Vec<u8> {
    let word = |i: u32| format!("word-{:x} {}", i.wrapping_mul(2_654_435_761), if i % 10 == 9 { "\n" } else { "" });
    (0..60_000_u32).map(|i| word(i % 40_000)).collect::<String>().into_bytes()
}

fn step(pace: u64, partitions: u32) -> StepSpec {
    StepSpec { args: vec![pace.to_string()], partitions: Some(partitions), ..StepSpec::native("paced-word-count") }
}

/// Three word counts, each over the lines of the one before.
async fn chain(cluster: &Cluster, name: &str, pace: u64, fuse: bool) -> Result<JobSpec> {
    let urls = cluster.upload(&[(name, &words())]).await?;
    let mut steps = vec![step(pace, 3), step(pace, 2), step(pace, 2)];
    steps.iter_mut().for_each(|step| step.fuse = fuse);
    let mut spec = JobSpec::new(name, urls.into_iter().map(Input::Url).collect(), steps);
    spec.split.bytes = Some(200 << 10);
    Ok(spec)
}

fn expected() -> Vec<u8> {
    let once = oracle::word_count(&[&words()]);
    oracle::word_count(&[&oracle::word_count(&[&once])])
}

fn stages(view: &JobView) -> Vec<(u16, char, u32, bool)> {
    let stage = |view: &StageView| (view.step, view.stage.letter(), view.tasks, view.maps_next);
    view.stages.iter().map(stage).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_the_same_fused_or_not() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "here", &[])?;
    cluster.start_worker(2, "there", &[])?;
    let mut seen = Vec::new();
    for fuse in [true, false] {
        let job = cluster.submit(&chain(&cluster, &format!("fuse-{fuse}"), 0, fuse).await?).await?;
        let view = cluster.finish(&job).await?;
        assert_eq!(view.state.word(), "succeeded", "{view:#?}");
        assert!(cluster.output(&job).await? == expected(), "fused: {fuse}");
        seen.push(stages(&view));
    }
    let maps = seen[0][0].2;
    assert_eq!(seen[0], [(0, 'm', maps, false), (0, 'r', 3, true), (1, 'r', 2, true), (2, 'r', 2, false)]);
    assert_eq!(seen[1].len(), 6, "{seen:?}");
    Ok(())
}

/// The map outputs that reduces of the first step left in the store.
fn left_by_reduces(cluster: &Cluster, job: &JobView) -> Vec<PathBuf> {
    let directory = cluster.path("data").join("store/outputs").join(job.id.to_string());
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let of_reduce = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("s0-r"));
    entries.map(|entry| entry.path()).filter(of_reduce).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_and_losses_cost_only_what_they_took() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "2000"]).await?;
    for state in ["here", "here", "there"] {
        cluster.start_worker(1, state, &[])?;
    }
    let job = cluster.submit(&chain(&cluster, "dies", 400, true).await?).await?;
    let won = |step: u16, stage: char, least: u32| {
        move |view: &JobView| {
            let found = view.stages.iter().find(|view| (view.step, view.stage.letter()) == (step, stage));
            found.is_some_and(|view| view.won >= least)
        }
    };
    cluster.until(&job, "reducing", won(0, 'r', 1)).await?;
    cluster.workers.remove(0).kill();
    cluster.kill_coordinator();
    cluster.start_coordinator().await?;
    cluster.until(&job, "in its second step", won(0, 'r', 3)).await?;
    let lost = left_by_reduces(&cluster, &job).pop().context("nothing is left in the store")?;
    std::fs::remove_file(&lost)?;
    // Its holder of maps goes too, so that the reduce that runs again needs some of them made again.
    cluster.workers.remove(0).kill();
    std::fs::remove_dir_all(cluster.path("here"))?;
    cluster.start_worker(1, "elsewhere", &[])?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&job).await? == expected());
    let events = cluster.events(&job).await?;
    let reopened = events.iter().filter(|event| event.kind == "reopened");
    let reopened: Vec<_> = reopened.map(|event| (event.entry["step"].clone(), event.entry["stage"].clone())).collect();
    assert!(reopened.contains(&(0.into(), "reduce".into())), "{reopened:?}");
    assert_eq!(fixture::redone(&events), [""; 0]);
    Ok(())
}

/// The specs of chains, each with what it reads: programs of every kind.
fn chains(home: &Path) -> Result<Vec<(Value, PathBuf)>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let (analysis, wasm, texts) =
        (examples.join("log-analysis"), examples.join("word-count-wasm"), examples.join("texts"));
    let log = home.join("access.log");
    let made = Command::new(analysis.join("access_log.py")).arg("3000").output().context("python3 is needed")?;
    std::fs::write(&log, made.stdout)?;
    let mut python: Value = serde_json::from_slice(&std::fs::read(analysis.join("job.json"))?)?;
    for file in
        python["steps"].as_array_mut().into_iter().flatten().flat_map(|step| step.pointer_mut("/command/files/0"))
    {
        file["path"] = analysis.join(file["path"].as_str().context("a path")?).display().to_string().into();
    }
    let counts = json!({ "name": "counts of counts", "steps": [
        { "native": "word-count" },
        { "native": "count-by-field", "args": ["--fields=2"] },
        { "native": "top-k", "args": ["--count=5", "--field=2"], "partitions": 1 },
    ]});
    let module = |name: &str, args: Value| json!({ "path": wasm.join(name), "args": args });
    let command = json!({ "wasm": {
        "mapper": module("streaming.wasm", json!(["map"])), "reducer": module("streaming.wasm", json!(["reduce"])),
    }});
    let batched = json!({ "wasm": {
        "mapper": module("batched.wasm", json!([])), "combiner": module("batched.wasm", json!([])),
        "reducer": module("batched.wasm", json!([])),
    }});
    let modules = json!({ "name": "modules", "steps": [command, batched, command] });
    Ok(vec![(python, log), (counts, texts.clone()), (modules, texts)])
}

#[test]
fn programs_of_every_kind_make_the_same_bytes_fused_or_not() -> Result<()> {
    let home = tempfile::tempdir()?;
    for (mut spec, input) in chains(home.path())? {
        let mut outputs = BTreeMap::new();
        for fuse in [true, false] {
            spec["steps"].as_array_mut().into_iter().flatten().for_each(|step| step["fuse"] = fuse.into());
            let file = home.path().join("job.json");
            std::fs::write(&file, spec.to_string())?;
            let ran = Command::new(fixture::BINARY).args(["run", "--spec"]).arg(&file).arg(&input).output()?;
            assert!(ran.status.success() && !ran.stdout.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
            outputs.insert(fuse, ran.stdout);
        }
        assert!(outputs[&true] == outputs[&false], "{spec}");
    }
    Ok(())
}
