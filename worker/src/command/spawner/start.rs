//! Starts a program: its own process group, its limits, its descriptors and nothing else.
//!
//! Unsafe are descriptors that are known by their numbers alone.

#![expect(unsafe_code, reason = "descriptors by their numbers")]
#![expect(clippy::disallowed_methods, reason = "a count of processes is good for a while")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource};

use super::fence::Fence;
use super::group::Group;
use super::launch::{Launch, Stack};
use super::message::{DESCRIPTORS, Start};
use crate::sandbox::Sandbox;

/// Limits of the kernel, behind those that are watched: they hold between two looks.
struct Backstop {
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
    fn new(nice: i32) -> Self {
        Self { processes: count(), counted: Instant::now(), nice }
    }

    /// Counts again what may have changed.
    fn refresh(&mut self) {
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

/// Starts programs, one at a time.
pub(super) struct Starter {
    backstop: Backstop,
    stack: Stack,
    /// Absent when programs may touch what this user may.
    fence: Option<Fence>,
    /// Absent where there are no control groups.
    pub(super) group: Option<Group>,
}

impl Starter {
    /// `nice`: as the executor has it; the spawner goes before its programs.
    pub(super) fn new(nice: i32) -> Self {
        Self { backstop: Backstop::new(nice), stack: Stack::new(), fence: None, group: None }
    }

    pub(super) fn fence(&mut self, sandbox: Sandbox) {
        self.fence = Some(Fence::new(sandbox));
    }

    /// Starts the program on these descriptors and returns its process.
    pub(super) fn start(&mut self, order: &Start, streams: [OwnedFd; DESCRIPTORS]) -> io::Result<Pid> {
        self.backstop.refresh();
        if self.group.as_mut().is_some_and(|group| group.begin(order).is_err()) {
            self.group = None;
        }
        let fence = match &mut self.fence {
            Some(fence) => fence.rules(&order.directory)?,
            None => None,
        };
        let limits = [
            (Resource::Core, Some(0)),
            (Resource::Fsize, Some(order.directory_bytes)),
            (Resource::Nofile, Some(OPEN_FILES)),
            // Twice: whoever runs other things as the same user meanwhile must not be what ends this.
            (Resource::Nproc, Some(self.backstop.processes + 2 * order.processes)),
            (Resource::Data, order.memory_bytes.map(|bytes| bytes.saturating_mul(4).saturating_add(DATA_BYTES))),
        ];
        let join = self.group.as_ref().map(Group::procs).unwrap_or_default();
        let mut launch = Launch { order, streams, limits, nice: self.backstop.nice, join, fence };
        match launch.start(&mut self.stack) {
            // Somebody removed the group: programs are watched as where there is none.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) && !launch.join.is_empty() => {
                launch.join.clear();
                let started = launch.start(&mut self.stack);
                self.group = None;
                started
            }
            started => started,
        }
    }
}
