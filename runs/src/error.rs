//! What can go wrong with a run, by what the caller has to do.

use std::io;

/// Why a run could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file, disk or peer failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not what was written: fetch them again or make them again.
    #[error("damaged run at byte {offset}: {what}")]
    Corrupt {
        /// What does not fit.
        what: String,
        /// Where, from the start of the file or of the section that was read.
        offset: u64,
    },
    /// A record is longer than the format allows.
    #[error("a {what} of {bytes} bytes is too long: the limit is {limit} bytes")]
    TooLong {
        /// `key` or `value`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The caller pushed records in the wrong order, or into a partition that the header does not have.
    #[error("partition {partition} pushed after {last} in a run of {partitions}")]
    OutOfOrder {
        /// The partition that was pushed.
        partition: u32,
        /// The one before.
        last: u32,
        /// Partitions of the run.
        partitions: u32,
    },
}

impl RunError {
    pub(crate) fn corrupt(what: impl Into<String>, offset: u64) -> Self {
        Self::Corrupt { what: what.into(), offset }
    }

    /// Says whether the bytes themselves are bad, not the way to them.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}
