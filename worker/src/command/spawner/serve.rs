//! The spawner's own process: starts one program at a time, watches its limits, and ends all that it leaves behind.
//!
//! It is small and single-threaded, so that a start is a cheap fork; it runs no user code itself and holds no token. When its
//! executor is gone, it ends what runs, removes the executor's scratch directory, and goes too.

#![expect(clippy::disallowed_methods, reason = "limits are watched and signals follow each other in real time")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getppid, getpriority_process, kill_process_group,
    pidfd_open, set_child_subreaper, setpriority_process, wait, waitid,
};

use super::message::{Ended, Over, Reply, Request, Start, receive, send};
use super::{group, start, tree};

/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// When memory and processes are looked at first, and again while there are more processes with each look: a fork bomb
/// doubles within milliseconds.
const LOOK_FIRST: Duration = Duration::from_millis(5);
/// How often they are looked at when nothing is new.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the working directory is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// How much the spawner goes before the programs, in steps of nice, where it may: a bomb takes all turns otherwise.
const AHEAD: i32 = 10;
/// How often the remaining processes are looked for.
const REAP_EVERY: Duration = Duration::from_millis(5);
/// How often new processes are stopped before what there is is killed.
const STOPS: usize = 100;
/// Processes that even SIGKILL does not end (they wait for a dead disk) are left alone after this long.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Entries of a working directory that are looked at: a program that makes more has filled it.
const ENTRIES: u64 = 1_000_000;

/// Serves the executor at the other end of stdin until it is gone.
pub(crate) fn main() -> ExitCode {
    let scratch = std::env::args_os().nth(2).map(PathBuf::from);
    let executor = getppid();
    let served = io::stdin().as_fd().try_clone_to_owned().and_then(|socket| {
        // User code gets descriptors of its own; this one is the executor's.
        rustix::stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
        start::keep_descriptors()?;
        set_child_subreaper(Some(rustix::process::getpid()))?;
        serve(&UnixStream::from(socket))
    });
    // An executor that died leaves its files to nobody. Its descriptors go a moment before it does.
    std::thread::sleep(REAP_EVERY);
    if let Some(scratch) = scratch.filter(|_| getppid() != executor) {
        let _ = fs::remove_dir_all(scratch);
    }
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(socket: &UnixStream) -> io::Result<()> {
    send(socket, &Reply::Ready, &[])?;
    let nice = getpriority_process(None)?;
    let _ = setpriority_process(None, nice - AHEAD);
    let mut starter = start::Starter::new(nice);
    while let Some((request, fds)) = receive(socket)? {
        let order = match request {
            Request::Start(order) => order,
            Request::Fence(sandbox) => {
                starter.fence(*sandbox);
                continue;
            }
            Request::Group(groups) => {
                // Where it cannot be made, programs are watched as without one.
                starter.group = group::Group::make(&groups).ok();
                continue;
            }
            // It comes behind the program's own end and is for nobody.
            Request::End { .. } => continue,
        };
        let Ok(streams) = fds.try_into() else { return Err(io::Error::other("a program without its descriptors")) };
        let before = if order.has_files { measure(&order.directory) } else { 0 };
        match starter.start(&order, streams) {
            Ok(pid) => {
                send(socket, &Reply::Started { pid: pid.as_raw_nonzero().get() }, &[])?;
                let (mut ended, gone) = watch(socket, &order, pid, before, &mut starter.group);
                if gone {
                    return Ok(());
                }
                // What the kernel ended between two looks.
                ended.over = ended.over.or_else(|| starter.group.as_mut()?.over(&order));
                send(socket, &Reply::Ended(ended), &[])?;
            }
            Err(error) => send(socket, &Reply::Refused { errno: error.raw_os_error().unwrap_or(0) }, &[])?,
        }
    }
    Ok(())
}

/// Follows a program to its end; also says whether the executor is gone.
fn watch(socket: &UnixStream, order: &Start, pid: Pid, before: u64, group: &mut Option<group::Group>) -> (Ended, bool) {
    let mut looks = Looks { order, program: pid, before, wait: LOOK_FIRST, seen: 1, measured: Instant::now() };
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    loop {
        let mut fds = vec![PollFd::new(socket, PollFlags::IN)];
        fds.extend(pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        let ready = poll(&mut fds, Some(&timespec(looks.wait)));
        let (asked, died) = (!fds[0].revents().is_empty(), fds.get(1).is_none_or(|fd| !fd.revents().is_empty()));
        if died && has_ended(pid) {
            let mut gone = false;
            // What is left may take its time; that is not the program's.
            let ended = end_all(order, group, pid, true, &mut || gone = send(socket, &Reply::Ending, &[]).is_err());
            return (ended, gone);
        }
        if asked {
            return match receive(socket) {
                Ok(Some((Request::End { gently }, _))) => (end_all(order, group, pid, gently, &mut || ()), false),
                Ok(Some(_) | None) | Err(_) => (end_all(order, group, pid, true, &mut || ()), true),
            };
        }
        if ready == Ok(0)
            && let Some(over) = looks.look(group.as_mut())
        {
            return (Ended { over: Some(over), ..end_all(order, group, pid, false, &mut || ()) }, false);
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: duration.subsec_nanos().into() }
}

/// Says whether the program itself has ended; its number is kept until it is waited for.
fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_)) | Err(_))
}

/// Looks at a program that runs.
struct Looks<'a> {
    order: &'a Start,
    program: Pid,
    /// Bytes in the working directory when it started.
    before: u64,
    /// Until the next look.
    wait: Duration,
    /// Processes and threads at the last look.
    seen: u64,
    measured: Instant,
}

impl Looks<'_> {
    /// Returns the limit that is passed now.
    fn look(&mut self, mut group: Option<&mut group::Group>) -> Option<Over> {
        if let Some(over) = group.as_mut().and_then(|group| group.over(self.order)) {
            return Some(over);
        }
        let processes = tree::descendants();
        // With those that have ended since the last look: a bomb that the kernel stopped dies out at once.
        let threads = tree::threads(&processes);
        tree::bury(&processes, self.program);
        if threads > self.order.processes {
            return Some(Over::Processes(threads));
        }
        self.wait = if threads > self.seen { LOOK_FIRST } else { (self.wait * 2).min(LOOK_EVERY) };
        self.seen = threads;
        let is_limited = group.is_some_and(|group| group.limits_memory());
        let memory: u64 = processes.iter().map(|process| process.memory_bytes).sum();
        if !is_limited && self.order.memory_bytes.is_some_and(|most| memory > most) {
            return Some(Over::Memory(memory));
        }
        if self.measured.elapsed() >= MEASURE_EVERY {
            let bytes = measure(&self.order.directory).saturating_sub(self.before);
            self.measured = Instant::now();
            return (bytes > self.order.directory_bytes).then_some(Over::Directory(bytes));
        }
        None
    }
}

/// Bytes on disk below a directory. What cannot be read does not count.
fn measure(directory: &Path) -> u64 {
    let (mut bytes, mut entries, mut open) = (0_u64, 0, vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(found.blocks() * 512);
            entries += 1;
            if entries > ENTRIES {
                return u64::MAX;
            }
            if found.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

/// Ends the program and everything below this process; returns when nothing is left. `waits` is called when something is.
fn end_all(order: &Start, group: &mut Option<group::Group>, pid: Pid, gently: bool, waits: &mut dyn FnMut()) -> Ended {
    let mut ended = Ended::default();
    // The number is the program's until it is waited for, and so is the group's.
    let _ = kill_process_group(pid, if gently { Signal::TERM } else { Signal::KILL });
    if reap(pid, &mut ended).is_none() {
        return ended;
    }
    waits();
    let begun = Instant::now();
    if gently {
        tree::signal(&tree::descendants(), Signal::TERM);
        while begun.elapsed() < GRACE {
            // What a program leaves behind may be a fork bomb, and may have died out by itself.
            let threads = tree::threads(&tree::descendants());
            let reaped = reap(pid, &mut ended);
            let all = threads.max(reaped.unwrap_or(0));
            if all > order.processes {
                ended.over = Some(Over::Processes(all));
                break;
            }
            if reaped.is_none() {
                return ended;
            }
            std::thread::sleep(REAP_EVERY);
        }
    }
    while begun.elapsed() < GIVE_UP {
        if !group.as_mut().is_some_and(group::Group::kill) {
            kill_tree();
        }
        if reap(pid, &mut ended).is_none() {
            return ended;
        }
        std::thread::sleep(REAP_EVERY);
    }
    ended
}

/// Stops all before it kills any, so that none can start another one meanwhile. A group stops and ends as one, however many
/// it has: that ends most bombs. Whoever calls repeats it until nothing is left.
fn kill_tree() {
    let mut stopped: BTreeSet<i32> = BTreeSet::new();
    for _ in 0..STOPS {
        let found = tree::descendants();
        let new: Vec<_> =
            found.into_iter().filter(|process| stopped.insert(process.pid.as_raw_nonzero().get())).collect();
        if new.is_empty() {
            break;
        }
        tree::signal_groups(&new, Signal::STOP);
        tree::signal(&new, Signal::STOP);
    }
    let found = tree::descendants();
    tree::signal_groups(&found, Signal::KILL);
    tree::signal(&found, Signal::KILL);
}

/// Waits for what has ended and returns how many these were; nothing when no process is left.
fn reap(program: Pid, ended: &mut Ended) -> Option<u64> {
    let mut reaped = 0;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                reaped += 1;
                if pid == program {
                    ended.code = status.exit_status();
                    ended.signal = status.terminating_signal();
                }
            }
            Ok(None) => return Some(reaped),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}
