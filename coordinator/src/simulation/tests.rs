use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::Options;
use super::world::{Run, run};
use crate::scheduler::Bug;

/// Seeds of the normal run; `GRISTMILL_SEEDS` asks for more.
const SEEDS: u64 = 20_000;

fn try_seed(seed: u64, bug: Option<Bug>, with_story: bool) -> Result<Run, String> {
    let options = Options::new(seed, bug);
    let text = format!("{options:?}");
    catch_unwind(AssertUnwindSafe(|| run(options, with_story))).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("seed {seed} panicked: {}\n{text}", message.unwrap_or_default()))
    })
}

fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[expect(clippy::disallowed_methods, reason = "measures itself; no decision reads it")]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn every_seed_ends_as_the_oracle_says() {
    if let Some(seed) = asked("GRISTMILL_SEED") {
        let run = try_seed(seed, None, true).unwrap_or_else(|failure| panic!("{failure}"));
        println!("seed {seed}: {run:?}");
        return;
    }
    let (seeds, next, start) = (asked("GRISTMILL_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0), started());
    let total = Mutex::new((0_u64, 0_u64, BTreeMap::<&'static str, u64>::new()));
    let work = || {
        let mut mine = (0, 0, BTreeMap::<&'static str, u64>::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            let run = try_seed(seed, None, false).unwrap_or_else(|failure| {
                next.store(seeds, Ordering::Relaxed);
                panic!("{failure}\nrepeat with GRISTMILL_SEED={seed}");
            });
            if seed % 100 == 0 {
                assert_eq!(try_seed(seed, None, false).as_ref(), Ok(&run), "seed {seed} does not do the same twice");
            }
            mine.0 += run.steps;
            mine.1 += run.took_ms;
            for (what, times) in run.sometimes {
                *mine.2.entry(what).or_default() += times;
            }
        }
        let mut total = total.lock().unwrap();
        total.0 += mine.0;
        total.1 += mine.1;
        for (what, times) in mine.2 {
            *total.2.entry(what).or_default() += times;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
    let (steps, simulated_ms, sometimes) = total.into_inner().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds in {seconds:.1} s: {:.0} seeds/s, {steps} steps, {} s simulated",
        seeds as f64 / seconds,
        simulated_ms / 1_000
    );
    for (what, times) in &sometimes {
        println!("{times:>10} {what}");
    }
    if seeds >= SEEDS {
        let missing: Vec<_> = RARE.iter().filter(|what| sometimes.get(**what).copied().unwrap_or(0) < 20).collect();
        assert!(missing.is_empty(), "hardly ever reached: {missing:?}");
    }
}

/// What has to happen in a normal run, so that it proves something.
const RARE: &[&str] = &[
    "ack lost",
    "adopted",
    "answer of a replaced coordinator",
    "append applied but reported failed",
    "attempt stopped",
    "backup granted",
    "backup took over",
    "backup was not needed",
    "backup won",
    "blob lost in the store",
    "cancel refused",
    "cap reached",
    "commit resumed",
    "commit went back",
    "coordinator crashed",
    "coordinator paused",
    "coordinator stood still",
    "directory lost",
    "failed",
    "fetched from its worker",
    "fused output lost",
    "fused outputs read",
    "given_up",
    "grant lost",
    "granted on probation",
    "history compacted",
    "job cancelled",
    "job failed by its task",
    "job_expired",
    "job_retried",
    "job succeeded as the oracle says",
    "journal tail lost",
    "late report accepted",
    "lease expired",
    "lost before it was begun",
    "lost with the worker",
    "map won again after a reduce",
    "message lost",
    "not held",
    "outbox restored",
    "mixture accepted",
    "job failed because it strays",
    "output_differed",
    "output_stored",
    "output_unshared",
    "outputs dropped",
    "part of an earlier step lost",
    "planning resumed",
    "poll overtaken",
    "poll parked",
    "poll refused",
    "poll repeated",
    "poll voided",
    "quarantined worker polled",
    "quarantined worker that alone can",
    "range granted",
    "range won",
    "record_skipped",
    "reopened",
    "rolled_back",
    "report duplicate",
    "report superseded",
    "returned",
    "submit refused",
    "submit repeated",
    "two sessions of one worker",
    "worker crashed",
    "worker drained and left",
    "worker paused",
];

/// Seeds tried for a planted bug.
const SEEDS_PER_BUG: u64 = 20_000;

/// Bugs that are planted, each by itself.
const BUGS: &[Bug] = &[
    Bug::AckBeforeAppend,
    Bug::FenceReuse,
    Bug::LateReportOverwrites,
    Bug::ReopenedTaskRewon,
    Bug::FailureCountedTwice,
    Bug::LostRequeue,
    Bug::CrossingPollsRequeue,
    Bug::MassExpiryOnRestart,
    Bug::CommitCancelled,
    Bug::UnreachableGrant,
    Bug::BackupBesideItself,
    Bug::QuarantineIgnored,
    Bug::DropBeforeDurable,
    Bug::FusedOutputForgotten,
    Bug::ArrivalOrderMerge,
    Bug::OutboxNeverDrains,
];

#[test]
fn what_is_written_about_the_simulation_is_so() {
    let text = include_str!("../../../docs/reliability.md");
    for said in [format!("; {} rare paths must", RARE.len()), format!("all {} caught", BUGS.len())] {
        assert!(text.contains(&said), "docs/reliability.md does not say {said:?}");
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let mut escaped = Vec::new();
    for &bug in BUGS {
        let caught = (0..SEEDS_PER_BUG).find_map(|seed| Some((seed, try_seed(seed, Some(bug), false).err()?)));
        match caught {
            Some((seed, how)) => println!("{bug:?}: seed {seed}: {}", how.lines().next().unwrap_or_default()),
            None => escaped.push(bug),
        }
    }
    assert!(escaped.is_empty(), "not caught in {SEEDS_PER_BUG} seeds: {escaped:?}");
}
