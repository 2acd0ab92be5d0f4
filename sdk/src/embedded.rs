//! A whole cluster in one process: the real coordinator on 127.0.0.1:0 and a worker over the same HTTP path.
//!
//! Its state is a temporary directory that goes with it. Executors are threads: a program that aborts ends the process.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gristmill_client::{Client, Endpoint, EndpointError};
use gristmill_common::Digest;
use gristmill_coordinator::{CoordinatorConfig, JournalKind, Running};
use gristmill_worker::{Executors, Programs, WorkerConfig, WorkerError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What an embedded cluster may do.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedConfig {
    /// Directories that may be read and written.
    pub roots: Vec<PathBuf>,
    /// Tasks run at a time; one per processor when absent.
    pub slots: Option<u32>,
}

/// A running cluster.
pub struct Embedded {
    coordinator: Running,
    worker: JoinHandle<Result<(), WorkerError>>,
    shutdown: CancellationToken,
    client: Client,
    _state: tempfile::TempDir,
}

impl Embedded {
    /// Starts the coordinator and its worker.
    ///
    /// # Errors
    /// If there is no temporary directory or no free port.
    pub async fn start(config: EmbeddedConfig, programs: Programs) -> Result<Self> {
        let state = tempfile::Builder::new().prefix("gristmill-").tempdir().context("no temporary directory")?;
        let mut coordinator = CoordinatorConfig::new(state.path().join("coordinator"));
        coordinator.listen = ([127, 0, 0, 1], 0).into();
        coordinator.roots.clone_from(&config.roots);
        // Nothing outlives the process, so nothing has to survive it: no fsync stands in the way of a small job.
        coordinator.journal = JournalKind::Memory;
        let coordinator = gristmill_coordinator::start(coordinator).await?;
        let endpoint =
            |token: &str| Ok::<_, EndpointError>(Endpoint::new(coordinator.url())?.with_token(Some(token.to_owned())));
        let mut worker = WorkerConfig::new(endpoint(coordinator.worker_token())?, state.path().join("worker"));
        worker.slots = config.slots.unwrap_or_else(crate::app::processors);
        worker.roots = config.roots;
        worker.executors = Executors::Threads;
        // Its only worker is this process: there is no other build to be told from.
        worker.executable = Some(Digest::of(b"this process"));
        let shutdown = CancellationToken::new();
        let client = Client::new(endpoint(coordinator.client_token())?)?;
        let worker = tokio::spawn(gristmill_worker::run(worker, programs, shutdown.clone()));
        Ok(Self { coordinator, worker, shutdown, client, _state: state })
    }

    /// Returns a client of the cluster.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Stops the worker and the coordinator and deletes their state.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // The state is thrown away: nothing has to be drained.
        self.worker.abort();
        let _ = self.worker.await;
        let _ = self.coordinator.stop().await;
    }
}
