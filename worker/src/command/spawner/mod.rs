//! Spawners: small processes that start programs for an executor, one at a time each.
//!
//! A fork of an executor copies the tables of all its memory and its locks as they are; a spawner has hardly any. It is the
//! child subreaper of what it starts, so that nothing outlives its program, and it outlives its executor until all is ended.
//! Executors that are threads of one process share a pool as well as those that are processes.

mod fence;
mod group;
mod launch;
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

use crate::control_groups::ControlGroups;
use crate::sandbox::Sandbox;
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
    sandbox: Option<Sandbox>,
    groups: Option<ControlGroups>,
    idle: Mutex<Vec<Spawner>>,
}

/// One spawner.
pub(crate) struct Spawner {
    socket: UnixStream,
    process: Option<Child>,
    /// The program's process group.
    group: Option<Pid>,
    /// For what is read from programs, one after the other: new memory costs a short one much of its time.
    pub(crate) buffer: Vec<u8>,
}

/// What was heard of a program.
pub(crate) enum News {
    /// It runs.
    Started,
    /// It could not be started; the system's number for why.
    Refused(i32),
    /// It ended, and what it left behind has not.
    Ending,
    /// It ended, and nothing that it started is left.
    Ended(Ended),
}

impl Pool {
    /// `sandbox`: what the programs may touch; anything that this user may when absent.
    pub(crate) fn new(scratch: PathBuf, sandbox: Option<Sandbox>, groups: Option<ControlGroups>) -> Self {
        Self { scratch, sandbox, groups, idle: Mutex::default() }
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.sandbox.is_some()
    }

    /// Has a program started on these descriptors; stdin, stdout, stderr. [`Spawner::heard`] says whether it runs.
    pub(crate) fn start(&self, start: Start, fds: [OwnedFd; 3]) -> Result<Spawner, Reason> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut spawner = match idle {
            Some(spawner) => spawner,
            None => self.launch().map_err(|error| lost("start the spawner", &error))?,
        };
        spawner.group = None;
        let request = Request::Start(Box::new(start));
        let sent = message::send(&spawner.socket, &request, &fds.each_ref().map(AsFd::as_fd));
        sent.map_err(|error| lost("ask the spawner for a program", &error))?;
        Ok(spawner)
    }

    fn launch(&self) -> io::Result<Spawner> {
        let spawner = Spawner::launch(self.scratch.clone())?;
        if let Some(sandbox) = &self.sandbox {
            message::send(&spawner.socket, &Request::Fence(Box::new(sandbox.clone())), &[])?;
        }
        if let Some(groups) = &self.groups {
            message::send(&spawner.socket, &Request::Group(Box::new(groups.clone())), &[])?;
        }
        Ok(spawner)
    }

    /// Takes back a spawner whose program has ended.
    pub(crate) fn put_back(&self, spawner: Spawner) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(spawner);
    }
}

fn lost(what: &str, error: &dyn std::fmt::Display) -> Reason {
    Reason::Worker { message: format!("cannot {what}: {error}") }
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
        let spawner = Self { socket, process: Some(process), group: None, buffer: Vec::new() };
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

    /// Waits for what there is to hear of the program. A spawner that died, by a signal of the program perhaps, took the program
    /// along; what shares its group goes too.
    pub(crate) fn heard(&mut self) -> io::Result<News> {
        match self.reply() {
            Ok(Reply::Started { pid }) => {
                self.group = Pid::from_raw(pid);
                Ok(News::Started)
            }
            Ok(Reply::Refused { errno }) => Ok(News::Refused(errno)),
            Ok(Reply::Ending) => Ok(News::Ending),
            Ok(Reply::Ended(ended)) => Ok(News::Ended(ended)),
            other => {
                let _ = self.group.map(|group| kill_process_group(group, Signal::KILL));
                Err(other.err().unwrap_or_else(|| io::Error::other("it answers something else")))
            }
        }
    }

    /// Waits until the program and all that it started have ended, or it was never there.
    pub(crate) fn ended(&mut self) -> io::Result<()> {
        loop {
            match self.heard()? {
                News::Started | News::Ending => {}
                News::Refused(_) | News::Ended(_) => return Ok(()),
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
