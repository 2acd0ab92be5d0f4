//! A whole coordinator: data directory, journal, driver and listener, started and stopped together.
//!
//! Beyond loopback it speaks TLS. Stopping is graceful: parked polls are answered, waits end, requests in flight get
//! [`limits::DRAIN_DEADLINE_MS`], then what the driver handled is made durable. When the driver fails nothing is answered any
//! more and the process is to end: the next start reads what is on disk.

mod give_up;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_client::Endpoint;
use gristmill_client::endpoint_file::{self, EndpointFile};
use gristmill_common::{Digest, TokenSecret, limits};
use gristmill_listen::outside_host;
use gristmill_listen::tls::{self, Tls, TlsError};
use gristmill_storage::{Roots, StorageError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{App, Hosts, Parts};
use crate::auth::Keys;
use crate::config::{ConfigError, CoordinatorConfig, JournalKind};
use crate::data_dir::{DataDir, DataDirError};
use crate::driver::{self, Driver, DriverError, Surroundings};
use crate::fresh;
use crate::journal::memory::MemoryJournal;
use crate::journal::sqlite::SqliteJournal;
use crate::journal::{Journal, JournalError};
use crate::scheduler::SchedulerConfig;
use crate::store::{Store, StoreError};

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The flags do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An allowed directory cannot be used.
    #[error("--allow-path: {0}")]
    Roots(#[from] StorageError),
    /// There is no usable certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The driver cannot start.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {error}; give another --listen or --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The operating system refused something.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// Why a running coordinator ended by itself, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The driver failed; nothing was answered since.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Listener(String),
}

/// A coordinator that runs in this process until it is stopped.
pub struct Running {
    address: SocketAddr,
    url: String,
    client_token: String,
    worker_token: String,
    pin: Option<Digest>,
    join_url: String,
    join_pin: Option<Digest>,
    announced: Option<PathBuf>,
    stop: CancellationToken,
    listener: gristmill_listen::Handle,
    serving: Option<JoinHandle<io::Result<()>>>,
    driver: Driver,
    surroundings: Surroundings,
    // Held for its lock, until all else has ended.
    data: DataDir,
}

/// Starts a coordinator. Returns when it listens and its epoch is durable.
///
/// # Errors
/// Why it does not start.
pub async fn start(config: CoordinatorConfig) -> Result<Running, StartError> {
    config.check()?;
    tls::install_provider();
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || Opened::open(&opening)).await;
    let opened = opened.map_err(|_| DriverError::Panicked("opening the data directory"))??;
    let Opened { data, client_token, worker_token, grants, journal, store, roots, tls, listener, address } = opened;

    let scheduler = SchedulerConfig {
        lease_ms: config.lease_ms,
        retain_failed_ms: config.retain_failed_ms,
        ..SchedulerConfig::default()
    };
    let surroundings = Surroundings::new(store.clone(), Arc::clone(&roots));
    let driver = driver::start(journal, grants.clone(), scheduler, surroundings.clone()).await?;
    let stop = CancellationToken::new();
    let (own_name, own_address) = tls::own_names();
    let mut names: Vec<String> = config.public_host()?.into_iter().collect();
    if address.ip().is_unspecified() {
        names.push(own_name.clone());
    }
    let app = App::new(Parts {
        driver: driver.handle.clone(),
        store,
        roots,
        keys: Keys::new(&client_token, &worker_token, grants),
        hosts: Hosts::new(address, names),
        epoch: driver.epoch,
        stop: stop.clone(),
    });
    let pin = tls.as_ref().map(|tls| tls.pin);
    let handle = gristmill_listen::Handle::new();
    let serving = gristmill_listen::serve(listener, tls, app.router(), limits::CONNECTIONS, handle.clone())?;

    let scheme = if pin.is_some() { "https" } else { "http" };
    let outside = outside_host(address.ip(), own_address, own_name);
    let running = Running {
        address,
        url: format!("{scheme}://{}", SocketAddr::new(inside_address(address.ip()), address.port())),
        client_token,
        worker_token,
        pin,
        join_url: config.public_url.unwrap_or_else(|| format!("{scheme}://{outside}:{}", address.port())),
        // What is in front has a certificate of its own.
        join_pin: pin.filter(|_| !config.tls_terminated_in_front),
        announced: config.announce.then(endpoint_file::own_directory).flatten(),
        stop,
        listener: handle,
        serving: Some(serving),
        driver,
        surroundings,
        data,
    };
    running.leave_endpoint();
    Ok(running)
}

/// Runs a coordinator until the token is cancelled or it fails. `ready` is called once it listens.
///
/// # Errors
/// Why it did not start, or why it ended by itself.
pub async fn run(
    config: CoordinatorConfig,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Running),
) -> Result<(), RunError> {
    let mut running = start(config).await?;
    ready(&running);
    tokio::select! {
        () = shutdown.cancelled() => running.stop().await,
        error = running.failed() => {
            running.listener.shutdown();
            Err(error)
        }
    }
}

impl Running {
    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL under which this machine reaches it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the token that opens the routes of users.
    #[must_use]
    pub fn client_token(&self) -> &str {
        &self.client_token
    }

    /// Returns the token that opens the poll.
    #[must_use]
    pub fn worker_token(&self) -> &str {
        &self.worker_token
    }

    /// Returns the SHA-256 of its certificate, when it speaks TLS.
    #[must_use]
    pub fn pin(&self) -> Option<Digest> {
        self.pin
    }

    /// Returns what another machine needs to join: `https://HOST:4750#<hash of the certificate>.<worker token>`.
    #[must_use]
    pub fn join_line(&self) -> String {
        let pin = self.join_pin.map(|pin| pin.to_string()).unwrap_or_default();
        format!("{}#{pin}.{}", self.join_url, self.worker_token)
    }

    /// Returns how a client of this machine talks to it.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        let endpoint = Endpoint::new(&self.url).ok()?;
        Some(endpoint.with_token(Some(self.client_token.clone())).with_pin(self.pin))
    }

    /// Returns what a person who started it wants to know.
    #[must_use]
    pub fn greeting(&self) -> String {
        let (url, data, join) = (&self.url, self.data.path().display(), self.join_line());
        let listening = if self.address.ip().is_unspecified() {
            format!("listening on {}, which is {url} here and {} elsewhere", self.address, self.join_url)
        } else {
            format!("listening on {url}")
        };
        format!(
            "{listening}, data in {data}\n\
             workers join with:\n  gristmill worker --join '{join}'\n"
        )
    }

    /// Waits until it ends by itself, which only a failure makes it do.
    pub async fn failed(&mut self) -> RunError {
        tokio::select! {
            error = self.driver.failed() => error.into(),
            error = listener_failed(&mut self.serving) => RunError::Listener(error),
        }
    }

    /// Stops it: answers what is held, lets requests in flight end, makes durable what was handled.
    ///
    /// # Errors
    /// When the journal failed meanwhile.
    pub async fn stop(self) -> Result<(), RunError> {
        self.stop.cancel();
        self.driver.handle.quiet();
        self.listener.graceful_shutdown(Some(Duration::from_millis(limits::DRAIN_DEADLINE_MS)));
        if let Some(serving) = self.serving
            && let Err(error) = serving.await.map_err(io::Error::other).flatten()
        {
            tracing::warn!(%error, "the listener did not end well");
        }
        self.driver.stop().await?;
        if let Some(directory) = &self.announced
            && let Err(error) = EndpointFile::remove(directory, self.address.port(), std::process::id())
        {
            tracing::warn!(%error, "the endpoint file stays");
        }
        Ok(())
    }

    fn leave_endpoint(&self) {
        let Some(directory) = &self.announced else { return };
        let (url, token) = (self.url.clone(), self.client_token.clone());
        let file = EndpointFile { url, token, pin: self.pin, pid: std::process::id() };
        if let Err(error) = file.write(directory, self.address.port()) {
            let directory = directory.display();
            tracing::warn!(%error, %directory, "the command line will not find this coordinator by itself: give it --url and a token");
        }
    }
}

/// Directories that no job may read or write even beneath an allowed one: journal, tokens, and the state of this user's
/// coordinators and workers.
fn own_directories(config: &CoordinatorConfig, data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut own = vec![data.to_path_buf()];
    if let Some(endpoints) = config.announce.then(endpoint_file::own_directory).flatten() {
        std::fs::create_dir_all(&endpoints)?;
        own.extend(endpoints.parent().map(Path::to_path_buf));
    }
    Ok(own)
}

/// Waits until the listener ends by itself; says so once.
async fn listener_failed(serving: &mut Option<JoinHandle<io::Result<()>>>) -> String {
    let Some(running) = serving else { return std::future::pending().await };
    let ended = running.await.map_err(io::Error::other).flatten();
    *serving = None;
    ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned())
}

/// What is opened before anything runs.
struct Opened {
    data: DataDir,
    client_token: String,
    worker_token: String,
    grants: TokenSecret,
    journal: Box<dyn Journal>,
    store: Store,
    roots: Arc<Roots>,
    tls: Option<Tls>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Opened {
    fn open(config: &CoordinatorConfig) -> Result<Self, StartError> {
        let data = DataDir::open(&config.data_dir)?;
        // The address first: whoever starts a second one by mistake learns it before anything is touched.
        let failed = |error| StartError::Listen { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let journal: Box<dyn Journal> = match config.journal {
            JournalKind::Sqlite => Box::new(SqliteJournal::open(data.path(), fresh::cluster())?),
            JournalKind::Memory => Box::new(MemoryJournal::new(fresh::cluster())),
        };
        Ok(Self {
            client_token: data.token("client")?,
            worker_token: data.token("worker")?,
            grants: data.grant_key()?,
            journal,
            store: Store::open_with(data.path(), config.store)?,
            roots: Arc::new(Roots::new(&config.roots, own_directories(config, data.path())?)?),
            tls: open_tls(config, &data, address)?,
            listener,
            address,
            data,
        })
    }
}

fn open_tls(config: &CoordinatorConfig, data: &DataDir, address: SocketAddr) -> Result<Option<Tls>, TlsError> {
    if let Some((certificate, key)) = &config.certificate {
        return Tls::load(certificate, key).map(Some);
    }
    if !config.speaks_tls() {
        return Ok(None);
    }
    let (name, own_address) = tls::own_names();
    let mut names: Vec<String> = [&name, "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(Some(address.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback()).map(|ip| ip.to_string()));
    names.extend(own_address.map(|address| address.to_string()));
    names.extend(config.public_host().ok().flatten());
    Tls::self_signed(data.path(), names).map(Some)
}

/// The address under which this machine reaches a listener.
fn inside_address(bound: IpAddr) -> IpAddr {
    match bound {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
