//! The spawner's own process: starts one program at a time, watches its limits, and ends all that it leaves behind.
//!
//! It is small and single-threaded, so that a start is a cheap fork; it runs no user code itself and holds no token. When its
//! executor is gone, it ends what runs, removes the executor's scratch directory, and goes too.

#![expect(clippy::disallowed_methods, reason = "limits are watched and signals follow each other in real time")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getppid, kill_process_group, pidfd_open,
    set_child_subreaper, wait, waitid,
};

use super::message::{Ended, Over, Reply, Request, Start, receive, send};
use super::{start, tree};

/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How often memory and processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the working directory is measured, in looks.
const MEASURE_EVERY: u32 = 5;
/// How often the remaining processes are looked for.
const REAP_EVERY: Duration = Duration::from_millis(5);
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
    let backstop = start::Backstop::new();
    while let Some((request, fds)) = receive(socket)? {
        // An end that comes behind the program's own is for nobody.
        let Request::Start(order) = request else { continue };
        let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(fds) else {
            return Err(io::Error::other("a program without its descriptors"));
        };
        let before = measure(&order.directory);
        match start::start(&order, &backstop, stdin, stdout, stderr) {
            Ok(pid) => {
                send(socket, &Reply::Started { pid: pid.as_raw_nonzero().get() }, &[])?;
                let (ended, gone) = watch(socket, &order, pid, before);
                if gone {
                    return Ok(());
                }
                send(socket, &Reply::Ended(ended), &[])?;
            }
            Err(error) => send(socket, &Reply::Refused { errno: error.raw_os_error().unwrap_or(0) }, &[])?,
        }
    }
    Ok(())
}

/// Follows a program to its end; also says whether the executor is gone.
fn watch(socket: &UnixStream, order: &Start, pid: Pid, before: u64) -> (Ended, bool) {
    let mut looks = 0;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    loop {
        let mut fds = vec![PollFd::new(socket, PollFlags::IN)];
        fds.extend(pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        let ready = poll(&mut fds, Some(&timespec(LOOK_EVERY)));
        let (asked, died) = (!fds[0].revents().is_empty(), fds.get(1).is_none_or(|fd| !fd.revents().is_empty()));
        if died && has_ended(pid) {
            return (end_all(pid, true), false);
        }
        if asked {
            return match receive(socket) {
                Ok(Some((Request::End { gently }, _))) => (end_all(pid, gently), false),
                Ok(Some((Request::Start(_), _))) | Ok(None) | Err(_) => (end_all(pid, true), true),
            };
        }
        if ready == Ok(0) {
            looks += 1;
            if let Some(over) = over(order, before, looks) {
                return (Ended { over: Some(over), ..end_all(pid, false) }, false);
            }
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

/// Returns the limit that is passed now.
fn over(order: &Start, before: u64, looks: u32) -> Option<Over> {
    let processes = tree::descendants();
    let threads: u64 = processes.iter().map(|process| process.threads).sum();
    if threads > order.processes {
        return Some(Over::Processes(threads));
    }
    let memory: u64 = processes.iter().map(|process| process.memory_bytes).sum();
    if order.memory_bytes.is_some_and(|most| memory > most) {
        return Some(Over::Memory(memory));
    }
    if looks.is_multiple_of(MEASURE_EVERY) {
        let bytes = measure(&order.directory).saturating_sub(before);
        return (bytes > order.directory_bytes).then_some(Over::Directory(bytes));
    }
    None
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

/// Ends the program and everything below this process; returns when nothing is left.
fn end_all(pid: Pid, gently: bool) -> Ended {
    let mut ended = Ended::default();
    // The number is the program's until it is waited for, and so is the group's.
    let _ = kill_process_group(pid, if gently { Signal::TERM } else { Signal::KILL });
    if reap(pid, &mut ended) {
        return ended;
    }
    let begun = Instant::now();
    if gently {
        tree::signal(&tree::descendants(), Signal::TERM);
        while begun.elapsed() < GRACE {
            if reap(pid, &mut ended) {
                return ended;
            }
            std::thread::sleep(REAP_EVERY);
        }
    }
    while begun.elapsed() < GIVE_UP {
        kill_tree();
        if reap(pid, &mut ended) {
            return ended;
        }
        std::thread::sleep(REAP_EVERY);
    }
    ended
}

/// Stops all before it kills any, so that none can start another one meanwhile.
fn kill_tree() {
    let mut stopped = 0;
    loop {
        let found = tree::descendants();
        if found.len() <= stopped {
            tree::signal(&found, Signal::KILL);
            return;
        }
        stopped = found.len();
        tree::signal(&found, Signal::STOP);
    }
}

/// Waits for what has ended; says whether nothing is left.
fn reap(program: Pid, ended: &mut Ended) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if pid == program {
                    *ended = Ended { code: status.exit_status(), signal: status.terminating_signal(), over: None };
                }
            }
            Ok(None) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}
