//! The lines of a part: what a reducer writes, and what a map-only step makes of its records.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::{Reason, limits};
use gristmill_runs::RunSummary;

use super::collect::{Batch, Sink};
use super::counters::Counters;
use super::failure;
use super::fed::Destination;
use super::function::Text;
use super::output::PartOutput;
use crate::position::Position;
use crate::program::MapTask;

/// Takes the lines that a reducer writes. Whatever fails is remembered and ends the attempt.
pub struct Lines {
    to: Destination,
    key: Vec<u8>,
    text: Vec<u8>,
    counters: Counters,
    position: Arc<Position>,
    failed: Option<Reason>,
}

impl Lines {
    pub(super) fn new(to: Destination, position: Arc<Position>) -> Self {
        Self { to, key: Vec::new(), text: Vec::new(), counters: Counters::default(), position, failed: None }
    }

    /// Sets the key that the next lines are sorted by when parts are merged.
    pub(super) fn set_key(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
    }

    /// Writes a line: the function appends its text, the line feed is added.
    #[inline]
    pub fn line(&mut self, text: impl FnOnce(&mut Vec<u8>)) {
        if self.failed.is_some() {
            return;
        }
        self.text.clear();
        text(&mut self.text);
        if self.text.len() > limits::LINE_BYTES {
            let (bytes, limit) = (self.text.len(), limits::LINE_BYTES);
            self.fail(format!("a line of {bytes} bytes was written: the limit is {limit}"));
            return;
        }
        self.text.push(b'\n');
        self.failed = self.to.push(&self.key, &self.text).err();
    }

    /// Writes a line as it is, without its line feed, under a key of its own, by which parts are merged. The keys of one part
    /// must not descend.
    pub fn keyed_line(&mut self, key: &[u8], line: &[u8]) {
        self.set_key(key);
        self.line(|out| out.extend_from_slice(line));
    }

    /// Says what user code does, for people who look at the running attempt.
    pub fn status(&self, text: &str) {
        self.position.say(text);
    }

    /// Adds to a counter of the job.
    pub fn count(&mut self, name: &str, delta: i64) {
        if let Err(message) = self.counters.add(name, delta) {
            self.fail(message);
        }
    }

    fn fail(&mut self, message: String) {
        self.failed.get_or_insert(Reason::Limit { message, at: None });
    }

    pub(super) fn check(&mut self) -> Result<(), Reason> {
        self.failed.take().map_or(Ok(()), Err)
    }

    pub(super) fn finish(mut self) -> Result<(RunSummary, BTreeMap<String, i64>), Reason> {
        self.check()?;
        let mut counters = self.counters.take();
        Ok((self.to.finish(&mut counters)?, counters))
    }
}

/// The sink of a map-only step: records become lines in the order they come.
pub(super) struct PartSink {
    part: PartOutput,
    text_of: Text,
    text: Vec<u8>,
}

impl PartSink {
    pub(super) fn new(task: &MapTask<'_>, text_of: Text) -> Self {
        let part = PartOutput::new(task.output, task.fence, task.step, task.skips);
        Self { part, text_of, text: Vec::new() }
    }
}

impl Sink for PartSink {
    fn take(&mut self, batch: &Batch) -> Result<(), Reason> {
        let mut start = 0;
        for span in &batch.spans {
            let (key_end, end) = (span.key_end as usize, span.end as usize);
            let (key, value) = (&batch.bytes[start..key_end], &batch.bytes[key_end..end]);
            self.text.clear();
            (self.text_of)(key, value, &mut self.text).map_err(|error| failure::user(&error, None))?;
            self.text.push(b'\n');
            self.part.push(key, &self.text)?;
            start = end;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<RunSummary, Reason> {
        self.part.finish()
    }
}
