//! Who this worker is: what it tells the coordinator about itself.

use std::io::{self, Read};
use std::sync::OnceLock;

use gristmill_common::program::Kind;
use gristmill_common::shuffle::ShuffleAddress;
use gristmill_common::wire::WorkerAbout;
use gristmill_common::{Digest, SessionId};
use gristmill_storage::Roots;
use sha2::{Digest as _, Sha256};

use super::clock::fresh_id;
use crate::config::WorkerConfig;
use crate::exchange::Identity;
use crate::program::Programs;
use crate::state_dir::{StateDir, host_identity};

static EXECUTABLE: OnceLock<Digest> = OnceLock::new();

/// Returns the hash of this executable: two workers with the same one run the same programs. Read once.
///
/// # Errors
/// When the executable cannot be read.
pub fn executable_digest() -> io::Result<Digest> {
    if let Some(&digest) = EXECUTABLE.get() {
        return Ok(digest);
    }
    let path = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            length => hash.update(&chunk[..length]),
        }
    }
    Ok(*EXECUTABLE.get_or_init(|| Digest(hash.finalize().into())))
}

pub(crate) fn of(
    config: &WorkerConfig,
    state: &StateDir,
    roots: &Roots,
    programs: &Programs,
    shuffle: Option<ShuffleAddress>,
) -> io::Result<Identity> {
    let name = config.name.clone().unwrap_or_else(|| format!("{}-{}", host_name(), state.number()));
    let host = match &config.host {
        Some(host) => host.clone(),
        None => host_identity(&config.state_dir)?,
    };
    let about = WorkerAbout {
        name,
        host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: config.slots,
        programs: programs.names(),
        executable: match config.executable {
            Some(executable) => executable,
            None => executable_digest()?,
        },
        roots: roots.allowed().map(|root| root.display().to_string()).collect(),
        kinds: kinds(config),
        labels: config.labels.clone(),
        memory_bytes: config.memory_bytes,
        shuffle,
    };
    let session = SessionId(fresh_id());
    Ok(Identity { worker: state.id(), session, incarnation: state.incarnation(), about })
}

/// WebAssembly is on wherever it is built in: it is sandboxed.
fn kinds(config: &WorkerConfig) -> Vec<Kind> {
    let mut kinds = config.kinds.clone();
    if cfg!(feature = "wasm") && !kinds.contains(&Kind::Wasm) {
        kinds.push(Kind::Wasm);
    }
    kinds
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
