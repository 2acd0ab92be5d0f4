//! A journal that lives as long as its process: for embedded runs, whose jobs end with it, and for tests.

use gristmill_common::JobId;
use uuid::Uuid;

use super::{Journal, JournalError, Record, Row};
use crate::scheduler::Entry;

/// Rows in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    cluster: Uuid,
    rows: Vec<Row>,
    last_seq: u64,
}

impl MemoryJournal {
    /// Makes an empty journal of this cluster.
    #[must_use]
    pub fn new(cluster: Uuid) -> Self {
        Self { cluster, rows: Vec::new(), last_seq: 0 }
    }
}

impl Journal for MemoryJournal {
    fn cluster(&self) -> Uuid {
        self.cluster
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        for Record { wall_ms, entry } in records {
            let body = serde_json::to_string(entry).map_err(|error| JournalError::Broken(error.to_string()))?;
            self.last_seq += 1;
            let kind = entry.kind().to_owned();
            self.rows.push(Row { seq: self.last_seq, job: entry.job(), wall_ms: *wall_ms, kind, body });
        }
        Ok(())
    }

    fn rows(&mut self, job: Option<JobId>, after: u64, limit: usize) -> Result<Vec<Row>, JournalError> {
        let start = self.rows.partition_point(|row| row.seq <= after);
        let wanted = self.rows[start..].iter().filter(|row| job.is_none() || row.job == job);
        Ok(wanted.take(limit).cloned().collect())
    }

    fn forget(&mut self, job: JobId) -> Result<bool, JournalError> {
        self.rows.retain(|row| row.job != Some(job));
        Ok(false)
    }

    fn compact(&mut self, job: JobId, summary: &Entry) -> Result<bool, JournalError> {
        let body = serde_json::to_string(summary).map_err(|error| JournalError::Broken(error.to_string()))?;
        if let Some(first) = self.rows.iter_mut().find(|row| row.job == Some(job) && row.kind == "submitted") {
            (first.kind, first.body) = (summary.kind().to_owned(), body);
        }
        let is_kept = |row: &Row| row.job != Some(job) || row.kind == summary.kind() || row.kind == "job_removed";
        self.rows.retain(is_kept);
        Ok(false)
    }

    fn has_room(&mut self) -> bool {
        true
    }
}
