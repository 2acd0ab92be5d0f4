//! What the end of a program means for its attempt.

use std::fmt::Display;
use std::io;
use std::path::Path;

use gristmill_common::program::Command;
use gristmill_common::reason::bounded;
use gristmill_common::{Reason, limits};
use rustix::io::Errno;

use super::spawner::{Ended, Over};
use crate::signals;

/// A write beyond the largest file that was allowed.
const XFSZ: i32 = 25;

/// What somebody has to know whose program may not do what it may do by hand.
const OUTSIDE: &str = " (a worker's commands touch little but their working directory: docs/streaming.md; `worker --sandbox-read` \
                       and `--sandbox-write` allow more)";

/// What is allowed to a program.
#[derive(Clone)]
pub(super) struct Rules {
    /// As its command line begins.
    pub(super) name: String,
    pub(super) output_bytes: u64,
    pub(super) directory_bytes: u64,
    memory_bytes: Option<u64>,
    ignore_exit_code: bool,
    /// It must read all of its input.
    must_read: bool,
    is_fenced: bool,
}

pub(super) fn lost(what: &str, error: &dyn Display) -> Reason {
    Reason::Worker { message: bounded(format!("cannot {what}: {error}")) }
}

impl Rules {
    /// `must_read`: whether it is a mapper, of which strict mode asks for that.
    pub(super) fn of(command: &Command, name: &str, is_mapper: bool, is_fenced: bool) -> Self {
        Self {
            name: name.to_owned(),
            output_bytes: command.output_bytes,
            directory_bytes: command.directory_bytes,
            memory_bytes: command.memory_bytes,
            ignore_exit_code: command.streaming.ignore_exit_code,
            must_read: is_mapper && command.streaming.strict,
            is_fenced,
        }
    }

    /// Why the system did not start it, in words that say what to do.
    pub(super) fn refused(&self, errno: i32, directory: &Path) -> Reason {
        let (name, error) = (&self.name, io::Error::from_raw_os_error(errno));
        let hint = match Errno::from_io_error(&error) {
            Some(Errno::NOENT) if directory.is_dir() => {
                ": the interpreter that its first line names is not on this worker"
            }
            Some(Errno::ACCESS) => ": it is not executable, or lies where programs may not run",
            Some(Errno::NOEXEC) => ": it is no executable; a script starts with a line like #!/usr/bin/env python3",
            Some(Errno::TOOBIG) => ": arguments and environment are too long",
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
                return lost(&format!("start `{name}`"), &error);
            }
            _ => "",
        };
        Reason::UserError { message: format!("cannot start `{name}`: {error}{hint}"), at: None }
    }

    pub(super) fn too_much_output(&self) -> Reason {
        let (name, most) = (&self.name, self.output_bytes);
        Reason::Limit { message: format!("`{name}` printed more than output_bytes = {most}"), at: None }
    }

    /// Says whether a program that ended so was right to; `last_line` is that of its log.
    pub(super) fn judge(
        &self,
        ended: Ended,
        unread: bool,
        last_line: &dyn Fn() -> Option<String>,
    ) -> Result<(), Reason> {
        let name = &self.name;
        if let Some(over) = ended.over {
            return Err(self.over(over));
        }
        let said = || {
            last_line().map_or(String::new(), |line| {
                let hint = if self.is_fenced && line.contains("ermission denied") { OUTSIDE } else { "" };
                format!(": {line}{hint}")
            })
        };
        match (ended.code, ended.signal) {
            (Some(0), _) if unread && self.must_read => {
                let message = format!("`{name}` ended without reading all its input, which `strict` does not allow");
                Err(Reason::UserError { message, at: None })
            }
            (Some(0), _) => Ok(()),
            (Some(_), _) if self.ignore_exit_code => Ok(()),
            (Some(code), _) => {
                let message = bounded(format!("`{name}` ended with exit code {code}{}", said()));
                Err(Reason::Crashed { message, at: None })
            }
            (None, Some(XFSZ)) => Err(self.over(Over::Directory(self.directory_bytes))),
            (None, Some(signal)) => {
                let message = bounded(format!("`{name}` ended by {}{}", signals::describe(signal), said()));
                Err(Reason::Crashed { message, at: None })
            }
            (None, None) => Err(Reason::Crashed { message: format!("`{name}` ended without a status"), at: None }),
        }
    }

    fn over(&self, over: Over) -> Reason {
        let name = &self.name;
        match over {
            // The kernel did not let it have more.
            Over::Memory(found) if Some(found) == self.memory_bytes => {
                let message = format!("`{name}` and what it started wanted more than memory_bytes = {found}");
                Reason::OutOfMemory { message, at: None }
            }
            Over::Memory(found) => {
                let most = self.memory_bytes.unwrap_or(u64::MAX);
                let message = format!("`{name}` and what it started used {found} bytes: memory_bytes is {most}");
                Reason::OutOfMemory { message, at: None }
            }
            Over::Directory(_) => {
                let most = self.directory_bytes;
                let message = format!("`{name}` wrote more than directory_bytes = {most} into its working directory");
                Reason::Limit { message, at: None }
            }
            Over::Processes(found) => {
                let most = limits::COMMAND_PROCESSES;
                let message = format!("`{name}` had {found} processes and threads: {most} are allowed");
                Reason::Limit { message, at: None }
            }
        }
    }
}
