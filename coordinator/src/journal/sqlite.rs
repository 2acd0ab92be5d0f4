//! The journal on SQLite: one file, write-ahead log, every commit synced.
//!
//! The library is compiled in, never the system's: versions before 3.51.3 can corrupt a log that is reset while it is
//! read. A full disk is a clean rollback and is told apart from every other error, after which it is not known what is on
//! disk. A ballast file keeps room for what is already begun: it is given up when the disk fills, so that reports and
//! ends of jobs still find room, and made again when there is plenty.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gristmill_common::{JobId, limits};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use uuid::Uuid;

use super::{Journal, JournalError, Record, Row, SCHEMA_VERSION};
use crate::scheduler::Entry;

/// Rows deleted in one transaction, so that a large job's end does not hold up the commits of others.
const ROWS_PER_DELETE: u32 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS journal (schema_version INTEGER NOT NULL, cluster TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        job BLOB,
        wall_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS entries_of_job ON entries (job, seq);
";

/// A journal file. Whoever opens it must hold the lock of the data directory.
#[derive(Debug)]
pub struct SqliteJournal {
    connection: Connection,
    cluster: Uuid,
    ballast: PathBuf,
}

impl SqliteJournal {
    /// Opens `journal.db` in the directory, and makes it for `fresh_cluster` when it is not there.
    ///
    /// # Errors
    /// [`JournalError::Newer`] for a journal of a newer program, [`JournalError::Broken`] for one that cannot be opened.
    pub fn open(directory: &Path, fresh_cluster: Uuid) -> Result<Self, JournalError> {
        let path = directory.join("journal.db");
        let connection = Connection::open(&path).map_err(|error| cannot_open(&path, &error))?;
        let cluster = prepare(&connection, &path, fresh_cluster)?;
        let mut journal = Self { connection, cluster, ballast: directory.join("journal.ballast") };
        if !journal.has_room() {
            tracing::warn!(path = %path.display(), "the disk of the journal is nearly full: nothing new is begun until there is room");
        }
        Ok(journal)
    }

    fn write(&mut self, records: &[Record]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO entries (job, wall_ms, kind, body) VALUES (?1, ?2, ?3, ?4)")?;
            for Record { wall_ms, entry } in records {
                let body = serde_json::to_string(entry)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                let job = entry.job().map(|job| job.0.into_bytes());
                insert.execute(params![job, wall_ms.cast_signed(), entry.kind(), body])?;
            }
        }
        transaction.commit()
    }

    fn delete(&mut self, job: JobId) -> rusqlite::Result<bool> {
        let job = job.0.into_bytes();
        let deleted = self.connection.execute(
            "DELETE FROM entries WHERE seq IN (SELECT seq FROM entries WHERE job = ?1 AND kind <> 'job_removed' \
             ORDER BY seq DESC LIMIT ?2)",
            params![job, ROWS_PER_DELETE],
        )?;
        if deleted < ROWS_PER_DELETE as usize {
            self.connection.execute("DELETE FROM entries WHERE job = ?1", params![job])?;
            return Ok(false);
        }
        Ok(true)
    }

    fn replace(&mut self, job: JobId, summary: &Entry) -> rusqlite::Result<bool> {
        let body =
            serde_json::to_string(summary).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let (job, kind) = (job.0.into_bytes(), summary.kind());
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE entries SET kind = ?2, body = ?3 WHERE kind = 'submitted' \
             AND seq = (SELECT min(seq) FROM entries WHERE job = ?1)",
            params![job, kind, body],
        )?;
        let deleted = transaction.execute(
            "DELETE FROM entries WHERE seq IN (SELECT seq FROM entries WHERE job = ?1 \
             AND kind NOT IN (?2, 'job_removed') ORDER BY seq DESC LIMIT ?3)",
            params![job, kind, ROWS_PER_DELETE],
        )?;
        transaction.commit()?;
        Ok(deleted >= ROWS_PER_DELETE as usize)
    }

    fn judge(&self, error: rusqlite::Error) -> JournalError {
        // Only a transaction that is certainly gone may be tried again; a rusqlite transaction rolls back when dropped.
        if is_full(&error) && self.connection.is_autocommit() {
            return JournalError::Full(error.to_string());
        }
        broken(error)
    }

    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        self.connection.pragma_update(None, "max_page_count", pages).expect("a pragma");
    }

    #[cfg(test)]
    pub(crate) fn pages(&self) -> u32 {
        self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a pragma")
    }
}

impl Journal for SqliteJournal {
    fn cluster(&self) -> Uuid {
        self.cluster
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let Err(error) = self.write(records) else { return Ok(()) };
        if is_full(&error) && self.connection.is_autocommit() && fs::remove_file(&self.ballast).is_ok() {
            tracing::error!(
                "the disk of the journal is full: its ballast was given up, nothing new is begun; free some space"
            );
            return self.write(records).map_err(|error| self.judge(error));
        }
        Err(self.judge(error))
    }

    fn rows(&mut self, job: Option<JobId>, after: u64, limit: usize) -> Result<Vec<Row>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let read = || -> rusqlite::Result<Vec<Row>> {
            let columns = "SELECT seq, job, wall_ms, kind, body FROM entries";
            if let Some(job) = job {
                let text = format!("{columns} WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
                let mut select = self.connection.prepare_cached(&text)?;
                select.query_map(params![job.0.into_bytes(), after, limit], row)?.collect()
            } else {
                let text = format!("{columns} WHERE seq > ?1 ORDER BY seq LIMIT ?2");
                let mut select = self.connection.prepare_cached(&text)?;
                select.query_map(params![after, limit], row)?.collect()
            }
        };
        read().map_err(broken)
    }

    fn forget(&mut self, job: JobId) -> Result<bool, JournalError> {
        self.delete(job).map_err(|error| self.judge(error))
    }

    fn compact(&mut self, job: JobId, summary: &Entry) -> Result<bool, JournalError> {
        self.replace(job, summary).map_err(|error| self.judge(error))
    }

    fn has_room(&mut self) -> bool {
        self.ballast.exists() || make_ballast(&self.ballast).unwrap_or(false)
    }
}

/// Sets the connection up, makes or checks the schema, and returns the journal's cluster.
fn prepare(connection: &Connection, path: &Path, fresh_cluster: Uuid) -> Result<Uuid, JournalError> {
    let open = || -> rusqlite::Result<(u32, String)> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let known: bool =
            connection
                .query_row("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'journal'", [], |row| row.get(0))?;
        if !known {
            connection.execute_batch(SCHEMA)?;
            let first = params![SCHEMA_VERSION, fresh_cluster.to_string()];
            connection.execute("INSERT INTO journal (schema_version, cluster) VALUES (?1, ?2)", first)?;
        }
        let found = connection
            .query_row("SELECT schema_version, cluster FROM journal", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        connection.execute_batch("COMMIT")?;
        found.ok_or(rusqlite::Error::QueryReturnedNoRows)
    };
    let (found, cluster) = open().map_err(|error| cannot_open(path, &error))?;
    if found > SCHEMA_VERSION {
        return Err(JournalError::Newer { path: path.display().to_string(), found });
    }
    cluster.parse().map_err(|error| JournalError::Broken(format!("the cluster's id in {}: {error}", path.display())))
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let job: Option<[u8; 16]> = row.get(1)?;
    Ok(Row {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        job: job.map(|bytes| JobId(Uuid::from_bytes(bytes))),
        wall_ms: row.get::<_, i64>(2)?.cast_unsigned(),
        kind: row.get(3)?,
        body: row.get(4)?,
    })
}

/// Makes the ballast when that still leaves as much again; `false` when there is not so much room.
fn make_ballast(path: &Path) -> std::io::Result<bool> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(directory)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < 2 * limits::JOURNAL_BALLAST_BYTES {
        return Ok(false);
    }
    let staged = path.with_extension("ballast.new");
    let mut file = File::create(&staged)?;
    let block = vec![0; 1 << 20];
    let mut left = limits::JOURNAL_BALLAST_BYTES;
    while left > 0 {
        let length = left.min(block.len() as u64);
        file.write_all(&block[..usize::try_from(length).unwrap_or(block.len())])?;
        left -= length;
    }
    file.sync_all()?;
    fs::rename(&staged, path)?;
    Ok(true)
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

#[expect(clippy::needless_pass_by_value, reason = "it is the function that `map_err` wants")]
fn broken(error: rusqlite::Error) -> JournalError {
    JournalError::Broken(error.to_string())
}

fn cannot_open(path: &Path, error: &rusqlite::Error) -> JournalError {
    JournalError::Broken(format!("cannot open {}: {error}", path.display()))
}
