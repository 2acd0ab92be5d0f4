//! Starts a process that shares the spawner's memory until it executes its program, as `vfork` does, on a stack of its own.
//!
//! A fork copies the tables of all memory that was touched, and then page after page of what either of the two writes to:
//! that is most of what a short program costs. Here the spawner waits instead, and the child makes system calls only: no
//! allocation, no lock, nothing of the spawner's memory is changed but the one word that says what failed.

#![expect(
    unsafe_code,
    reason = "the only way to start a process without a fork that sets limits before its program runs"
)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, chdir, getrlimit, set_parent_process_death_signal, setpgid,
    setpriority_process, setrlimit, waitpid,
};

use super::message::Start;

/// Of the child until it executes its program: a few frames of the C library.
const STACK_BYTES: usize = 64 << 10;
/// Limits that are set at most.
const LIMITS: usize = 5;
/// What a child that could not execute its program ends with; nobody sees it.
const FAILED: c_int = 127;

/// What a child's stack is made of; kept from one start to the next, so that its pages are there.
pub(super) struct Stack(Box<[MaybeUninit<u8>]>);

impl Stack {
    pub(super) fn new() -> Self {
        Self(Box::new_uninit_slice(STACK_BYTES))
    }

    /// Its upper end, as the calling conventions want it.
    fn top(&mut self) -> *mut c_void {
        let range = self.0.as_mut_ptr_range();
        range.end.wrapping_byte_sub(range.end.addr() % 16).cast()
    }
}

/// A program, and what holds for it beside the order.
pub(super) struct Launch<'a> {
    pub(super) order: &'a Start,
    /// stdin, stdout, stderr.
    pub(super) streams: [OwnedFd; 3],
    pub(super) limits: [(Resource, Option<u64>); LIMITS],
    pub(super) nice: i32,
    /// Control groups to join.
    pub(super) join: Vec<BorrowedFd<'a>>,
    /// Rules of Landlock.
    pub(super) fence: Option<BorrowedFd<'a>>,
}

/// What the child reads, made before it exists.
struct Prepared<'a> {
    program: CString,
    directory: CString,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    streams: &'a [OwnedFd; 3],
    limits: [Option<(Resource, Rlimit)>; LIMITS],
    nice: i32,
    join: &'a [BorrowedFd<'a>],
    fence: Option<c_int>,
    /// The system's number for what failed; 0 when the program runs. The child writes it.
    failed: c_int,
}

impl Launch<'_> {
    /// Starts it as leader of a process group of its own, and returns its process. It has to be waited for.
    pub(super) fn start(&self, stack: &mut Stack) -> io::Result<Pid> {
        let words = |words: &mut dyn Iterator<Item = Vec<u8>>| words.map(CString::new).collect::<Result<Vec<_>, _>>();
        let argv = words(&mut self.order.argv.iter().map(|word| word.clone().into_bytes()))?;
        let env = words(&mut self.order.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()))?;
        let pointers =
            |words: &[CString]| words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
        let mut prepared = Prepared {
            program: CString::new(self.order.program.as_os_str().as_bytes())?,
            directory: CString::new(self.order.directory.as_os_str().as_bytes())?,
            argv: pointers(&argv),
            env: pointers(&env),
            streams: &self.streams,
            limits: self.limits.map(|(resource, most)| Some((resource, within(resource, most?)))),
            nice: self.nice,
            join: &self.join,
            fence: self.fence.map(|fence| fence.as_raw_fd()),
            failed: 0,
        };
        let pid = clone(&mut prepared, stack)?;
        match prepared.failed {
            0 => Ok(pid),
            failed => {
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(io::Error::from_raw_os_error(failed))
            }
        }
    }
}

/// No user may raise a limit beyond the one that holds already.
fn within(resource: Resource, most: u64) -> Rlimit {
    let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    Rlimit { current: Some(most), maximum: Some(most) }
}

/// Makes the child and waits until it has executed its program or ended.
fn clone(prepared: &mut Prepared<'_>, stack: &mut Stack) -> io::Result<Pid> {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: both sets are plain memory that these calls fill. No handler may run in the child: it would run in our memory.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: `run` makes system calls only and does not return but to end the child; this process has one thread, which
    // waits until then, so that stack and `prepared` outlive the child's use of them and nobody else writes to them.
    let pid = unsafe { libc::clone(run, stack.top(), flags, ptr::from_mut(prepared).cast()) };
    let error = io::Error::last_os_error();
    // SAFETY: the set was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or(error)
}

/// The child.
extern "C" fn run(prepared: *mut c_void) -> c_int {
    // SAFETY: it is what `clone` was given, and the parent does not touch it while this runs.
    let prepared = unsafe { &mut *prepared.cast::<Prepared<'_>>() };
    let failed = match set_up(prepared) {
        Ok(()) => execute(prepared),
        Err(failed) => failed,
    };
    // SAFETY: it is ours while the parent waits, which reads it behind the compiler's back.
    unsafe { ptr::write_volatile(&raw mut prepared.failed, failed.raw_os_error()) };
    FAILED
}

/// What holds for the program. Wrappers of single system calls, all of them.
fn set_up(prepared: &Prepared<'_>) -> Result<(), Errno> {
    // Before anything that may be counted. A process that writes 0 means itself.
    for group in prepared.join {
        rustix::io::write(group, b"0")?;
    }
    let [stdin, stdout, stderr] = prepared.streams;
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    chdir(prepared.directory.as_c_str())?;
    setpgid(None, None)?;
    setpriority_process(None, prepared.nice)?;
    for (resource, limit) in prepared.limits.iter().flatten() {
        setrlimit(*resource, *limit)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if let Some(fence) = prepared.fence {
        // SAFETY: numbers only; the descriptor is the spawner's, which waits with it.
        let fenced = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) >= 0
                && libc::syscall(libc::SYS_landlock_restrict_self, fence, 0) >= 0
        };
        if !fenced {
            return Err(last_error());
        }
    }
    Ok(())
}

/// Becomes the program; returns why it could not.
fn execute(prepared: &Prepared<'_>) -> Errno {
    let mut none = MaybeUninit::uninit();
    // SAFETY: as a program expects it to be: this process ignores SIGPIPE, and all signals are blocked until now. The texts
    // outlive the call. With a slash in it the program is not searched for, and what is no executable is a shell's, so that
    // nothing is allocated.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::execvpe(prepared.program.as_ptr(), prepared.argv.as_ptr(), prepared.env.as_ptr());
    }
    last_error()
}

fn last_error() -> Errno {
    // SAFETY: the word of this thread, which is the spawner's.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
