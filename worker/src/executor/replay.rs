//! Runs one task of a job once more, for somebody who wants to see what it does: under a grant that only reads, on the
//! caller's thread, with what it worked with left behind.
//!
//! User code runs as this user, without a sandbox and without a supervisor: nothing ends it but the caller.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gristmill_client::Endpoint;
use gristmill_common::{Reason, TaskName, WorkerId};

use super::attempt::{Attempts, Setback};
use super::protocol::Hello;
use crate::command::{SCRIPT, STDIN, STDOUT, Trace};
use crate::position::Position;
use crate::program::Programs;

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The coordinator.
    pub endpoint: Endpoint,
    /// The token that reads what the task read.
    pub token: String,
    /// The task.
    pub task: TaskName,
    /// An empty directory for what is left behind.
    pub directory: PathBuf,
    /// Where the workers of this host have their state, for map outputs that only they have, and for bundles.
    pub state_dir: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Replayed {
    /// How it ended; records read.
    pub ended: Result<u64, Reason>,
    /// What it wrote to its log: stderr.
    pub log: Vec<u8>,
    /// Of a command: its working directory.
    pub work: Option<PathBuf>,
    /// Of a command: all that it reads on stdin, a file.
    pub stdin: Option<PathBuf>,
    /// Of a command: what it printed, a file.
    pub stdout: Option<PathBuf>,
    /// Of a command: a script that starts it once more on the same input.
    pub script: Option<PathBuf>,
}

/// Runs the task. Blocks; `cancel` ends it.
///
/// # Errors
/// When the directory cannot be used.
pub fn replay(order: &Replay, programs: &Programs, cancel: &Arc<AtomicBool>) -> io::Result<Replayed> {
    let scratch = order.directory.join(".scratch");
    std::fs::create_dir_all(&scratch)?;
    std::fs::create_dir_all(&order.state_dir)?;
    let hello = Hello {
        url: order.endpoint.address(),
        pin: order.endpoint.pin,
        plain_allowed: order.endpoint.allows_plain_http(),
        direct: true,
        packs: true,
        worker: WorkerId(uuid::Uuid::nil()),
        // This user may read here whatever this user may read.
        roots: vec![PathBuf::from("/")],
        state_dir: order.state_dir.clone(),
        outputs: scratch.join("outputs"),
        scratch: scratch.clone(),
        sandbox: None,
    };
    let mut attempts = Attempts::new(&hello, programs, Arc::new(Position::in_memory()), Arc::clone(cancel), None)?;
    let (ended, log) = run(&mut attempts, order);
    let left = |name: &str| Some(order.directory.join(name)).filter(|path| path.exists());
    let _ = std::fs::remove_dir_all(scratch);
    Ok(Replayed { ended, log, work: left("work"), stdin: left(STDIN), stdout: left(STDOUT), script: left(SCRIPT) })
}

fn run(attempts: &mut Attempts<'_>, order: &Replay) -> (Result<u64, Reason>, Vec<u8>) {
    let trace = |records| Trace { directory: order.directory.clone(), records };
    attempts.trace = Some(trace(true));
    let batch = match attempts.prepare(&order.token) {
        Ok(batch) => batch,
        Err(setback) => return (Err(reason(setback)), Vec::new()),
    };
    if batch.is_command()
        && let (Err(setback), log) = attempts.replay(&batch, order.task.index)
    {
        return (Err(reason(setback)), log);
    }
    attempts.trace = Some(trace(false));
    let (ended, log) = attempts.replay(&batch, order.task.index);
    (ended.map(|done| done.records_in).map_err(reason), log)
}

fn reason(setback: Setback) -> Reason {
    match setback {
        Setback::Failed(reason) => reason,
        Setback::NotNow => {
            let message =
                "what the task reads is not all there now: maps are being made again, or their outputs are gone";
            Reason::Worker { message: message.to_owned() }
        }
    }
}
