//! W4 and W5: what a task and a job cost beside their work, on a cluster of two one-slot workers.

use std::time::Duration;

use anyhow::{Result, ensure};
use gristmill_common::JobSpec;
use gristmill_common::api::JobState;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_tests::cluster::Cluster;

use crate::bench::{Bench, say};
use crate::contender::{Contender, Equal};
use crate::measure::{self, Taken};
use crate::report::{Report, Row};

/// Tasks of W4 unless `--size` says how many.
const TASKS: u64 = 100_000;
/// Processes of W4.
const PROCESSES: u64 = 20_000;
/// How often the tiny job of W5 runs on the cluster.
const TINY_JOBS: usize = 20;

/// W4: tasks without work.
pub(crate) fn no_op(bench: &Bench) -> Result<Report> {
    let count = bench.args.size.unwrap_or(TASKS);
    let mut row = Row::new("gristmill");
    let mut commands = Row::new("command");
    block_on(async {
        let cluster = cluster(bench).await?;
        // The first job pays for connections and page faults.
        for round in 0..4 {
            let taken = job(&cluster, &no_op_spec(count)).await?;
            if round > 0 {
                say(&format!("W4: {count} tasks in {:.3} s", taken.wall_s));
                row.taken.push(taken);
            }
        }
        for _ in 0..2 {
            let taken = job(&cluster, &command_spec()?).await?;
            say(&format!("W4: {PROCESSES} commands in {:.3} s", taken.wall_s));
            commands.taken.push(taken);
        }
        Ok(())
    })?;
    row.note = best(count, &row);
    commands.note =
        format!("{PROCESSES} tasks of `true` with pipes, limits and a directory; {}", best(PROCESSES, &commands));
    let mut rows = vec![row, commands];
    if bench.wants("gnu") || bench.wants("yardstick") {
        let script = format!(r#"seq {PROCESSES} | xargs -P2 -n1 true; touch "$2""#);
        let xargs = Contender::shell("yardstick", bench, Equal::Bytes, &script, &bench.scratch);
        let mut report = bench.rounds("W4", "20,000 processes", &[xargs])?;
        if let Some(row) = report.rows.first_mut() {
            row.note = format!("{PROCESSES} processes by xargs; {}", best(PROCESSES, row));
        }
        rows.extend(report.rows);
    }
    Ok(Report { workload: "W4".to_owned(), input: format!("{count} no-op tasks"), rows })
}

fn best(count: u64, row: &Row) -> String {
    let rate = row.taken.iter().map(|taken| count as f64 / taken.wall_s).fold(0.0_f64, f64::max);
    format!("best {rate:.0} tasks/s")
}

/// A process for each record.
fn command_spec() -> Result<JobSpec> {
    let spec = serde_json::json!({
        "name": "true", "inputs": [{ "generate": PROCESSES }], "split": { "records": 1 },
        "steps": [{ "command": { "mapper": ["true"] }, "reduce": false }],
    });
    JobSpec::from_json(spec.to_string().as_bytes()).map_err(|problem| anyhow::anyhow!("{problem}"))
}

fn no_op_spec(count: u64) -> JobSpec {
    let mut step = StepSpec::native("no-op");
    step.reduce = false;
    let mut spec = JobSpec::new("no-op", vec![Input::Generated(Generated { generate: count })], vec![step]);
    spec.split.records = Some(1);
    spec
}

/// W5: word count of 1 KB, cold and on a running cluster.
pub(crate) fn tiny(bench: &Bench) -> Result<Report> {
    let input = bench.data.english(1_024)?;
    let text = std::fs::read(&input)?;
    let arguments = ["word-count".as_ref(), input.as_os_str()];
    let cold = Contender::gristmill("gristmill run", bench, Equal::Lines, &arguments);
    let mut report = bench.rounds("W5", "1 KB of English text", &[cold])?;
    let mut row = Row::new("cluster");
    block_on(async {
        let cluster = cluster(bench).await?;
        let url = cluster.upload(&[("tiny.txt", text.as_slice())]).await?.swap_remove(0);
        let spec = JobSpec::new("tiny", vec![Input::Url(url)], vec![StepSpec::native("word-count")]);
        for _ in 0..TINY_JOBS {
            row.taken.push(job(&cluster, &spec).await?);
        }
        Ok(())
    })?;
    row.note = "submit to end, by HTTP".to_owned();
    report.rows.push(row);
    Ok(report)
}

pub(super) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    gristmill_client::install_tls();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

async fn cluster(bench: &Bench) -> Result<Cluster> {
    let mut cluster = Cluster::start(&bench.gristmill.to_string_lossy(), &[]).await?;
    for _ in 0..2 {
        cluster.start_worker(1, "state", &["--allow-commands"])?;
    }
    while cluster.client()?.workers().await?.workers.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(cluster)
}

/// Runs one job, waiting at the coordinator.
async fn job(cluster: &Cluster, spec: &JobSpec) -> Result<Taken> {
    let watch = measure::stopwatch();
    let job = cluster.submit(spec).await?;
    let view = cluster.client()?.job(&job.id.to_string(), Some(Duration::from_secs(60))).await?;
    ensure!(view.state == JobState::Succeeded, "the job is {}: {:?}", view.state.word(), view.failure);
    Ok(Taken { wall_s: watch.elapsed().as_secs_f64(), cpu_s: 0.0, peak_bytes: 0 })
}
