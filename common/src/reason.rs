//! Why an attempt or a job failed: typed, so that programs can tell and people can act.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Fence, TaskName};

/// Where in the input user code was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// URL of the input file, or a name of what else was read (`partition 3`).
    pub file: String,
    /// Byte offset of the record's first byte in the (decompressed) file, or the record's number in a partition.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// Why an attempt failed. The first group is user code's own and is counted against `attempts`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// User code returned an error.
    UserError {
        /// What it said.
        message: String,
        /// The record it was given.
        at: Option<Place>,
    },
    /// User code panicked.
    Panicked {
        /// The panic's message.
        message: String,
        /// The record it was given.
        at: Option<Place>,
    },
    /// The executor process ended: abort, stack overflow, a signal, an exit.
    Crashed {
        /// How it ended: `signal 6 (SIGABRT)`, `exit code 3`.
        message: String,
        /// The record it was given.
        at: Option<Place>,
    },
    /// No progress for the job's `progress_timeout_ms`.
    TimedOut {
        /// Milliseconds without progress.
        after_ms: u64,
        /// The record it was given.
        at: Option<Place>,
    },
    /// The executor used more memory than it may.
    OutOfMemory {
        /// What was known.
        message: String,
        /// The record it was given.
        at: Option<Place>,
    },
    /// A named limit was passed: a line too long, too many counters.
    Limit {
        /// Which one, its value, and how to raise it.
        message: String,
        /// The record.
        at: Option<Place>,
    },
    /// The program does not take the arguments of its step.
    BadArguments {
        /// What is wrong with them.
        message: String,
    },
    /// The input is not what was planned: another size or modification time.
    InputChanged {
        /// Which file, and what changed.
        message: String,
    },
    /// The input could not be read: gone, no permission, a corrupt archive.
    InputUnreadable {
        /// Which file and why.
        message: String,
        /// Where reading stopped.
        at: Option<Place>,
    },
    /// A record is not of the input's format: a row with too few fields, a text that is no JSON, a short last record.
    BadRecord {
        /// What is wrong with it.
        message: String,
        /// The record.
        at: Option<Place>,
    },
    /// A map output could not be read or was damaged. Charged to the map, which runs again.
    LostOutput {
        /// The map whose output it was.
        map: TaskName,
        /// The attempt that wrote it.
        fence: Fence,
        /// What was wrong.
        message: String,
    },
    /// The file of a map output cannot be opened from here, although its host looked the same. Nobody's failure: it is relayed.
    Unreachable {
        /// The map whose output it was.
        map: TaskName,
        /// The attempt that wrote it.
        fence: Fence,
    },
    /// The worker itself failed: full disk, no executor. Not user code's fault.
    Worker {
        /// What failed.
        message: String,
    },
}

impl Reason {
    /// Says whether the failure counts against the task's `attempts`.
    #[must_use]
    pub fn is_user_failure(&self) -> bool {
        match self {
            Self::UserError { .. }
            | Self::Panicked { .. }
            | Self::Crashed { .. }
            | Self::TimedOut { .. }
            | Self::OutOfMemory { .. }
            | Self::Limit { .. }
            | Self::BadArguments { .. }
            | Self::InputChanged { .. }
            | Self::InputUnreadable { .. }
            | Self::BadRecord { .. } => true,
            Self::LostOutput { .. } | Self::Unreachable { .. } | Self::Worker { .. } => false,
        }
    }

    /// Says whether another attempt must end the same way, so that none is made.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::BadArguments { .. } | Self::InputChanged { .. } | Self::BadRecord { .. })
    }

    /// Adds the record that user code was given, where the reason names none.
    #[must_use]
    pub fn or_at(mut self, place: Option<Place>) -> Self {
        if let Some(at) = self.place_mut() {
            *at = at.take().or(place);
        }
        self
    }

    /// Returns the same reason at another record, or at none.
    #[must_use]
    pub fn placed(mut self, place: Option<Place>) -> Self {
        if let Some(at) = self.place_mut() {
            *at = place;
        }
        self
    }

    fn place_mut(&mut self) -> Option<&mut Option<Place>> {
        match self {
            Self::UserError { at, .. }
            | Self::Panicked { at, .. }
            | Self::Crashed { at, .. }
            | Self::TimedOut { at, .. }
            | Self::OutOfMemory { at, .. }
            | Self::Limit { at, .. }
            | Self::InputUnreadable { at, .. }
            | Self::BadRecord { at, .. } => Some(at),
            Self::BadArguments { .. }
            | Self::InputChanged { .. }
            | Self::LostOutput { .. }
            | Self::Unreachable { .. }
            | Self::Worker { .. } => None,
        }
    }

    /// Returns the record that user code was given, where known.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::UserError { at, .. }
            | Self::Panicked { at, .. }
            | Self::Crashed { at, .. }
            | Self::TimedOut { at, .. }
            | Self::OutOfMemory { at, .. }
            | Self::Limit { at, .. }
            | Self::InputUnreadable { at, .. }
            | Self::BadRecord { at, .. } => at.as_ref(),
            Self::BadArguments { .. }
            | Self::InputChanged { .. }
            | Self::LostOutput { .. }
            | Self::Unreachable { .. }
            | Self::Worker { .. } => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserError { message, .. } => write!(f, "user error: {message}")?,
            Self::Panicked { message, .. } => write!(f, "panicked: {message}")?,
            Self::Crashed { message, .. } => write!(f, "crashed: {message}")?,
            Self::TimedOut { after_ms, .. } => write!(f, "timed out: no progress for {after_ms} ms")?,
            Self::OutOfMemory { message, .. } => write!(f, "out of memory: {message}")?,
            Self::Limit { message, .. } => write!(f, "limit: {message}")?,
            Self::BadArguments { message } => write!(f, "bad arguments: {message}")?,
            Self::InputChanged { message } => write!(f, "input changed: {message}")?,
            Self::InputUnreadable { message, .. } => write!(f, "input unreadable: {message}")?,
            Self::BadRecord { message, .. } => write!(f, "bad record: {message}")?,
            Self::LostOutput { map, fence, message } => write!(f, "output of {map} ({fence}) lost: {message}")?,
            Self::Unreachable { map, fence } => write!(f, "output of {map} ({fence}) cannot be reached from here")?,
            Self::Worker { message } => write!(f, "worker: {message}")?,
        }
        self.place().map_or(Ok(()), |place| write!(f, " at {place}"))
    }
}

/// Cuts a text that comes from outside to [`crate::limits::MESSAGE_BYTES`], on a character boundary.
#[must_use]
pub fn bounded(text: String) -> String {
    cut(text, crate::limits::MESSAGE_BYTES)
}

/// Makes one short line of what user code says that it is doing; control characters are written out. `None` if that is nothing.
#[must_use]
pub fn status(text: &str) -> Option<String> {
    let mut line = String::new();
    for c in text.trim().chars().take(crate::limits::STATUS_BYTES) {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    (!line.is_empty()).then(|| cut(line, crate::limits::STATUS_BYTES))
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let cut = text.floor_char_boundary(limit);
        text.truncate(cut);
        text.push('…');
    }
    text
}
