//! The coordinator alone, for small images.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use gristmill_coordinator::config::CoordinatorArgs;
use gristmill_coordinator::server;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The Gristmill coordinator: splits jobs into tasks and hands them to workers that poll it
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("GRISTMILL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(arguments.coordinator) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: CoordinatorArgs) -> anyhow::Result<()> {
    let config = arguments.config(default_data_dir()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            stop.cancel();
        });
        let greet = |running: &server::Running| {
            // A closed standard error must not keep a coordinator from running.
            let _ = std::io::stderr().write_all(running.greeting().as_bytes());
        };
        server::run(config, shutdown, greet).await.context("the coordinator ended")
    })
}

fn default_data_dir() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    Ok(state.context("neither XDG_STATE_HOME nor HOME is set: give --data-dir")?.join("gristmill").join("coordinator"))
}
