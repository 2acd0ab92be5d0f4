//! `worker ls` and `worker drain`; serving itself is the sdk's command.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use gristmill_client::Client;
use gristmill_common::WorkerId;
use gristmill_sdk::app::connect::Connect;
use gristmill_sdk::app::exit::Exit;
use gristmill_sdk::app::worker as serve;

use crate::table::duration;
use crate::view::{Format, say};

/// Arguments of `worker`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct WorkerLine {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(crate) command: Option<WorkerCommand>,

    /// How to serve.
    #[command(flatten)]
    pub(crate) serve: serve::WorkerArgs,
}

impl WorkerLine {
    /// Says whether the command is to serve.
    pub(crate) fn serves(&self) -> bool {
        self.command.is_none()
    }
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum WorkerCommand {
    /// List the workers that the coordinator knows
    Ls(LsArgs),
    /// Let a worker finish what it runs, hand over what it holds, and stop
    Drain(DrainArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    connect: Connect,
    /// Id of the worker, a prefix of it, or its name
    worker: String,
}

/// Lists or drains.
pub(crate) async fn run(command: &WorkerCommand) -> Result<Exit> {
    match command {
        WorkerCommand::Ls(args) => ls(args).await?,
        WorkerCommand::Drain(args) => {
            let client = args.connect.client()?;
            let worker = find(&client, &args.worker).await?;
            client.drain_worker(worker).await?;
            say(&worker.to_string());
        }
    }
    Ok(Exit::Ok)
}

async fn ls(args: &LsArgs) -> Result<()> {
    let page = args.connect.client()?.workers().await?;
    let header = ["id", "name", "state", "slots", "running", "last poll", "version", "why"];
    let row = |worker: &gristmill_common::api::WorkerView| {
        vec![
            worker.id.to_string(),
            worker.name.clone(),
            worker.state.clone(),
            worker.slots.to_string(),
            worker.running.to_string(),
            duration(worker.last_poll_ms),
            worker.version.clone(),
            worker.why.clone().unwrap_or_default(),
        ]
    };
    args.format.list(&page.workers, &header, row, |worker| worker.id.to_string())
}

async fn find(client: &Client, text: &str) -> Result<WorkerId> {
    let workers = client.workers().await?.workers;
    let matching: Vec<WorkerId> = workers
        .iter()
        .filter(|worker| worker.name == text || worker.id.to_string().starts_with(text))
        .map(|worker| worker.id)
        .collect();
    match matching[..] {
        [worker] => Ok(worker),
        [] => bail!("no worker `{text}`; `gristmill worker ls` lists them"),
        _ => bail!("{} workers match `{text}`: give more of the id", matching.len()),
    }
}
