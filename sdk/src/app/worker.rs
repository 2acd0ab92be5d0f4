//! `worker`: serves a coordinator with this machine's slots.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use gristmill_common::program::Kind;
use gristmill_common::{limits, quantity};
use gristmill_worker::control_groups::ControlGroups;
use gristmill_worker::{Executors, Programs, Sandbox, ShuffleListen, WorkerConfig};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::signals;

/// Arguments of `worker`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill worker --join 'https://HOST:4750#<certificate hash>.<worker token>'
  gristmill worker --join http://127.0.0.1:4750#.<worker token> --slots 8

  gristmill worker --join '…' --shuffle-listen 0.0.0.0:0

The coordinator prints the line to paste. The worker only needs to reach it; nothing listens here unless --shuffle-listen
is given. Workers that have it fetch map outputs from one another, over TLS, instead of by way of the coordinator.
SIGTERM drains: what runs is finished and reported, then the worker stops.")]
pub struct WorkerArgs {
    /// The line that the coordinator printed
    #[arg(long, env = "GRISTMILL_JOIN", value_name = "URL", hide_env_values = true)]
    pub join: Option<String>,

    /// Tasks run at a time; one per processor when left out
    #[arg(long, env = "GRISTMILL_SLOTS", value_name = "N")]
    pub slots: Option<u32>,

    /// Directory from which jobs may read inputs; may be repeated, none by default
    #[arg(long, env = "GRISTMILL_ALLOW_PATH", value_name = "DIR", value_delimiter = ':')]
    pub allow_path: Vec<PathBuf>,

    /// Run command programs of jobs, as this user: only where those who submit jobs may do so anyway
    #[arg(long, env = "GRISTMILL_ALLOW_COMMANDS")]
    pub allow_commands: bool,

    /// Directory that commands may read, beside the system's and their own; may be repeated
    #[arg(
        long,
        env = "GRISTMILL_SANDBOX_READ",
        value_name = "DIR",
        value_delimiter = ':',
        requires = "allow_commands"
    )]
    pub sandbox_read: Vec<PathBuf>,

    /// Directory that commands may write; may be repeated
    #[arg(
        long,
        env = "GRISTMILL_SANDBOX_WRITE",
        value_name = "DIR",
        value_delimiter = ':',
        requires = "allow_commands"
    )]
    pub sandbox_write: Vec<PathBuf>,

    /// Let commands touch whatever this user may
    #[arg(long, env = "GRISTMILL_NO_SANDBOX", conflicts_with_all = ["sandbox_read", "sandbox_write"])]
    pub no_sandbox: bool,
    /// A control group (version 2) below which commands get theirs, such as one that systemd delegates; without it they get
    /// them below the worker's own groups, where that is allowed
    #[arg(long, env = "GRISTMILL_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Run commands without control groups: memory and processes are watched instead
    #[arg(long, env = "GRISTMILL_NO_CGROUP", conflicts_with = "cgroup")]
    pub no_cgroup: bool,

    /// Where outputs, unacknowledged reports and the worker's id are kept
    /// [default: $XDG_STATE_HOME/gristmill]
    #[arg(long, env = "GRISTMILL_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Free bytes of the state directory's disk below which no more work is taken
    #[arg(long, env = "GRISTMILL_DISK_RESERVE", value_name = "BYTES", default_value_t = limits::WORKER_RESERVE_BYTES, value_parser = quantity::bytes)]
    pub disk_reserve: u64,

    /// Serve map outputs to other workers that have this flag, at IP:PORT (port 0 for any)
    #[arg(long, env = "GRISTMILL_SHUFFLE_LISTEN", value_name = "ADDRESS")]
    pub shuffle_listen: Option<SocketAddr>,

    /// How other workers reach --shuffle-listen, as https://HOST:PORT; guessed when left out
    #[arg(long, env = "GRISTMILL_SHUFFLE_URL", value_name = "URL", requires = "shuffle_listen")]
    pub shuffle_url: Option<String>,

    /// A name for people; the host's when left out
    #[arg(long)]
    pub name: Option<String>,

    /// What jobs may require of a worker (`requires.labels`); may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Memory for the whole worker, beside the programs of commands, such as 4G: fewer tasks run at a time, and jobs whose
    /// tasks need more for their sort budget, or require more (`requires.memory_bytes`), run elsewhere
    #[arg(long, env = "GRISTMILL_MEMORY", value_name = "BYTES", default_value_t = 0, hide_default_value = true, value_parser = quantity::bytes)]
    pub memory: u64,
}

/// Reads a label.
///
/// # Errors
/// A sentence that says how to write one.
pub fn label(text: &str) -> Result<(String, String), String> {
    let fits = |word: &str| !word.is_empty() && word.len() <= limits::LABEL_BYTES;
    match text.split_once('=') {
        Some((name, value)) if fits(name) && fits(value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("write NAME=VALUE, each of 1 to {} bytes", limits::LABEL_BYTES)),
    }
}

/// Commands read what the worker may read for jobs, too.
fn sandbox(args: &WorkerArgs, state_dir: &Path) -> Option<Sandbox> {
    if !args.allow_commands {
        return None;
    }
    if args.no_sandbox {
        tracing::info!("commands run without a sandbox, as asked for");
        return None;
    }
    if !gristmill_worker::sandbox::is_supported() {
        tracing::warn!("commands run without a sandbox: this kernel has no Landlock, or does not allow it");
        return None;
    }
    tracing::info!("commands run in a sandbox (Landlock); `--no-sandbox` turns it off");
    let read: Vec<PathBuf> = args.allow_path.iter().chain(&args.sandbox_read).cloned().collect();
    Some(Sandbox::new(state_dir, &read, &args.sandbox_write))
}

fn groups(args: &WorkerArgs) -> Result<Option<ControlGroups>> {
    if !args.allow_commands {
        return Ok(None);
    }
    if args.no_cgroup {
        tracing::info!("commands run without control groups, as asked for");
        return Ok(None);
    }
    let named = || args.cgroup.as_deref().unwrap_or(Path::new("")).display().to_string();
    let found = ControlGroups::find(args.cgroup.as_deref());
    let found = found.with_context(|| format!("--cgroup {}: no group can be made there", named()))?;
    match &found {
        Some(groups) => tracing::info!("commands run in {}; `--no-cgroup` turns that off", groups.describe()),
        None => {
            tracing::info!("commands run without control groups: this worker may make none; what they use is watched");
        }
    }
    Ok(found)
}

/// One slot for each processor, or as many as fit into the memory with the default sort budget.
fn slots_in(memory_bytes: u64) -> Result<u32> {
    let processors = super::processors();
    if memory_bytes == 0 {
        return Ok(processors);
    }
    let attempt = limits::SORT_BUDGET_BYTES / 100 * limits::TABLE_MEMORY_PERCENT + limits::ATTEMPT_BYTES;
    let least = limits::WORKER_BYTES + limits::ATTEMPT_BYTES + limits::SORT_BUDGET_MIN_BYTES;
    anyhow::ensure!(
        memory_bytes >= least,
        "--memory is too little for any task: the least is {}M",
        least.div_ceil(1 << 20)
    );
    let slots = memory_bytes.saturating_sub(limits::WORKER_BYTES) / attempt;
    Ok(u32::try_from(slots).unwrap_or(processors).clamp(1, processors))
}

/// Runs the worker until it is drained, refused, or told to stop.
///
/// # Errors
/// If it cannot start, or the coordinator refuses it.
pub async fn run(args: &WorkerArgs, programs: Programs) -> Result<Exit> {
    let join = args.join.as_deref().context(
        "no coordinator: give --join with the line that `gristmill coordinator` printed (or GRISTMILL_JOIN)",
    )?;
    let endpoint = join.parse().context("--join is not a coordinator's join line")?;
    let state_dir = match &args.state_dir {
        Some(dir) => dir.clone(),
        None => gristmill_worker::default_state_dir()?,
    };
    let mut config = WorkerConfig::new(endpoint, state_dir);
    config.slots = args.slots.map_or_else(|| slots_in(args.memory), Ok)?;
    config.roots.clone_from(&args.allow_path);
    config.kinds.extend(args.allow_commands.then_some(Kind::Command));
    config.sandbox = sandbox(args, &config.state_dir);
    config.groups = groups(args)?;
    config.name.clone_from(&args.name);
    config.labels = args.labels.iter().cloned().collect();
    anyhow::ensure!(config.labels.len() <= limits::LABELS, "at most {} labels are allowed", limits::LABELS);
    config.memory_bytes = args.memory;
    config.reserve_bytes = args.disk_reserve;
    config.shuffle = args.shuffle_listen.map(|address| ShuffleListen { address, url: args.shuffle_url.clone() });
    config.executors = Executors::this_executable()?;
    let shutdown = CancellationToken::new();
    signals::cancel_on_stop(shutdown.clone());
    gristmill_worker::run(config, programs, shutdown).await?;
    Ok(Exit::Ok)
}
