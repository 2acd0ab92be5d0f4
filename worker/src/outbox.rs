//! Reports that the coordinator has not acknowledged, kept on disk across the worker's own restarts.
//!
//! One file that is only appended to: lines of a checksum and JSON, either a report or an acknowledgement of fences. Not
//! fsynced: it must survive the process, not the machine; a lost report costs one attempt. A torn or damaged line is
//! skipped. The file is written anew when it is opened and when most of it is acknowledged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_common::wire::{Report, TaskResult};
use gristmill_common::{FenceRange, limits};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::exchange::{FenceMap, HeldGrant};

/// A file of less than this is not worth being written anew.
const COMPACT_BYTES: u64 = 8 << 20;
const CHECKSUM_DIGITS: usize = 16;

/// The open outbox.
#[derive(Debug)]
pub(crate) struct Outbox {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    live_bytes: u64,
    /// By fence, the length of the line that reports it; shared by all fences of the line.
    live: FenceMap<Arc<u64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Report(Report),
    Acked(Vec<FenceRange>),
}

impl Outbox {
    /// Opens or creates the outbox and returns the reports in it.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn open(path: PathBuf) -> io::Result<(Self, Vec<Report>)> {
        let reports = read(&path)?;
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let mut outbox = Self { path, file, file_bytes: 0, live_bytes: 0, live: FenceMap::default() };
        outbox.rewrite(&reports)?;
        Ok((outbox, reports))
    }

    /// Adds a report.
    ///
    /// # Errors
    /// When the file cannot be written; the report is then only in memory.
    pub(crate) fn add(&mut self, report: Report) -> io::Result<()> {
        self.add_all(std::slice::from_ref(&report))
    }

    fn add_all(&mut self, reports: &[Report]) -> io::Result<()> {
        let mut text = Vec::new();
        for report in reports {
            let before = text.len();
            write_line(&mut text, &Line::Report(report.clone()))?;
            let length = Arc::new((text.len() - before) as u64);
            let Some(grant) = HeldGrant::of(&report.token) else { continue };
            for result in &report.results {
                self.live.insert(grant.fences(result.tasks), &length);
            }
            self.live_bytes += *length;
        }
        self.append(&text)
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(text);
        self.settle(written, text.len())
    }

    /// Counts what was written. A line that was written in part is cut off, or it would take the next one along.
    fn settle(&mut self, written: io::Result<()>, length: usize) -> io::Result<()> {
        match written {
            Ok(()) => self.file_bytes += length as u64,
            Err(_) => self.file.set_len(self.file_bytes)?,
        }
        written
    }

    /// Forgets reports.
    ///
    /// # Errors
    /// When the file cannot be written; the reports are then sent again by the worker's next life, which is harmless.
    pub(crate) fn acknowledge(&mut self, fences: &[FenceRange]) -> io::Result<()> {
        for &range in fences {
            for (_, length) in self.live.remove(range) {
                // The last fence of its line.
                if let Some(length) = Arc::into_inner(length) {
                    self.live_bytes = self.live_bytes.saturating_sub(length);
                }
            }
        }
        if self.live.is_empty() {
            self.file.set_len(0)?;
            (self.file_bytes, self.live_bytes) = (0, 0);
            return Ok(());
        }
        let mut text = Vec::new();
        write_line(&mut text, &Line::Acked(fences.to_vec()))?;
        self.append(&text)?;
        if self.file_bytes > COMPACT_BYTES && self.file_bytes / 4 > self.live_bytes {
            let reports = read(&self.path)?;
            self.rewrite(&reports)?;
        }
        Ok(())
    }

    /// Says whether there is no room for more.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.live_bytes >= limits::OUTBOX_BYTES
    }

    fn rewrite(&mut self, reports: &[Report]) -> io::Result<()> {
        let staged = self.path.with_extension("new");
        let file = OpenOptions::new().append(true).create(true).open(&staged)?;
        file.set_len(0)?;
        let path = self.path.clone();
        let mut next = Self { path, file, file_bytes: 0, live_bytes: 0, live: FenceMap::default() };
        next.add_all(reports)?;
        fs::rename(staged, &self.path)?;
        // Until here all goes on with the file that is in place.
        *self = next;
        Ok(())
    }
}

fn write_line(text: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    let json = serde_json::to_vec(line)?;
    write!(text, "{:016x} ", xxh3_64(&json))?;
    text.extend_from_slice(&json);
    text.push(b'\n');
    Ok(())
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let (checksum, rest) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    let checksum = u64::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    (checksum == xxh3_64(json)).then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Reads the reports that are not acknowledged.
fn read(path: &Path) -> io::Result<Vec<Report>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut live: FenceMap<(Arc<HeldGrant>, Arc<TaskResult>)> = FenceMap::default();
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match parse_line(line) {
            Some(Line::Report(report)) => {
                let Some(grant) = HeldGrant::of(&report.token).map(Arc::new) else { continue };
                for result in report.results {
                    let fences = grant.fences(result.tasks);
                    live.insert(fences, &(Arc::clone(&grant), Arc::new(result)));
                }
            }
            Some(Line::Acked(fences)) => {
                for range in fences {
                    live.remove(range);
                }
            }
            None => {
                tracing::warn!(path = %path.display(), "skipped a damaged line of the outbox; its attempt runs again");
            }
        }
    }
    let report = |(fences, (grant, result)): (FenceRange, &(Arc<HeldGrant>, Arc<TaskResult>))| Report {
        token: grant.token.clone(),
        results: vec![TaskResult { tasks: grant.tasks(fences), outcome: result.outcome.clone() }],
    };
    Ok(live.iter().map(report).collect())
}

#[cfg(test)]
mod tests {
    use gristmill_common::wire::Outcome;
    use gristmill_common::{Fence, Generation, GrantName, JobId, Reason, Stage, TaskRange, TokenSecret};

    use super::*;

    fn report(first: u32, count: u32) -> Report {
        let name = GrantName {
            job: JobId(uuid::Uuid::nil()),
            step: 0,
            stage: Stage::Map,
            tasks: TaskRange { first: 0, count: 1000 },
            first_fence: Fence(5000),
            generation: Generation(0),
        };
        let outcome = Outcome::Failed(Reason::Worker { message: "x".repeat(100) });
        let results = vec![TaskResult { tasks: TaskRange { first, count }, outcome }];
        Report { token: TokenSecret::new([0; 32]).sign(&name), results }
    }

    fn fences(first: u64, count: u32) -> FenceRange {
        FenceRange { first: Fence(first), count }
    }

    fn ranges(reports: &[Report]) -> Vec<(u32, u32)> {
        reports.iter().flat_map(|report| &report.results).map(|r| (r.tasks.first, r.tasks.count)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("outbox");
        let (mut outbox, reports) = Outbox::open(path.clone()).expect("opens");
        assert!(reports.is_empty());
        outbox.add(report(0, 10)).expect("written");
        outbox.add(report(20, 1)).expect("written");
        outbox.acknowledge(&[fences(5003, 4)]).expect("written");
        drop(outbox);
        let (mut outbox, reports) = Outbox::open(path.clone()).expect("opens");
        assert_eq!(ranges(&reports), [(0, 3), (7, 3), (20, 1)]);
        outbox.acknowledge(&[fences(5000, 100)]).expect("written");
        assert_eq!((fs::metadata(&path).expect("is there").len(), outbox.live_bytes), (0, 0));
    }

    #[test]
    fn a_torn_tail_and_a_damaged_line_cost_their_own_reports_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("outbox");
        let (mut outbox, _) = Outbox::open(path.clone()).expect("opens");
        for first in 0..4 {
            outbox.add(report(first, 1)).expect("written");
        }
        drop(outbox);
        let mut text = fs::read(&path).expect("is there");
        let line = text.len() / 4;
        text[line + 60] ^= 1;
        for cut in [text.len() - 1, text.len() - line / 2] {
            fs::write(&path, &text[..cut]).expect("written");
            let (mut outbox, reports) = Outbox::open(path.clone()).expect("opens");
            let whole = cut == text.len() - 1;
            assert_eq!(ranges(&reports), if whole { vec![(0, 1), (2, 1), (3, 1)] } else { vec![(0, 1), (2, 1)] });
            outbox.add(report(9, 1)).expect("the next line is whole again");
            drop(outbox);
            assert_eq!(ranges(&Outbox::open(path.clone()).expect("opens").1).last(), Some(&(9, 1)));
        }
    }

    #[test]
    fn a_line_that_was_written_in_part_does_not_take_the_next_one_along() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("outbox");
        let (mut outbox, _) = Outbox::open(path.clone()).expect("opens");
        outbox.add(report(0, 1)).expect("written");
        let torn = outbox.file.write_all(b"half of a li").and(Err(io::ErrorKind::StorageFull.into()));
        assert!(outbox.settle(torn, 20).is_err());
        outbox.add(report(1, 1)).expect("there is room again");
        drop(outbox);
        assert_eq!(ranges(&Outbox::open(path).expect("opens").1), [(0, 1), (1, 1)]);
    }

    #[test]
    fn a_file_that_cannot_be_written_anew_stays_in_use() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, aside) = (dir.path().join("outbox"), dir.path().join("aside"));
        let (mut outbox, _) = Outbox::open(path.clone()).expect("opens");
        outbox.add(report(0, 1)).expect("written");
        let before = (outbox.file_bytes, outbox.live_bytes);
        fs::rename(&path, &aside).expect("moved");
        fs::create_dir(&path).expect("in the way");
        outbox.rewrite(&[report(0, 1)]).expect_err("the new file cannot take its place");
        assert_eq!((outbox.file_bytes, outbox.live_bytes), before);
        outbox.add(report(1, 1)).expect("written");
        drop(outbox);
        assert_eq!(ranges(&read(&aside).expect("read")), [(0, 1), (1, 1)]);
    }

    #[test]
    fn a_file_that_is_mostly_acknowledged_is_written_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("outbox");
        let (mut outbox, _) = Outbox::open(path.clone()).expect("opens");
        outbox.add(report(999, 1)).expect("written");
        let mut written = 0;
        while written < 3 * COMPACT_BYTES {
            let before = outbox.file_bytes;
            for first in 0..500 {
                outbox.add(report(first, 1)).expect("written");
            }
            written += outbox.file_bytes.saturating_sub(before);
            outbox.acknowledge(&[fences(5000, 500)]).expect("written");
        }
        assert!(fs::metadata(&path).expect("is there").len() < 2 * COMPACT_BYTES);
        drop(outbox);
        assert_eq!(ranges(&Outbox::open(path).expect("opens").1), [(999, 1)]);
    }
}
