//! Runs one executor: starts it, talks to it, and says how it ended.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::{Place, Reason};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::config::Executors;
use crate::executor::{self, ChannelLink, Hello, LINE_BYTES, Order, POSITION_FILE, Reply, left_behind};
use crate::log::AttemptLog;
use crate::position::Position;
use crate::program::Programs;
use crate::signals;

/// Stack of an executor thread: what the main thread of a process has by default.
const STACK_BYTES: usize = 8 << 20;

/// Makes executors.
#[derive(Clone)]
pub(crate) struct Maker {
    pub(crate) executors: Executors,
    pub(crate) programs: Programs,
    /// Its scratch directory is replaced by one for each executor.
    pub(crate) hello: Hello,
}

/// A running executor.
pub(crate) struct Host {
    pub(crate) position: Arc<Position>,
    scratch: PathBuf,
    kind: Kind,
}

enum Kind {
    Process(Box<Process>),
    Thread { orders: mpsc::UnboundedSender<Order>, replies: mpsc::UnboundedReceiver<Reply>, cancel: Arc<AtomicBool> },
}

struct Process {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// What was read of a reply that has not ended.
    line: Vec<u8>,
    /// Of the machine, when it was started.
    oom_kills: u64,
}

impl Maker {
    /// Starts an executor that works in `scratch`, which must not exist.
    pub(crate) async fn start(&self, scratch: PathBuf) -> io::Result<Host> {
        fs::create_dir_all(&scratch)?;
        let hello = Hello { scratch: scratch.clone(), ..self.hello.clone() };
        match &self.executors {
            Executors::Processes { argv } => start_process(argv, hello, scratch).await,
            Executors::Threads => start_thread(self.programs.clone(), hello, scratch),
        }
    }
}

async fn start_process(argv: &[OsString], hello: Hello, scratch: PathBuf) -> io::Result<Host> {
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no command for executors"))?;
    // Both sides map the same file; it exists before the executor looks for it.
    let position = Arc::new(Position::at_path(&scratch.join(POSITION_FILE))?);
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    // The join line with the worker token may have come through the environment.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GRISTMILL_")) {
        command.env_remove(name);
    }
    let mut child = Command::from(command).kill_on_drop(true).spawn()?;
    let (Some(orders), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("the executor has no pipes"));
    };
    let replies = BufReader::new(replies);
    let process = Process { child, orders, replies, line: Vec::new(), oom_kills: oom_kills() };
    let mut host = Host { position, scratch, kind: Kind::Process(Box::new(process)) };
    host.order(Order::Hello(Box::new(hello))).await?;
    Ok(host)
}

fn start_thread(programs: Programs, hello: Hello, scratch: PathBuf) -> io::Result<Host> {
    let position = Arc::new(Position::in_memory());
    let cancel = Arc::new(AtomicBool::new(false));
    let (orders, ordered) = mpsc::unbounded_channel();
    let (reply, replies) = mpsc::unbounded_channel();
    let (positions, cancelled) = (Arc::clone(&position), Arc::clone(&cancel));
    std::thread::Builder::new().name("executor".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let mut link = ChannelLink { orders: ordered, replies: reply };
        if let Err(error) = executor::serve(&mut link, &hello, &programs, positions, cancelled, None) {
            tracing::error!(%error, "the executor cannot work");
        }
        // The thread may outlive its host by far; nobody else knows when its files are free.
        let _ = fs::remove_dir_all(&hello.scratch);
    })?;
    Ok(Host { position, scratch, kind: Kind::Thread { orders, replies, cancel } })
}

impl Host {
    /// Sends an order.
    pub(crate) async fn order(&mut self, order: Order) -> io::Result<()> {
        match &mut self.kind {
            Kind::Process(process) => {
                let mut line = serde_json::to_vec(&order)?;
                line.push(b'\n');
                process.orders.write_all(&line).await
            }
            Kind::Thread { orders, .. } => orders.send(order).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits for the next reply; `None` when the executor is gone. May be cancelled.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        match &mut self.kind {
            Kind::Process(process) => {
                let Process { replies, line, .. } = &mut **process;
                let limit = LINE_BYTES.saturating_sub(line.len() as u64);
                // What was read before a cancellation stays in `line`.
                replies.take(limit).read_until(b'\n', line).await.ok()?;
                let reply = serde_json::from_slice(line).ok();
                line.clear();
                reply
            }
            Kind::Thread { replies, .. } => replies.recv().await,
        }
    }

    /// Ends the executor, whatever it is doing, and returns what its attempt printed. A thread cannot be ended: it is asked to,
    /// and left alone.
    pub(crate) async fn kill(self) -> AttemptLog {
        match self.kind {
            Kind::Process(mut process) => {
                kill_group(&process.child);
                let _ = process.child.wait().await;
                let printed = left_behind(&self.scratch);
                let _ = fs::remove_dir_all(&self.scratch);
                printed
            }
            Kind::Thread { cancel, .. } => {
                cancel.store(true, Ordering::Relaxed);
                AttemptLog::default()
            }
        }
    }

    /// Says how an executor ended that did so by itself, and what its attempt printed.
    pub(crate) async fn death(self, at: Option<Place>) -> (Reason, AttemptLog) {
        match self.kind {
            Kind::Process(mut process) => {
                // What it started may still run. Before the wait: afterwards its number may be another's.
                kill_group(&process.child);
                let status = process.child.wait().await;
                let printed = left_behind(&self.scratch);
                let _ = fs::remove_dir_all(&self.scratch);
                let reason = match status {
                    Ok(status) => reason_of(status, oom_kills() > process.oom_kills, at),
                    Err(error) => Reason::Worker { message: format!("cannot tell how the executor ended: {error}") },
                };
                (reason, printed)
            }
            Kind::Thread { .. } => {
                let message = "the executor's thread ended; the worker's log says why".to_owned();
                (Reason::Worker { message }, AttemptLog::default())
            }
        }
    }
}

/// The group outlives its leader as long as it has members, and its number is not reused before.
fn kill_group(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = id {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn reason_of(status: ExitStatus, oom: bool, at: Option<Place>) -> Reason {
    match (status.signal(), status.code()) {
        (Some(9), _) if oom => {
            let message = "the kernel killed the executor because memory ran out; fewer --slots or a smaller sort_budget_bytes need less";
            Reason::OutOfMemory { message: message.to_owned(), at }
        }
        (Some(signal), _) => Reason::Crashed { message: signals::describe(signal), at },
        (None, Some(code)) => Reason::Crashed { message: format!("exit code {code}"), at },
        (None, None) => Reason::Crashed { message: "it ended without a status".to_owned(), at },
    }
}

/// Processes of this machine that the kernel killed for want of memory, since it started; 0 where it does not say.
fn oom_kills() -> u64 {
    let text = fs::read_to_string(Path::new("/proc/vmstat")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
