//! `coordinator`: takes jobs, hands their tasks to workers.

use std::io::Write as _;

use anyhow::Result;
use gristmill_coordinator::{CoordinatorArgs, server};
use gristmill_sdk::app::exit::Exit;
use gristmill_sdk::app::signals;
use gristmill_worker::default_state_dir;
use tokio_util::sync::CancellationToken;

/// Runs the coordinator until it is told to stop.
pub(crate) async fn run(args: CoordinatorArgs) -> Result<Exit> {
    let config = args.config(default_state_dir()?.join("coordinator"))?;
    let shutdown = CancellationToken::new();
    signals::cancel_on_stop(shutdown.clone());
    let greet = |running: &server::Running| {
        // A closed standard error must not keep a coordinator from running.
        let _ = std::io::stderr().write_all(running.greeting().as_bytes());
    };
    server::run(config, shutdown, greet).await?;
    Ok(Exit::Ok)
}
