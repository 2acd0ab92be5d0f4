//! A whole cluster in one process: the real coordinator and a worker over the same HTTP path.
//!
//! For one job it is a throw-away: any free port, a journal in memory, executors that are threads (a program that aborts
//! ends the process). For `dev` it is a real one: a port to talk to, a durable journal, executors that are processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gristmill_client::{Client, Endpoint, EndpointError};
use gristmill_common::program::Kind;
use gristmill_common::{Digest, JobId};
use gristmill_coordinator::{CoordinatorConfig, JournalKind, Running};
use gristmill_worker::control_groups::ControlGroups;
use gristmill_worker::{Executors, Programs, Sandbox, WorkerConfig, WorkerError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scratch::Scratch;

/// What an embedded cluster may do.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedConfig {
    /// Directories that may be read and written.
    pub roots: Vec<PathBuf>,
    /// Tasks run at a time; one per processor when absent.
    pub slots: Option<u32>,
    /// Where others find it; for one job of this process when absent.
    pub serve: Option<Serve>,
}

/// How an embedded cluster serves others.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its state is kept; a temporary directory that goes with it when absent.
    pub data_dir: Option<PathBuf>,
}

/// A running cluster.
pub struct Embedded {
    coordinator: Running,
    worker: JoinHandle<Result<(), WorkerError>>,
    shutdown: CancellationToken,
    client: Client,
    state: PathBuf,
    _temporary: Option<Scratch>,
}

impl Embedded {
    /// Starts the coordinator and its worker.
    ///
    /// # Errors
    /// If there is no directory for its state, or the port is taken.
    pub async fn start(config: EmbeddedConfig, programs: Programs) -> Result<Self> {
        let kept = config.serve.as_ref().and_then(|serve| serve.data_dir.clone());
        let temporary = match &kept {
            Some(_) => None,
            None => Some(Scratch::new(&std::env::temp_dir()).context("no temporary directory")?),
        };
        let state = kept.or_else(|| temporary.as_ref().map(|scratch| scratch.path().to_path_buf())).unwrap_or_default();
        let coordinator = gristmill_coordinator::start(coordinator_config(&config, &state)).await?;
        let endpoint =
            |token: &str| Ok::<_, EndpointError>(Endpoint::new(coordinator.url())?.with_token(Some(token.to_owned())));
        let worker = worker_config(&config, endpoint(coordinator.worker_token())?, &state)?;
        let shutdown = CancellationToken::new();
        let client = Client::new(endpoint(coordinator.client_token())?)?;
        let worker = tokio::spawn(gristmill_worker::run(worker, programs, shutdown.clone()));
        Ok(Self { coordinator, worker, shutdown, client, state, _temporary: temporary })
    }

    /// Returns a client of the cluster.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns its coordinator.
    #[must_use]
    pub fn coordinator(&self) -> &Running {
        &self.coordinator
    }

    /// Returns the directory that holds the coordinator's tokens, journal and store.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.state.join("coordinator")
    }

    /// Gives up the commit of a job that waits for something, and takes away what it left; see
    /// [`Running::give_up_commit`]. Returns why it waited, `None` if it goes on.
    ///
    /// # Errors
    /// If what it left cannot be taken away.
    pub async fn give_up_commit(&self, job: JobId) -> Result<Option<String>> {
        let given_up = self.coordinator.give_up_commit(job).await;
        given_up.map_err(|problem| {
            anyhow::anyhow!("{}", problem.detail).context("an output that is not whole stays hidden")
        })
    }

    /// Waits until the worker or the coordinator ends by itself, which only a failure makes them do.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.coordinator.failed() => error.into(),
            ended = &mut self.worker => match ended {
                Ok(Ok(())) => anyhow::anyhow!("the worker stopped"),
                Ok(Err(error)) => anyhow::Error::new(error).context("the worker ended"),
                Err(error) => anyhow::Error::new(error).context("the worker ended"),
            },
        }
    }

    /// Stops the worker and the coordinator and deletes their state, unless it is to be kept.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // What runs is not waited for: it is thrown away, or runs again when the state is used again.
        self.worker.abort();
        let _ = self.worker.await;
        let _ = self.coordinator.stop().await;
    }
}

fn coordinator_config(config: &EmbeddedConfig, state: &Path) -> CoordinatorConfig {
    let mut coordinator = CoordinatorConfig::new(state.join("coordinator"));
    coordinator.roots.clone_from(&config.roots);
    match &config.serve {
        Some(serve) => {
            coordinator.listen = serve.listen;
            coordinator.announce = true;
        }
        None => {
            coordinator.listen = ([127, 0, 0, 1], 0).into();
            // Nothing outlives the process, so nothing has to survive it: no fsync stands in the way of a small job.
            coordinator.journal = JournalKind::Memory;
            // A reserve is for those who come later; here nobody does, and a disk that is really full says so itself.
            coordinator.store.reserve_bytes = 0;
            coordinator.store.is_durable = false;
        }
    }
    coordinator
}

fn worker_config(config: &EmbeddedConfig, endpoint: Endpoint, state: &Path) -> Result<WorkerConfig> {
    let mut worker = WorkerConfig::new(endpoint, state.join("worker"));
    // Those who read what it makes are here, or get it by way of the coordinator here.
    worker.packs = false;
    worker.slots = config.slots.unwrap_or_else(crate::app::processors);
    worker.roots.clone_from(&config.roots);
    // Whoever starts this may run anything on this machine anyway.
    worker.kinds.push(Kind::Command);
    if config.serve.is_some() {
        worker.executors = Executors::this_executable()?;
        worker.groups = ControlGroups::find(None).ok().flatten();
        if gristmill_worker::sandbox::is_supported() {
            // As on any worker; what jobs may write here, their commands may.
            worker.sandbox = Some(Sandbox::new(&worker.state_dir, &[], &config.roots));
        }
    } else {
        worker.executors = Executors::Threads;
        worker.reserve_bytes = 0;
        // Its only worker is this process: there is no other build to be told from.
        worker.executable = Some(Digest::of(b"this process"));
    }
    Ok(worker)
}
