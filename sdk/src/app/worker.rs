//! `worker`: serves a coordinator with this machine's slots.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use gristmill_common::program::Kind;
use gristmill_common::{limits, quantity};
use gristmill_worker::{Executors, Programs, ShuffleListen, WorkerConfig};
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

    /// Memory for all slots together, in bytes, for jobs that require some (`requires.memory_bytes`)
    #[arg(long, env = "GRISTMILL_MEMORY", value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    pub memory: u64,
}

fn label(text: &str) -> Result<(String, String), String> {
    let fits = |word: &str| !word.is_empty() && word.len() <= limits::LABEL_BYTES;
    match text.split_once('=') {
        Some((name, value)) if fits(name) && fits(value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("write NAME=VALUE, each of 1 to {} bytes", limits::LABEL_BYTES)),
    }
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
    config.slots = args.slots.unwrap_or_else(super::processors);
    config.roots.clone_from(&args.allow_path);
    config.kinds.extend(args.allow_commands.then_some(Kind::Command));
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
