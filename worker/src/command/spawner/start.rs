//! Starts a program: its own process group, its limits, its descriptors and nothing else.
//!
//! Unsafe is the hook between fork and exec: there is no other place where limits can be set for the program and not for the
//! spawner. It makes system calls only: no allocation, no lock. And descriptors that are known by their numbers alone.

#![expect(unsafe_code, reason = "the hook between fork and exec; descriptors by their numbers")]
#![expect(clippy::disallowed_methods, reason = "a count of processes is good for a while")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setpriority_process, setrlimit,
};

use super::message::Start;

/// Limits of the kernel, behind those that are watched: they hold between two looks.
pub(super) struct Backstop {
    /// Processes of this user, and when they were counted.
    processes: u64,
    counted: Instant,
    /// As the executor has it; the spawner goes before its programs.
    nice: i32,
}

/// Memory that a process may ask for and not use, beside four times what it may use: interpreters ask for much.
const DATA_BYTES: u64 = 1 << 30;
/// Files that a program may have open.
const OPEN_FILES: u64 = 65_536;

/// How long a count of processes is good for. To look through `/proc` takes longer than to start a program, and the limit has
/// room for twice what a program may start.
const COUNT_EVERY: Duration = Duration::from_secs(1);

impl Backstop {
    /// The kernel counts all processes of a user, so that those that are there already must not count.
    pub(super) fn new(nice: i32) -> Self {
        Self { processes: count(), counted: Instant::now(), nice }
    }

    /// Counts again what may have changed.
    pub(super) fn refresh(&mut self) {
        if self.counted.elapsed() >= COUNT_EVERY {
            (self.processes, self.counted) = (count(), Instant::now());
        }
    }
}

/// Processes and threads of this user.
fn count() -> u64 {
    let uid = rustix::process::getuid().as_raw();
    let mut threads = 0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        use std::os::unix::fs::MetadataExt as _;
        let own = entry.metadata().is_ok_and(|found| found.uid() == uid);
        let tasks = if own { std::fs::read_dir(entry.path().join("task")).ok() } else { None };
        threads += tasks.map_or(0, |tasks| tasks.count() as u64);
    }
    threads
}

/// Keeps descriptors that this process was started with, which whoever started the worker may have left open, from programs.
pub(super) fn keep_descriptors() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|fd| fd.parse().ok()).filter(|fd| *fd > 2) else {
            continue;
        };
        // SAFETY: this process has one thread, so that what is listed stays open while it is listed.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    }
    Ok(())
}

/// Starts the program and returns its process.
pub(super) fn start(
    order: &Start,
    backstop: &Backstop,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<Pid> {
    let mut command = Command::new(&order.program);
    let mut argv = order.argv.iter();
    if let Some(name) = argv.next() {
        command.arg0(name);
    }
    command.args(argv).env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&order.directory).stdin(stdin).stdout(stdout).stderr(stderr).process_group(0);
    let limits = [
        (Resource::Core, Some(0)),
        (Resource::Fsize, Some(order.directory_bytes)),
        (Resource::Nofile, Some(OPEN_FILES)),
        // Twice: whoever runs other things as the same user meanwhile must not be what ends this.
        (Resource::Nproc, Some(backstop.processes + 2 * order.processes)),
        (Resource::Data, order.memory_bytes.map(|bytes| bytes.saturating_mul(4).saturating_add(DATA_BYTES))),
    ];
    let nice = backstop.nice;
    // Opened here: between fork and exec nothing may be allocated.
    let rules = order.sandbox.as_ref().map(|sandbox| sandbox.rules(&order.directory)).transpose();
    let mut rules = rules.map_err(io::Error::other)?;
    // SAFETY: between fork and exec; the closure makes system calls and compares numbers, nothing else.
    unsafe {
        command.pre_exec(move || {
            setpriority_process(None, nice)?;
            for (resource, most) in limits {
                let Some(most) = most else { continue };
                let hard = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
                setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })?;
            }
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if let Some(rules) = rules.take() {
                rules.restrict_self().map_err(|_| io::Error::from(Errno::PERM))?;
            }
            Ok(())
        });
    }
    // Not waited for here: the spawner waits for all there is.
    let child = command.spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a process without a number"))
}
