//! One worker at a fifth of its speed: with backup attempts the job takes at most half as long again as with healthy workers.
//!
//! Measures, by real processes: healthy, one slow worker without and with backups, a fifth of the workers killed.
//! `cargo test -p gristmill-tests --test e2e stragglers -- --ignored --nocapture` prints the makespans side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_tests::{Cluster, duty};

use crate::fixture;

const WORKERS: usize = 10;
const TASKS: u64 = 60;
/// A task sleeps 50 times for 40 ms.
const RECORDS: u64 = 50;
const PACE_MS: u64 = 40;

/// What happens to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    OneSlow,
    FifthKilled,
}

struct Figure {
    seconds: f64,
    output: Vec<u8>,
    backups: usize,
}

async fn measure(fault: Fault, backups: bool) -> Result<Figure> {
    let mut cluster = Cluster::start(fixture::BINARY, &["--lease-ms", "3000"]).await?;
    for _ in 0..WORKERS {
        cluster.start_worker(1, "state", &[])?;
    }
    while cluster.client()?.workers().await?.workers.len() < WORKERS {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut step = StepSpec::native("steady-word-count");
    (step.args, step.reduce) = (vec![PACE_MS.to_string()], false);
    let input = Input::Generated(Generated { generate: TASKS * RECORDS });
    let mut spec = JobSpec::new("makespan", vec![input], vec![step]);
    (spec.split.records, spec.backups) = (Some(RECORDS), backups);
    let is_over = Arc::new(AtomicBool::new(false));
    let slowed = (fault == Fault::OneSlow).then(|| {
        let (pid, is_over) = (cluster.workers[0].pid(), Arc::clone(&is_over));
        std::thread::spawn(move || duty::slow_down(pid, 20, &|| is_over.load(Ordering::Relaxed)))
    });
    let job = cluster.submit(&spec).await?;
    if fault == Fault::FifthKilled {
        cluster.until(&job, "well under way", |view| view.stages.first().is_some_and(|s| s.won >= 20)).await?;
        cluster.workers.drain(..WORKERS / 5).for_each(|mut worker| worker.kill());
    }
    let view = cluster.finish(&job).await?;
    is_over.store(true, Ordering::Relaxed);
    if let Some(slowed) = slowed {
        slowed.join().map_err(|_| anyhow::anyhow!("the thread that slows a worker panicked"))??;
    }
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    let events = cluster.events(&job).await?;
    let failures: u64 = view.stages.iter().map(|stage| stage.failures).sum();
    assert_eq!(failures, 0, "who loses a race has not failed");
    let backups = events.iter().filter(|event| event.entry["backup"] == true).count();
    let output = cluster.client()?.output(&job.id.to_string(), false, None).await?.whole(1 << 20).await?;
    Ok(Figure { seconds: view.elapsed_ms as f64 / 1_000.0, output, backups })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; it measures"]
async fn the_makespan_stays_near_the_healthy_one() -> Result<()> {
    let runs = [
        ("healthy", Fault::None, true),
        ("one worker at 20 %, no backups", Fault::OneSlow, false),
        ("one worker at 20 %, backups", Fault::OneSlow, true),
        ("20 % of the workers killed", Fault::FifthKilled, true),
    ];
    let mut figures = Vec::new();
    for (name, fault, backups) in runs {
        let figure = measure(fault, backups).await?;
        println!("{name:32} {:6.1} s, {} backups", figure.seconds, figure.backups);
        figures.push(figure);
    }
    let healthy = figures[0].seconds;
    println!("relative to healthy: {:.2?}", figures.iter().map(|f| f.seconds / healthy).collect::<Vec<_>>());
    assert!(figures.iter().all(|figure| figure.output == figures[0].output), "the results differ");
    assert_eq!(figures[0].backups, 0, "nobody was slow");
    let (without, with) = (figures[1].seconds, figures[2].seconds);
    assert!(with <= 1.5 * healthy, "{with} s with a slow worker, {healthy} s without");
    assert!(with <= 0.95 * without, "{with} s with backups, {without} s without: they do not help");
    Ok(())
}
