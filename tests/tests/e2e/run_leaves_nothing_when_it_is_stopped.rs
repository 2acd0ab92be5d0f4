//! `run` that is stopped while its output waits for room leaves nothing beside it; of one that was killed the next one tidies up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use gristmill_tests::Process;

use crate::a_full_disk_sends_attempts_elsewhere::SmallDisk;
use crate::fixture;

fn run(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(fixture::BINARY);
    command.arg("run").args(args).env("TMPDIR", temporary).current_dir(temporary);
    command
}

fn names(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

/// Waits up to half a minute.
fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..600 {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("waited in vain: {what}")
}

#[test]
fn the_first_ctrl_c_ends_a_commit_that_waits_for_room() -> Result<()> {
    let home = tempfile::tempdir()?;
    let small = home.path().join("small");
    let Some(_disk) = SmallDisk::mount(small.clone())? else {
        eprintln!("SKIPPED: only root can mount a small disk; run this test as root");
        return Ok(());
    };
    let text: String = (0..200_000_u32).map(|n| format!("word{}\n", n.wrapping_mul(2_654_435_761))).collect();
    std::fs::write(home.path().join("in"), text)?;
    for (output, log) in [("small/parts/", "parts.log"), ("small/counts.tsv", "file.log")] {
        let mut command = run(home.path(), &["word-count", "in", "-o", output]);
        let mut process = Process::start(&mut command, home.path().join(log))?;
        // A job that stands still says why after a while.
        until("the commit waits", || Ok(process.log().contains("that did not work yet")))?;
        // A file that does not fit goes by itself each time.
        ensure!(output != "small/parts/" || !names(&small)?.is_empty(), "parts are hidden there: {}", process.log());
        process.signal("INT")?;
        until("it ends", || Ok(process.has_ended()))?;
        let log = process.log();
        assert_eq!(process.wait()?, Some(130), "{log}");
        assert!(log.contains("the output was not written, and nothing is left of it"), "{log}");
        assert_eq!(names(&small)?, Vec::<PathBuf>::new(), "{log}");
    }
    Ok(())
}

#[test]
fn what_a_killed_run_left_the_next_one_removes() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("in"), "to be\n")?;
    let left = || -> Result<Vec<PathBuf>> {
        let is_left =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gristmill-"));
        Ok(names(home.path())?.into_iter().filter(is_left).collect())
    };
    let slow = run(home.path(), &["--mapper", "sh -c 'cat; sleep 60'", "in"]);
    let start = |mut command: Command, log: &str| Process::start(&mut command, home.path().join(log));
    let mut killed = start(slow, "killed.log")?;
    until("it has a directory", || Ok(!left()?.is_empty()))?;
    let first = left()?;
    let mut alive = start(run(home.path(), &["--mapper", "sh -c 'cat; sleep 60'", "in"]), "alive.log")?;
    until("it has one too", || Ok(left()?.len() == 2))?;
    killed.kill();
    assert!(run(home.path(), &["word-count", "in"]).output()?.status.success());
    // It is removed while the job runs, and perhaps goes on in the next one.
    until("the first is removed", || {
        ensure!(run(home.path(), &["word-count", "in"]).output()?.status.success(), "the job fails");
        Ok(!first[0].exists())
    })?;
    assert_eq!(left()?.len(), 1, "the one that runs keeps its own");
    alive.kill();
    Ok(())
}
