//! Listens to a program's stderr: counters and status for the engine, the rest for the log.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use gristmill_common::limits;

use crate::log::AttemptLog;
use crate::streaming::{Reporter, Said};

/// Of the end of the log, kept for the reason of a failure.
const TAIL_BYTES: usize = 512;

/// The stderr of one program.
pub(super) struct Stderr {
    /// Reading does not wait.
    pipe: Option<File>,
    reporter: Reporter,
    heard: Heard,
}

/// What was heard.
#[derive(Default)]
struct Heard {
    /// `group:counter` and what to add, a name once.
    counters: Vec<(String, i64)>,
    tail: Vec<u8>,
    log: AttemptLog,
}

impl Stderr {
    pub(super) fn new(pipe: File, log: AttemptLog) -> Self {
        Self { pipe: Some(pipe), reporter: Reporter::default(), heard: Heard { log, ..Heard::default() } }
    }

    /// Where it is seen that there is more; `None` when nobody can write any more.
    pub(super) fn pipe(&self) -> Option<&File> {
        self.pipe.as_ref()
    }

    /// Takes what is there now, as much as the buffer holds; 0 when there is nothing.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Self { pipe, reporter, heard } = self;
        let Some(open) = pipe else { return 0 };
        match open.read(buffer) {
            Ok(0) => {}
            Ok(length) => {
                reporter.take(&buffer[..length], &mut |said| heard.hear(&said));
                return length;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return 0,
            // A log that cannot be read is no reason to fail a task.
            Err(_) => {}
        }
        *pipe = None;
        0
    }

    /// Takes the end of it.
    pub(super) fn close(&mut self) {
        let Self { pipe, reporter, heard } = self;
        *pipe = None;
        reporter.finish(&mut |said| heard.hear(&said));
    }

    /// Returns what was counted, once.
    pub(super) fn counters(&mut self) -> Vec<(String, i64)> {
        std::mem::take(&mut self.heard.counters)
    }

    /// Returns the last line of the log that is not empty.
    pub(super) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.heard.tail);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

impl Heard {
    fn hear(&mut self, said: &Said<'_>) {
        match said {
            Said::Count(name, amount) => self.count(name, *amount),
            Said::Status(status) => self.log.status(status),
            Said::Unknown(line) => {
                tracing::warn!(line = %String::from_utf8_lossy(line), "a line for the engine that means nothing");
                self.log(line);
            }
            Said::Log(piece) => self.log(piece),
        }
    }

    /// More names than a job may have are kept by one: that many fail the attempt when they are added.
    fn count(&mut self, name: &str, amount: i64) {
        let names = self.counters.len();
        match self.counters.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => *value = value.saturating_add(amount),
            None if names <= limits::COUNTERS => self.counters.push((name.to_owned(), amount)),
            None => {}
        }
    }

    fn log(&mut self, piece: &[u8]) {
        self.log.write(piece);
        self.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL_BYTES)..]);
        let cut = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..cut);
    }
}
