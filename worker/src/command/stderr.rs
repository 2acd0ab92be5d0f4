//! Listens to a program's stderr on a thread of its own: counters and status for the engine, the rest for the log.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::thread::JoinHandle;

use gristmill_common::limits;

use crate::log::AttemptLog;
use crate::position::Position;
use crate::streaming::{Reporter, Said};

/// Of the end of the log, kept for the reason of a failure.
const TAIL_BYTES: usize = 512;
const READ_BYTES: usize = 16 << 10;

/// What was heard of one program.
#[derive(Clone, Default)]
pub(super) struct Heard {
    /// `group:counter` and what to add, a name once.
    pub(super) counters: Vec<(String, i64)>,
    tail: Vec<u8>,
    log: AttemptLog,
}

impl Heard {
    /// Returns the last line of the log that is not empty.
    pub(super) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.tail);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }

    fn hear(&mut self, said: &Said<'_>) {
        match said {
            Said::Count(name, amount) => self.count(name, *amount),
            Said::Status(status) => self.log.note(&format!("status: {status}")),
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

/// Starts to listen; the thread ends when nobody can write any more.
pub(super) fn listen(mut stderr: File, position: Arc<Position>, log: AttemptLog) -> io::Result<JoinHandle<Heard>> {
    std::thread::Builder::new().name("stderr".to_owned()).stack_size(128 << 10).spawn(move || {
        let (mut heard, mut reporter) = (Heard { log, ..Heard::default() }, Reporter::default());
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match stderr.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    position.tick();
                    reporter.take(&buffer[..length], &mut |said| heard.hear(&said));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        reporter.finish(&mut |said| heard.hear(&said));
        heard
    })
}
