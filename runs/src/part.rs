//! Parts: runs of one partition whose values are text for the user, kept with the key they are merged by.
//!
//! The text of a record often starts with its key (`key TAB value LF`). A value is therefore a varint, the number of
//! bytes that text and key share at their start, and the rest of the text.

use std::io::Write;

use gristmill_common::{Fence, limits};

use crate::error::RunError;
use crate::varint;
use crate::writer::{RunHeader, RunSummary, RunWriter};

/// Writes a part.
pub struct PartWriter<W: Write> {
    run: RunWriter<W>,
    shared: Vec<u8>,
}

impl<W: Write> PartWriter<W> {
    /// Starts a part.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn new(out: W, fence: Fence, compress: bool) -> Result<Self, RunError> {
        let header = RunHeader { fence, partitions: 1, compress };
        Ok(Self { run: RunWriter::start(out, header, true, limits::BLOCK_BYTES)?, shared: Vec::new() })
    }

    /// Appends a record: its key and the text that the user will see, line feed included.
    ///
    /// # Errors
    /// When it is too long, or the file cannot be written.
    #[inline]
    pub fn push(&mut self, key: &[u8], text: &[u8]) -> Result<(), RunError> {
        let shared = if text.starts_with(key) {
            key.len()
        } else {
            key.iter().zip(text).take_while(|(left, right)| left == right).count()
        };
        self.shared.clear();
        varint::write(&mut self.shared, shared as u64);
        self.run.push_joined(0, key, [&self.shared, &text[shared..]])?;
        self.run.add_text_bytes(text.len() as u64);
        Ok(())
    }

    /// Appends the text of a record to a part that is never merged by key.
    ///
    /// # Errors
    /// As [`PartWriter::push`].
    #[inline]
    pub fn push_unkeyed(&mut self, text: &[u8]) -> Result<(), RunError> {
        // No bytes are shared with a key of none.
        self.run.push_joined(0, &[], [&[0], text])?;
        self.run.add_text_bytes(text.len() as u64);
        Ok(())
    }

    /// Returns the records pushed so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.run.records()
    }

    /// Ends the part. Nothing is synced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<RunSummary, RunError> {
        self.run.finish()
    }

    /// As [`PartWriter::finish`], and gives back what was written to.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish_into(self) -> Result<(RunSummary, W), RunError> {
        self.run.finish_into()
    }
}

/// Returns the text of a part's record in its two halves.
///
/// # Errors
/// When the value is not what [`PartWriter`] writes for this key.
#[inline]
pub fn part_text<'a>(key: &'a [u8], value: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), RunError> {
    let halves = varint::read(value).and_then(|(shared, length)| {
        let head = key.get(..usize::try_from(shared).ok()?)?;
        Some((head, &value[length..]))
    });
    halves.ok_or_else(|| RunError::corrupt("the value of a part shares more with its key than there is", 0))
}
