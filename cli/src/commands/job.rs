//! `job ls|show|wait|explain|events|tasks|logs|retry|cancel|rm`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use gristmill_client::{Client, JobsFilter, TasksFilter};
use gristmill_common::TaskName;
use gristmill_common::api::{EventView, JobState, JobView, SpreadView, StageView, TaskState, TaskView};
use gristmill_sdk::app::connect::Connect;
use gristmill_sdk::app::exit::Exit;
use gristmill_sdk::app::follow::{self, Watched};
use gristmill_sdk::app::progress::{Progress, grouped, size};
use gristmill_worker::Programs;

use super::{logs, replay};
use crate::table::{duration, harmless};
use crate::view::Format;

/// Arguments of `job`.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum JobCommand {
    /// List jobs, newest first
    Ls {
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Only jobs in this state: planning, running, committing, succeeded, failed, cancelled
        #[arg(long, value_parser = state)]
        state: Option<JobState>,
    },
    /// Show a job: stages, counters, output, failure
    Show(Which),
    /// Wait until a job is over; the exit code tells how it ended
    Wait {
        #[command(flatten)]
        which: Which,
        /// Give up after this many seconds, with exit code 124
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Say why a job, or one of its tasks, is where it is
    Explain {
        #[command(flatten)]
        which: Which,
        /// A task, such as m12 or r3
        #[arg(long)]
        task: Option<TaskName>,
    },
    /// Print a job's history
    Events(Which),
    /// List a job's tasks
    Tasks(Which),
    /// Print what attempts wrote: those of a task, or all that failed
    Logs {
        #[command(flatten)]
        which: Which,
        /// A task, such as m12 or r3
        task: Option<TaskName>,
        /// Print what comes until the job is over
        #[arg(short, long)]
        follow: bool,
    },
    /// Run what a failed or cancelled job has not won yet
    Retry {
        #[command(flatten)]
        which: Which,
        /// Only what failed or did not run, which is what a retry does anyway
        #[arg(long)]
        failed: bool,
    },
    /// Run one task here, with the input, code and environment that it had, and leave them to be looked at
    Replay(replay::ReplayArgs),
    /// End a job without a result
    Cancel(Which),
    /// Forget a job that is over, with its output and history; uploaded inputs stay
    Rm(Which),
}

#[derive(Args, Clone, Debug)]
struct Which {
    /// Id of the job, a prefix of it, or `last`
    #[arg(default_value = "last")]
    job: String,
}

/// Items asked for at a time.
const PAGE: usize = 500;
/// Running tasks whose status `show` prints at most.
const STATUSES: usize = 10;

/// Does what the subcommand says.
pub(crate) async fn run(args: &JobArgs, programs: Programs) -> Result<Exit> {
    let client = args.connect.client()?;
    match &args.command {
        JobCommand::Ls { limit, state } => ls(&client, args.format, *limit, *state).await?,
        JobCommand::Show(which) => {
            let job = client.job(&which.job, None).await?;
            let running = running(&client, args.format, &job).await?;
            args.format.one(&job, |job| describe(job, &running), &job.id.to_string())?;
        }
        JobCommand::Wait { which, timeout } => return wait(&client, args.format, &which.job, *timeout).await,
        JobCommand::Explain { which, task } => {
            let explanation = client.explain(&which.job, *task).await?;
            args.format.one(&explanation, |e| lines(&e.lines), &which.job)?;
        }
        JobCommand::Events(which) => events(&client, args.format, &which.job).await?,
        JobCommand::Tasks(which) => tasks(&client, args.format, &which.job).await?,
        JobCommand::Logs { which, task, follow } => return logs::run(&client, &which.job, *task, *follow).await,
        JobCommand::Retry { which, failed: _ } => {
            let job = client.retry(&which.job).await?;
            args.format.one(&job, |job| format!("{} {}", job.id, job.state.word()), &job.id.to_string())?;
        }
        JobCommand::Replay(args) => return replay::run(&client, args, programs).await,
        JobCommand::Cancel(which) => {
            let job = client.cancel(&which.job).await?;
            args.format.one(&job, |job| format!("{} {}", job.id, job.state.word()), &job.id.to_string())?;
        }
        JobCommand::Rm(which) => {
            if which.job == "last" {
                bail!("give the id of the job to remove: `last` would be too easy to get wrong");
            }
            client.remove(&which.job).await?;
        }
    }
    Ok(Exit::Ok)
}

async fn ls(client: &Client, format: Format, limit: usize, state: Option<JobState>) -> Result<()> {
    let mut jobs = Vec::new();
    let mut cursor = None;
    while jobs.len() < limit {
        let limit = Some((limit - jobs.len()).min(PAGE));
        let page = client.jobs(&JobsFilter { state, limit, cursor, name: None }).await?;
        jobs.extend(page.jobs);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let row = |job: &JobView| {
        let done = job.stages.iter().map(|stage| u64::from(stage.won)).sum::<u64>();
        let tasks = job.stages.iter().map(|stage| u64::from(stage.tasks)).sum::<u64>();
        vec![
            job.id.to_string(),
            job.name.clone(),
            job.state.word().to_owned(),
            format!("{done}/{tasks}"),
            duration(job.elapsed_ms),
            job.submitted_at.clone(),
        ]
    };
    format.list(&jobs, &["id", "name", "state", "tasks", "took", "submitted"], row, |job| job.id.to_string())
}

async fn wait(client: &Client, format: Format, job: &str, timeout: Option<u64>) -> Result<Exit> {
    let job = client.job(job, None).await?;
    let mut progress = Progress::new(false);
    match follow::watch(client, job.id, &mut progress, timeout.map(Duration::from_secs)).await? {
        Watched::Over(job) => {
            progress.close(&job);
            format.one(&job, |job| job.state.word().to_owned(), &job.id.to_string())?;
            Ok(Exit::of_job(&job))
        }
        Watched::TimedOut(job) => {
            progress.say(&format!("still {}; wait on with: gristmill job wait {}", job.state.word(), job.id));
            Ok(Exit::TimedOut)
        }
        Watched::Interrupted => {
            progress.say(&format!("the job goes on; come back with: gristmill job wait {}", job.id));
            Ok(Exit::Interrupted)
        }
    }
}

async fn events(client: &Client, format: Format, job: &str) -> Result<()> {
    let mut cursor = None;
    loop {
        let page = client.events(job, Some(PAGE), cursor.as_deref()).await?;
        let row = |event: &EventView| {
            let entry = harmless(&event.entry.to_string());
            vec![event.seq.to_string(), event.at.clone(), event.kind.clone(), shorten(&entry)]
        };
        format.list(&page.events, &["seq", "at", "kind", "entry"], row, |event| event.seq.to_string())?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// A row of a history for people; `--format jsonl` has it whole.
fn shorten(entry: &str) -> String {
    const CHARS: usize = 160;
    if entry.chars().count() <= CHARS {
        return entry.to_owned();
    }
    entry.chars().take(CHARS).chain(['…']).collect()
}

async fn tasks(client: &Client, format: Format, job: &str) -> Result<()> {
    let mut cursor = None;
    loop {
        let filter = TasksFilter { limit: Some(PAGE), cursor, ..TasksFilter::default() };
        let page = client.tasks(job, &filter).await?;
        let row = |task: &TaskView| {
            vec![
                task.task.to_string(),
                format!("{:?}", task.state).to_lowercase(),
                task.worker.clone().unwrap_or_default(),
                task.failures.to_string(),
                task.losses.to_string(),
                harmless(task.status.as_deref().unwrap_or_default()),
            ]
        };
        let columns = ["task", "state", "worker", "failures", "losses", "status"];
        format.list(&page.tasks, &columns, row, |task| task.task.to_string())?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn state(text: &str) -> Result<JobState, String> {
    let quoted = serde_json::Value::from(text);
    serde_json::from_value(quoted)
        .map_err(|_| "one of planning, running, committing, succeeded, failed, cancelled".to_owned())
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| harmless(line)).collect::<Vec<_>>().join("\n")
}

/// The first running tasks of a job, for people: what they say.
async fn running(client: &Client, format: Format, job: &JobView) -> Result<Vec<TaskView>> {
    if job.state != JobState::Running || !format.is_for_people() {
        return Ok(Vec::new());
    }
    let state = Some(TaskState::Running);
    let filter = TasksFilter { limit: Some(STATUSES), state, ..TasksFilter::default() };
    Ok(client.tasks(&job.id.to_string(), &filter).await?.tasks)
}

fn describe(job: &JobView, running: &[TaskView]) -> String {
    let mut text = vec![
        format!("id         {}", job.id),
        format!("name       {}", harmless(&job.name)),
        format!("state      {}", job.state.word()),
        format!("submitted  {}", job.submitted_at),
        format!("took       {}", duration(job.elapsed_ms)),
        format!("input      {} files, {}", grouped(job.input.files), size(job.input.bytes)),
    ];
    for stage in &job.stages {
        text.push(describe_stage(stage));
        text.extend(stage.spread.iter().flat_map(|spread| describe_spread(stage.step, spread)));
    }
    text.extend(running.iter().filter_map(|task| {
        let (status, worker) = (task.status.as_deref()?, task.worker.as_deref().unwrap_or_default());
        Some(format!("{:<10} on {}: {}", task.task.to_string(), harmless(worker), harmless(status)))
    }));
    if let Some(output) = &job.output {
        let (records, bytes) = (grouped(output.records), size(output.bytes));
        text.push(format!("output     {} ({records} records, {bytes}, {} parts)", harmless(&output.url), output.parts));
    }
    if let Some(failure) = &job.failure {
        text.push(format!("failure    {}", harmless(&failure.message)));
    }
    text.extend(job.counters.iter().map(|(name, value)| format!("counter    {} = {value}", harmless(name))));
    text.join("\n")
}

/// Least, median and most of what the partitions have, and which has most.
fn describe_spread(step: u16, spread: &SpreadView) -> Vec<String> {
    let of = |numbers: [u64; 3], write: fn(u64) -> String| numbers.map(write).join(" / ");
    let SpreadView { partitions, records, bytes, hottest } = spread;
    let (records, bytes) = (of(*records, grouped), of(*bytes, size));
    let line = format!(
        "{:<10} step {step}: {records} records, {bytes}: least / median / most of {partitions}; most in partition {}",
        "partitions", hottest.partition
    );
    let hot = spread.hot(step).map(|hot| format!("{:<10} {hot}", "skew"));
    std::iter::once(line).chain(hot).collect()
}

fn describe_stage(stage: &StageView) -> String {
    format!(
        "{:<10} step {}: {}/{} won, {} running, {} queued, {} failures, {} lost; {} records in, {} out, {}{}",
        stage.stage.to_string(),
        stage.step,
        stage.won,
        stage.tasks,
        stage.running,
        stage.queued,
        stage.failures,
        stage.losses,
        grouped(stage.records_in),
        grouped(stage.records_out),
        size(stage.output_bytes),
        if stage.maps_next { "; they run the maps of the next step too" } else { "" },
    )
}
