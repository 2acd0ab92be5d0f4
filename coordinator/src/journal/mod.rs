//! The journal: the durable facts of the coordinator, in the order in which they were decided.
//!
//! A batch is appended whole or not at all, and `append` returns only when it is on disk. The journal does not know what
//! an entry means: rows carry JSON, and the scheduler's fold gives it meaning. Nothing here retries: an error that leaves
//! it open whether a batch is on disk is [`JournalError::Broken`], and whoever gets it must end.

pub mod memory;
pub mod sqlite;
pub mod thread;

#[cfg(test)]
pub(crate) mod tests;

use gristmill_common::JobId;
use uuid::Uuid;

use crate::scheduler::{Entry, WallMs};

/// Version of the journal's schema. A journal of a newer one is refused.
pub const SCHEMA_VERSION: u32 = 1;

/// An entry on its way into the journal.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was decided, for display.
    pub wall_ms: WallMs,
    /// The fact.
    pub entry: Entry,
}

/// An entry as the journal holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its number; rises, may have gaps, is never used again.
    pub seq: u64,
    /// The job that it is about.
    pub job: Option<JobId>,
    /// When it was written, for display.
    pub wall_ms: WallMs,
    /// The entry's kind in one word.
    pub kind: String,
    /// The entry as JSON.
    pub body: String,
}

impl Row {
    /// Reads the entry out of the row.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`] when the body is not an entry of this version.
    pub fn entry(&self) -> Result<Entry, JournalError> {
        serde_json::from_str(&self.body).map_err(|error| JournalError::Unreadable {
            seq: self.seq,
            kind: self.kind.clone(),
            error,
        })
    }
}

/// What can go wrong with a journal, by what has to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no room. The batch was rolled back: nothing of it is there, and it may be appended again.
    #[error("the journal has no room: {0}")]
    Full(String),
    /// It is not known what is on disk. The process must end; the next start reads what is there.
    #[error("the journal is broken: {0}")]
    Broken(String),
    /// It was written by a newer version.
    #[error(
        "the journal in {path} has schema version {found}, this program reads up to {SCHEMA_VERSION}: \
         start the newer program that wrote it"
    )]
    Newer {
        /// Where it is.
        path: String,
        /// Its version.
        found: u32,
    },
    /// A row does not hold an entry.
    #[error("row {seq} ({kind}) of the journal is not an entry of this version: {error}")]
    Unreadable {
        /// Number of the row.
        seq: u64,
        /// What it calls itself.
        kind: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// Where entries are kept. SQLite for coordinators, memory for tests and for jobs that end with their process.
pub trait Journal: Send {
    /// Returns the cluster that the journal belongs to: epochs and fences count within it.
    fn cluster(&self) -> Uuid;

    /// Appends the records in order, all or none, and returns when they are durable.
    ///
    /// # Errors
    /// [`JournalError::Full`] when nothing was written, [`JournalError::Broken`] when that is not known.
    fn append(&mut self, records: &[Record]) -> Result<(), JournalError>;

    /// Returns up to `limit` rows with a number above `after`, in order; of one job or of all.
    ///
    /// # Errors
    /// [`JournalError::Broken`] when they cannot be read.
    fn rows(&mut self, job: Option<JobId>, after: u64, limit: usize) -> Result<Vec<Row>, JournalError>;

    /// Deletes rows of a job that is removed, a bounded number at a time, and says whether there are more.
    ///
    /// The newest go first and the row that says `job_removed` goes last, so that what a crash leaves is a history that
    /// was true once, and its end.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn forget(&mut self, job: JobId) -> Result<bool, JournalError>;

    /// Puts a summary in the place of a job's first row and deletes its other rows, a bounded number at a time; says whether
    /// there are more. The newest go first: what a crash leaves is the summary and rows that change nothing behind it.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn compact(&mut self, job: JobId, summary: &Entry) -> Result<bool, JournalError>;

    /// Says whether there is room beyond the reserve; when not, nothing new should be begun.
    fn has_room(&mut self) -> bool;
}

/// Reads a whole journal in pages. Stops at the first error, which stays in the iterator.
pub struct Replay<'a> {
    journal: &'a mut dyn Journal,
    page: std::vec::IntoIter<Row>,
    after: u64,
    failed: Option<JournalError>,
}

impl<'a> Replay<'a> {
    const PAGE_ROWS: usize = 4_096;

    /// Starts at the first row.
    pub fn new(journal: &'a mut dyn Journal) -> Self {
        Self { journal, page: Vec::new().into_iter(), after: 0, failed: None }
    }

    /// Returns the error that ended the replay, if one did.
    ///
    /// # Errors
    /// The error itself.
    pub fn finish(self) -> Result<(), JournalError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn read(&mut self) -> Result<Option<Entry>, JournalError> {
        if self.page.len() == 0 {
            self.page = self.journal.rows(None, self.after, Self::PAGE_ROWS)?.into_iter();
        }
        let Some(row) = self.page.next() else { return Ok(None) };
        self.after = row.seq;
        row.entry().map(Some)
    }
}

impl Iterator for Replay<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.failed.is_some() {
            return None;
        }
        self.read().unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        })
    }
}
