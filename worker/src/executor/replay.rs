//! Runs one task of a job once more, for somebody who wants to see what it does: under a grant that only reads, on a thread,
//! with what it worked with left behind.
//!
//! User code runs as this user, without a sandbox. It has as long to show progress as an attempt of its job; native code that
//! then does not look up ends with the caller's process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use gristmill_client::Endpoint;
use gristmill_common::{Reason, TaskName, WorkerId};

use super::attempt::{Attempts, Setback};
use super::protocol::Hello;
use crate::command::{NEXT, SCRIPT, STDIN, STDOUT, Trace};
use crate::position::Position;
use crate::program::Programs;
use crate::supervisor::clock::Stopwatch;

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of the thread: as a main thread has it.
const STACK_BYTES: usize = 8 << 20;
/// How long user code that is to end may take, in microseconds: SIGTERM and five seconds lie in between.
const END_WITHIN_US: u64 = 20_000_000;

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
    /// Of a reduce that runs the next step's map too: the same of that one's command, in a directory.
    pub next: Option<PathBuf>,
}

/// What came of user code, and its log.
type Ran = (Result<u64, Reason>, Vec<u8>);

/// Runs the task. Blocks; `cancel` ends it.
///
/// # Errors
/// When the directory cannot be used, or there is no thread.
pub fn replay(order: &Replay, programs: &Programs, cancel: &Arc<AtomicBool>) -> io::Result<Replayed> {
    let scratch = order.directory.join(".scratch");
    std::fs::create_dir_all(&scratch)?;
    std::fs::create_dir_all(&order.state_dir)?;
    let hello = hello(order, &scratch);
    let position = Arc::new(Position::in_memory());
    let (stop, timeout_ms) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (say, ended) = mpsc::channel();
    {
        let (order, programs, position) = (order.clone(), programs.clone(), Arc::clone(&position));
        let (stop, timeout_ms) = (Arc::clone(&stop), Arc::clone(&timeout_ms));
        std::thread::Builder::new().name("replay".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let ran = Attempts::new(&hello, &programs, position, stop, None)
                .map(|mut attempts| run(&mut attempts, &order, &timeout_ms));
            let _ = say.send(ran);
        })?;
    }
    let (ended, log) = watch(&ended, &position, &timeout_ms, cancel, &stop)?;
    let left = |name: &str| Some(order.directory.join(name)).filter(|path| path.exists());
    let _ = std::fs::remove_dir_all(scratch);
    Ok(Replayed {
        ended,
        log,
        work: left("work"),
        stdin: left(STDIN),
        stdout: left(STDOUT),
        script: left(SCRIPT),
        next: left(NEXT),
    })
}

fn hello(order: &Replay, scratch: &Path) -> Hello {
    Hello {
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
        scratch: scratch.to_owned(),
        sandbox: None,
        groups: None,
    }
}

/// Waits for the end, and brings it about when there is no progress for too long.
fn watch(
    ended: &Receiver<io::Result<Ran>>,
    position: &Position,
    timeout_ms: &AtomicU64,
    cancel: &AtomicBool,
    stop: &AtomicBool,
) -> io::Result<Ran> {
    let (mut still, mut seen, mut late) = (Stopwatch::start(), position.snapshot(), None);
    loop {
        match ended.recv_timeout(LOOK_EVERY) {
            // Whatever ended it, the time it took is why.
            Ok(Ok((_, log))) if late.is_some() => return Ok((late.map_or(Ok(0), Err), log)),
            Ok(ran) => return ran,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the thread of the attempt panicked")),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let (now, after_ms) = (position.snapshot(), timeout_ms.load(Ordering::Relaxed));
        if cancel.load(Ordering::Relaxed) {
            stop.store(true, Ordering::Relaxed);
        } else if late.is_some() && still.elapsed_us() > END_WITHIN_US {
            return Ok((late.map_or(Ok(0), Err), Vec::new()));
        } else if late.is_none() && (after_ms == 0 || now != seen) {
            (still, seen) = (Stopwatch::start(), now);
        } else if late.is_none() && still.elapsed_us() / 1_000 >= after_ms {
            stop.store(true, Ordering::Relaxed);
            (late, still) = (Some(Reason::TimedOut { after_ms, at: None }), Stopwatch::start());
        }
    }
}

fn run(attempts: &mut Attempts<'_>, order: &Replay, timeout_ms: &AtomicU64) -> Ran {
    let trace = |records| Trace { directory: order.directory.clone(), records };
    attempts.trace = Some(trace(true));
    let batch = match attempts.prepare(&order.token) {
        Ok(batch) => batch,
        Err(setback) => return (Err(reason(setback)), Vec::new()),
    };
    timeout_ms.store(batch.progress_timeout_ms(), Ordering::Relaxed);
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
