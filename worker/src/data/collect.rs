//! Takes records from user code and hands them to a sink in batches.
//!
//! A record costs its copy into a small buffer; the one dynamic call to the sink is paid per batch, and there the sink
//! works on many records at a time. Whatever fails is remembered and ends the attempt; user code need not care.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::{Place, Reason, limits};
use gristmill_runs::RunSummary;

use super::counters::Counters;
use super::failure;
use crate::position::Position;

/// A batch is handed on when it has this many bytes: it stays in the first-level cache.
const BATCH_BYTES: usize = 16 << 10;
/// Or this many records.
const BATCH_RECORDS: usize = 1 << 10;

/// Where a record ends in a batch; it starts where the one before ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) key_end: u32,
    pub(super) end: u32,
}

/// Encoded records, one after the other.
#[derive(Default)]
pub(super) struct Batch {
    /// Key and value of each record. When a sink gets it, [`Batch::SLACK`] zero bytes follow the last record.
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Span>,
}

impl Batch {
    /// Zero bytes behind the last record, so that a sink can load the bytes of a short key at once.
    pub(super) const SLACK: usize = 16;
}

/// What becomes of collected records.
pub(super) trait Sink: Send {
    /// Takes all records of the batch.
    fn take(&mut self, batch: &Batch) -> Result<(), Reason>;
    /// Writes the output, if there were records.
    fn finish(&mut self) -> Result<RunSummary, Reason>;
}

/// Collects the records of a map attempt.
pub struct Collector {
    batch: Batch,
    sink: Box<dyn Sink>,
    counters: Counters,
    failed: Option<Reason>,
    name: Arc<str>,
    position: Arc<Position>,
    cancel: Arc<AtomicBool>,
}

impl Collector {
    pub(super) fn new(sink: Box<dyn Sink>, position: Arc<Position>, cancel: Arc<AtomicBool>) -> Self {
        let batch = Batch { bytes: Vec::with_capacity(2 * BATCH_BYTES), spans: Vec::with_capacity(BATCH_RECORDS) };
        let name = Arc::from("the start of the task");
        Self { batch, sink, counters: Counters::default(), failed: None, name, position, cancel }
    }

    /// Appends a record: both functions append to what they are given.
    #[inline]
    pub fn emit(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        let batch = &mut self.batch;
        let start = batch.bytes.len();
        key(&mut batch.bytes);
        let key_end = batch.bytes.len();
        value(&mut batch.bytes);
        let end = batch.bytes.len();
        if end - start > limits::LINE_BYTES {
            self.too_long(start, key_end);
            return;
        }
        // A batch is below 16 KiB before a record of at most 64 MiB: both ends fit.
        batch.spans.push(Span { key_end: key_end as u32, end: end as u32 });
        if end >= BATCH_BYTES || batch.spans.len() >= BATCH_RECORDS {
            self.flush();
        }
    }

    #[cold]
    fn too_long(&mut self, start: usize, key_end: usize) {
        let bytes = self.batch.bytes.len() - start;
        let (key, limit) = (key_end - start, limits::LINE_BYTES);
        self.batch.bytes.truncate(start);
        self.batch.bytes.shrink_to(2 * BATCH_BYTES);
        self.limit(format!("a record of {bytes} bytes was emitted, {key} of them key: the limit is {limit}"));
    }

    /// Adds to a counter of the job.
    pub fn count(&mut self, name: &str, delta: i64) {
        if let Err(message) = self.counters.add(name, delta) {
            self.limit(message);
        }
    }

    fn limit(&mut self, message: String) {
        let at = Some(self.place());
        self.failed.get_or_insert(Reason::Limit { message, at });
    }

    /// Returns the offset of what the mapper was given: a byte offset in the file, or a number.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.position.offset()
    }

    /// Says which record of a block is worked on, so that a crash names it; a byte offset in the file.
    pub fn at(&self, offset: u64) {
        self.position.at(offset);
    }

    pub(super) fn enter(&mut self, name: Arc<str>) {
        self.name = name;
    }

    pub(super) fn place(&self) -> Place {
        Place { file: self.name.to_string(), offset: self.position.offset() }
    }

    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    #[inline(never)]
    pub(super) fn flush(&mut self) {
        if self.failed.is_none() && !self.batch.spans.is_empty() {
            self.batch.bytes.resize(self.batch.bytes.len() + Batch::SLACK, 0);
            if let Err(reason) = self.sink.take(&self.batch) {
                self.failed = Some(reason);
            }
        }
        self.position.tick();
        self.batch.spans.clear();
        self.batch.bytes.clear();
    }

    /// Returns why the attempt has to end, if it has to.
    pub(super) fn check(&mut self) -> Result<(), Reason> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(failure::cancelled());
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    pub(super) fn finish(mut self) -> Result<(RunSummary, std::collections::BTreeMap<String, i64>), Reason> {
        self.flush();
        self.check()?;
        let summary = self.sink.finish()?;
        Ok((summary, self.counters.take()))
    }
}
