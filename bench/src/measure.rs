//! Runs a command and measures it: wall time, CPU time and peak memory of all its processes together.
//!
//! CPU time is what the kernel adds to this process for children that were waited for, so descendants count when their
//! parents wait for them. Memory is sampled: a peak shorter than [`SAMPLE_EVERY`] may be missed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Clock ticks per second in `/proc/PID/stat`; 100 on every Linux that runs this.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a command took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Taken {
    /// Seconds from start to end.
    pub(crate) wall_s: f64,
    /// Seconds of all processors together.
    pub(crate) cpu_s: f64,
    /// Most anonymous and shared memory of all processes together, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Runs the command to its end. Its stdout and stderr go to `log`.
///
/// First all that others wrote is brought to the disk: who syncs its output must not wait for theirs.
pub(crate) fn run(command: &mut Command, log: &Path) -> Result<Taken> {
    Command::new("sync").status().context("cannot run `sync`")?;
    let file = fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let cpu = children_cpu_s();
    let watch = stopwatch();
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let (peak, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let pid = child.id();
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(tree_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        let status = child.wait();
        over.store(true, Ordering::Relaxed);
        status
    })?;
    let wall_s = watch.elapsed().as_secs_f64();
    if !status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        bail!("{command:?} ended with {status}:\n{}", said.trim_end());
    }
    Ok(Taken { wall_s, cpu_s: children_cpu_s() - cpu, peak_bytes: peak.into_inner() })
}

#[expect(clippy::disallowed_methods, reason = "measuring time is what this crate is for")]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}

/// Processor time of the children that were waited for, in seconds.
fn children_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything, fields 3 and on follow; 16 and 17 are cutime and cstime.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(16) + ticks(17)) / TICKS_PER_SECOND
}

/// Anonymous and shared memory of a process and its descendants.
pub(crate) fn tree_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().filter_map(|line| {
        let rest = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    let own: u64 = kib.sum::<u64>() << 10;
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    own + children.into_iter().map(tree_bytes).sum::<u64>()
}
