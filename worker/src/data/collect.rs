//! Takes records from user code and hands them to a sink in batches.
//!
//! A record costs its copy into a small buffer; the one dynamic call to the sink is paid per batch, and there the sink
//! works on many records at a time. Whatever fails is remembered and ends the attempt; user code need not care.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::{Place, Reason, limits};
use gristmill_runs::RunSummary;
use memchr::memchr_iter;

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

/// A key inside a text: its first byte and the one behind its last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What becomes of collected records.
pub(super) trait Sink: Send {
    /// Takes all records of the batch.
    fn take(&mut self, batch: &Batch) -> Result<(), Reason>;

    /// Takes records whose keys are stretches of one text, all with one value.
    fn take_stretches(&mut self, text: &[u8], keys: &[Stretch], value: &[u8]) -> Result<(), Reason> {
        let mut batch = Batch::default();
        for key in keys {
            batch.bytes.extend_from_slice(&text[key.start as usize..key.end as usize]);
            let key_end = batch.bytes.len() as u32;
            batch.bytes.extend_from_slice(value);
            batch.spans.push(Span { key_end, end: batch.bytes.len() as u32 });
        }
        batch.bytes.resize(batch.bytes.len() + Batch::SLACK, 0);
        self.take(&batch)
    }

    /// Takes records that lie one after the other in a text from its beginning, key before value.
    fn take_halves(&mut self, text: &[u8], spans: &[Span]) -> Result<(), Reason> {
        let length = spans.last().map_or(0, |span| span.end as usize);
        let mut batch = Batch { bytes: text[..length].to_vec(), spans: spans.to_vec() };
        batch.bytes.resize(length + Batch::SLACK, 0);
        self.take(&batch)
    }

    /// Writes the output, if there were records.
    fn finish(&mut self) -> Result<RunSummary, Reason>;

    /// Bytes that were written beside the output, to be merged into it.
    fn spilled_bytes(&self) -> u64 {
        0
    }
}

/// Takes keys that are stretches of one text and hands them on without copying them; what is left, when it is dropped.
pub struct Stretches<'a> {
    text: &'a [u8],
    value: Vec<u8>,
    keys: Vec<Stretch>,
    /// Bytes of the keys.
    bytes: usize,
    out: &'a mut Collector,
}

impl Stretches<'_> {
    /// Emits the record whose key is this stretch of the text.
    ///
    /// # Panics
    /// If the range is not inside the text.
    #[inline]
    pub fn push(&mut self, key: Range<usize>) {
        assert!(key.start <= key.end && key.end <= self.text.len(), "a key outside of its text");
        self.bytes += key.len();
        // A text is at most a block, which has the length of the longest line at most.
        self.keys.push(Stretch { start: key.start as u32, end: key.end as u32 });
        if self.keys.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    #[inline(never)]
    fn flush(&mut self) {
        let Self { text, value, keys, bytes, out } = self;
        let longest = limits::LINE_BYTES.saturating_sub(value.len());
        if *bytes > longest && keys.iter().any(|key| (key.end - key.start) as usize > longest) {
            out.limit(format!("a record with a key of more than {longest} bytes was emitted: that is the limit"));
        } else if out.failed.is_none() && !keys.is_empty() {
            out.failed = out.sink.take_stretches(text, keys, value).err();
        }
        out.position.tick();
        keys.clear();
        *bytes = 0;
    }
}

impl Drop for Stretches<'_> {
    fn drop(&mut self) {
        self.flush();
        self.out.keys = std::mem::take(&mut self.keys);
    }
}

/// Collects the records of a map attempt.
pub struct Collector {
    batch: Batch,
    /// Room for the keys of [`Stretches`], used again and again.
    keys: Vec<Stretch>,
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
        Self {
            batch,
            keys: Vec::with_capacity(BATCH_RECORDS),
            sink,
            counters: Counters::default(),
            failed: None,
            name,
            position,
            cancel,
        }
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

    /// Emits records whose keys are stretches of this text, all with the value that is appended. Quicker than emitting
    /// each: nothing is copied.
    ///
    /// # Panics
    /// If the text is longer than 4 GiB, which no block is.
    pub fn stretches<'a>(&'a mut self, text: &'a [u8], value: impl FnOnce(&mut Vec<u8>)) -> Stretches<'a> {
        assert!(u32::try_from(text.len()).is_ok(), "a text of more than 4 GiB");
        // Records keep the order in which they were emitted.
        self.flush();
        let mut encoded = Vec::new();
        value(&mut encoded);
        let keys = std::mem::take(&mut self.keys);
        Stretches { text, value: encoded, keys, bytes: 0, out: self }
    }

    /// Emits the lines of a text as records: the first `key_bytes` of each are its key, the rest with the line feed its value.
    /// Nothing is copied on the way; returns what is left behind the last line feed.
    ///
    /// # Panics
    /// If the text is longer than 4 GiB, which no block is.
    pub fn lines_by_prefix<'t>(&mut self, mut text: &'t [u8], key_bytes: usize) -> &'t [u8] {
        assert!(u32::try_from(text.len()).is_ok(), "a text of more than 4 GiB");
        // Records keep the order in which they were emitted.
        self.flush();
        let mut spans = std::mem::take(&mut self.batch.spans);
        while self.failed.is_none() && !text.is_empty() {
            spans.clear();
            let mut start = 0_usize;
            for end in memchr_iter(b'\n', text).take(BATCH_RECORDS) {
                let key_end = start.saturating_add(key_bytes).min(end);
                // A text is at most 4 GiB.
                spans.push(Span { key_end: key_end as u32, end: end as u32 + 1 });
                start = end + 1;
            }
            if spans.is_empty() {
                break;
            }
            self.failed = self.sink.take_halves(text, &spans).err();
            self.position.tick();
            text = &text[start..];
        }
        spans.clear();
        self.batch.spans = spans;
        text
    }

    #[cold]
    fn too_long(&mut self, start: usize, key_end: usize) {
        let bytes = self.batch.bytes.len() - start;
        let (key, limit) = (key_end - start, limits::LINE_BYTES);
        self.batch.bytes.truncate(start);
        self.batch.bytes.shrink_to(2 * BATCH_BYTES);
        self.limit(format!("a record of {bytes} bytes was emitted, {key} of them key: the limit is {limit}"));
    }

    /// Says what user code does, for people who look at the running attempt.
    pub fn status(&self, text: &str) {
        self.position.say(text);
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

    /// What is read, as places name it.
    pub(super) fn name(&self) -> &str {
        &self.name
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
        let (mut counters, spilled) = (self.counters.take(), self.sink.spilled_bytes());
        if spilled > 0 {
            // Depends on the plan and the input alone, as all that is counted once for each won attempt.
            counters.insert(limits::SPILLED_COUNTER.to_owned(), i64::try_from(spilled).unwrap_or(i64::MAX));
        }
        Ok((summary, counters))
    }
}
