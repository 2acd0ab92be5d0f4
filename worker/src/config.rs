//! What a worker is started with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use gristmill_client::Endpoint;
use gristmill_common::program::Kind;

use crate::control_groups::ControlGroups;
use crate::sandbox::Sandbox;

/// First argument by which an executable knows that it was started as an executor.
pub(crate) const EXECUTOR_ARGUMENT: &str = "__executor";

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Where the coordinator is, with the worker token.
    pub endpoint: Endpoint,
    /// Directory under which this worker claims a place of its own.
    pub state_dir: PathBuf,
    /// Attempts run at a time.
    pub slots: u32,
    /// Directories from which jobs may read inputs.
    pub roots: Vec<PathBuf>,
    /// Where attempts run.
    pub executors: Executors,
    /// A name for people; the host's when absent.
    pub name: Option<String>,
    /// What workers that share files have in common; found out when absent. Tests set it to make one machine look like many.
    pub host: Option<String>,
    /// Hash of the executable, where the caller knows it or nobody will ask; found out when absent, which takes a while.
    pub executable: Option<gristmill_common::Digest>,
    /// Kinds of programs beside native ones that it runs.
    pub kinds: Vec<Kind>,
    /// What commands may touch; anything that this user may when absent.
    pub sandbox: Option<Sandbox>,
    /// Where commands get control groups; none when absent.
    pub groups: Option<ControlGroups>,
    /// What its operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Memory for all its slots together, in bytes; 0 where it is not known.
    pub memory_bytes: u64,
    /// Where it serves its map outputs to other workers; `None` for nowhere.
    pub shuffle: Option<ShuffleListen>,
    /// Whether map outputs are packed: not where all that read them are on this host.
    pub packs: bool,
    /// Free space of the state directory's disk below which no more work is taken, in bytes.
    pub reserve_bytes: u64,
}

/// Where a worker serves its map outputs to other workers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShuffleListen {
    /// The address to listen on.
    pub address: SocketAddr,
    /// `https://HOST:PORT` as other workers reach it; guessed from the address when absent.
    pub url: Option<String>,
}

/// Where attempts run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Executors {
    /// In a child process for each slot, started by this command line. A program that aborts or hangs ends only its attempt.
    Processes {
        /// Executable and arguments.
        argv: Vec<OsString>,
    },
    /// In threads of this process. A program that aborts ends everything.
    Threads,
}

impl Executors {
    /// Runs this executable again for each slot.
    ///
    /// # Errors
    /// When the system does not tell which executable this is.
    pub fn this_executable() -> io::Result<Self> {
        // By its inode, so that an executable that was replaced meanwhile does not mix two builds.
        let path = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        std::fs::metadata(&path)?;
        Ok(Self::Processes { argv: vec![path.into_os_string(), EXECUTOR_ARGUMENT.into()] })
    }
}

impl WorkerConfig {
    /// Starts from one slot, executor threads, and no directory that may be read.
    #[must_use]
    pub fn new(endpoint: Endpoint, state_dir: PathBuf) -> Self {
        Self {
            endpoint,
            state_dir,
            slots: 1,
            roots: Vec::new(),
            executors: Executors::Threads,
            name: None,
            host: None,
            executable: None,
            kinds: Vec::new(),
            sandbox: None,
            groups: None,
            labels: BTreeMap::new(),
            memory_bytes: 0,
            shuffle: None,
            packs: true,
            reserve_bytes: gristmill_common::limits::WORKER_RESERVE_BYTES,
        }
    }
}

/// Returns `$XDG_STATE_HOME/gristmill`, or `~/.local/state/gristmill`.
///
/// # Errors
/// When neither variable is set.
pub fn default_state_dir() -> io::Result<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.map(|state| state.join("gristmill")).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no state directory: neither XDG_STATE_HOME nor HOME is set; give --state-dir",
        )
    })
}
