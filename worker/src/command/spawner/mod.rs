//! Spawners: small processes that start programs for an executor, one at a time each.
//!
//! A fork of an executor copies the tables of all its memory and its locks as they are; a spawner has hardly any. It is the
//! child subreaper of what it starts, so that nothing outlives its program, and it outlives its executor until all is ended.
//! Executors that are threads of one process share a pool as well as those that are processes.

mod message;
mod serve;
mod start;
mod tree;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gristmill_common::Reason;
use rustix::process::{Pid, Signal, kill_process_group};

pub(crate) use message::{Ended, Over, Start};
use message::{Reply, Request};
pub(crate) use serve::main;

/// First argument by which an executable knows that it was started as a spawner.
pub(crate) const SPAWNER_ARGUMENT: &str = "__spawner";
/// How long a spawner may take to answer: it only has to start, or to end what ignores SIGTERM.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Spawners that wait for a program.
pub(crate) struct Pool {
    /// Removed by a spawner whose executor died.
    scratch: PathBuf,
    idle: Mutex<Vec<Spawner>>,
}

/// One spawner.
pub(crate) struct Spawner {
    socket: UnixStream,
    process: Option<Child>,
    /// The program's process group.
    group: Option<Pid>,
}

impl Pool {
    pub(crate) fn new(scratch: PathBuf) -> Self {
        Self { scratch, idle: Mutex::default() }
    }

    /// Starts a program on these descriptors; stdin, stdout, stderr.
    pub(crate) fn start(&self, start: Start, fds: [OwnedFd; 3]) -> Result<Spawner, Reason> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut spawner = match idle {
            Some(spawner) => spawner,
            None => Spawner::launch(self.scratch.clone()).map_err(|error| lost("start the spawner", &error))?,
        };
        let (argv, directory) = (start.argv.clone(), start.directory.clone());
        let request = Request::Start(Box::new(start));
        let sent = message::send(&spawner.socket, &request, &fds.each_ref().map(AsFd::as_fd));
        sent.map_err(|error| lost("ask the spawner for a program", &error))?;
        match spawner.reply() {
            Ok(Reply::Started { pid }) => {
                spawner.group = Pid::from_raw(pid);
                Ok(spawner)
            }
            Ok(Reply::Refused { errno }) => {
                self.put_back(spawner);
                Err(refused(errno, argv.first().map_or("", String::as_str), &directory))
            }
            Ok(Reply::Ready | Reply::Ending | Reply::Ended(_)) => {
                Err(lost("understand the spawner", &"it answers something else"))
            }
            Err(error) => Err(lost("hear from the spawner", &error)),
        }
    }

    /// Takes back a spawner whose program has ended.
    pub(crate) fn put_back(&self, spawner: Spawner) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(spawner);
    }
}

fn lost(what: &str, error: &dyn std::fmt::Display) -> Reason {
    Reason::Worker { message: format!("cannot {what}: {error}") }
}

/// Why the system did not start a program, in words that say what to do.
fn refused(errno: i32, program: &str, directory: &std::path::Path) -> Reason {
    use rustix::io::Errno;
    let error = io::Error::from_raw_os_error(errno);
    let hint = match Errno::from_io_error(&error) {
        Some(Errno::NOENT) if directory.is_dir() => ": the interpreter that its first line names is not on this worker",
        Some(Errno::ACCESS) => ": it is not executable, or lies where programs may not run",
        Some(Errno::NOEXEC) => ": it is no executable; a script starts with a line like #!/usr/bin/env python3",
        Some(Errno::TOOBIG) => ": arguments and environment are too long",
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
            return lost(&format!("start `{program}`"), &error);
        }
        _ => "",
    };
    Reason::UserError { message: format!("cannot start `{program}`: {error}{hint}"), at: None }
}

impl Spawner {
    /// Runs this executable again.
    fn launch(scratch: PathBuf) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let executable = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut command = std::process::Command::new(executable);
        let arguments: [OsString; 2] = [SPAWNER_ARGUMENT.into(), scratch.into()];
        command.args(arguments).env_clear().stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).process_group(0);
        let process = command.spawn()?;
        drop(command);
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        let spawner = Self { socket, process: Some(process), group: None };
        match spawner.reply() {
            Ok(Reply::Ready) => Ok(spawner),
            Ok(_) => Err(io::Error::other("it answers something else")),
            Err(error) => Err(io::Error::other(format!(
                "{error}; a program that runs commands calls `executor::run_if_asked` first in its main function"
            ))),
        }
    }

    fn reply(&self) -> io::Result<Reply> {
        match message::receive(&self.socket)? {
            Some((reply, _)) => Ok(reply),
            None => Err(io::Error::other("it has ended")),
        }
    }

    /// Where it is seen that the program ended.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Asks it to end the program; [`Spawner::ended`] says when that is done.
    pub(crate) fn end(&self, gently: bool) -> io::Result<()> {
        message::send(&self.socket, &Request::End { gently }, &[])
    }

    /// Hears what became of the program; `None` when it has ended and what it left behind has not. A spawner that died, by a signal of the program perhaps,
    /// took the program along; what shares its group goes too.
    pub(crate) fn heard(&self) -> io::Result<Option<Ended>> {
        match self.reply() {
            Ok(Reply::Ending) => Ok(None),
            Ok(Reply::Ended(ended)) => Ok(Some(ended)),
            other => {
                let _ = self.group.map(|group| kill_process_group(group, Signal::KILL));
                Err(other.err().unwrap_or_else(|| io::Error::other("it answers something else")))
            }
        }
    }
}

impl Spawner {
    /// Waits until the program and all that it started have ended.
    pub(crate) fn ended(&self) -> io::Result<Ended> {
        loop {
            if let Some(ended) = self.heard()? {
                return Ok(ended);
            }
        }
    }
}

impl Drop for Spawner {
    /// It ends by itself when nobody talks to it any more; until then it may still have to end a program.
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        // Somebody has to wait for it, and nobody has the time.
        if let Some(mut process) = self.process.take() {
            let _ = std::thread::Builder::new().name("spawner".to_owned()).spawn(move || process.wait());
        }
    }
}
