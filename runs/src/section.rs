//! Reads the records of one section, from a file or as it arrives over the network.

use std::io::Read;
use std::ops::Range;

use gristmill_common::Fence;

use crate::block::{self, HEAD_BYTES};
use crate::error::RunError;
use crate::varint;

/// A cursor over records in key order. Key and value are valid after `advance` returned `true`, until it is called again.
pub trait Source {
    /// Moves to the next record; `false` when there is none.
    ///
    /// # Errors
    /// When the records cannot be read or are damaged.
    fn advance(&mut self) -> Result<bool, RunError>;
    /// Returns the key of the current record.
    fn key(&self) -> &[u8];
    /// Returns the value of the current record.
    fn value(&self) -> &[u8];
    /// Returns key and value of the current record, one behind the other.
    fn joined(&self) -> &[u8];
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn advance(&mut self) -> Result<bool, RunError> {
        (**self).advance()
    }

    fn key(&self) -> &[u8] {
        (**self).key()
    }

    fn value(&self) -> &[u8] {
        (**self).value()
    }

    fn joined(&self) -> &[u8] {
        (**self).joined()
    }
}

/// Reads one section and checks every block of it, also that the last one is there.
pub struct SectionReader<R: Read> {
    from: R,
    left: u64,
    offset: u64,
    expected: Option<(Fence, u32)>,
    sequence: u32,
    last: bool,
    records_left: u32,
    raw: Vec<u8>,
    stored: Vec<u8>,
    next: usize,
    key: Range<usize>,
    value: Range<usize>,
}

impl<R: Read> SectionReader<R> {
    /// Reads a section of `len` bytes; of 0 bytes for a partition without records. Needs no buffered reader.
    pub fn new(from: R, len: u64) -> Self {
        Self {
            from,
            left: len,
            offset: 0,
            expected: None,
            sequence: 0,
            last: false,
            records_left: 0,
            raw: Vec::new(),
            stored: Vec::new(),
            next: 0,
            key: 0..0,
            value: 0..0,
        }
    }

    /// Refuses blocks of another attempt or partition. Without it the first block decides.
    #[must_use]
    pub fn expecting(mut self, fence: Fence, partition: u32) -> Self {
        self.expected = Some((fence, partition));
        self
    }

    /// Gives the offset of the section in its file, for errors.
    #[must_use]
    pub fn starting_at(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Loads the next block; `false` at the end of the section.
    fn load(&mut self) -> Result<bool, RunError> {
        let offset = self.offset;
        if self.next != self.raw.len() {
            return Err(RunError::corrupt("bytes after the last record of a block", offset));
        }
        if self.left == 0 && (self.last || self.sequence == 0) {
            return Ok(false);
        }
        if self.left == 0 || self.last {
            let what = if self.last { "bytes after the last block" } else { "the last block is missing" };
            return Err(RunError::corrupt(what, offset));
        }
        // Until the block is there, the reader holds no records.
        self.raw.clear();
        self.next = 0;
        let head = block::read_block(&mut self.from, self.left, offset, &mut self.stored, &mut self.raw)?;
        let name = (head.fence, head.partition);
        if *self.expected.get_or_insert(name) != name || head.sequence != self.sequence {
            self.raw.clear();
            return Err(RunError::corrupt("a block of another run, partition or place", offset));
        }
        let taken = HEAD_BYTES as u64 + u64::from(head.stored_len);
        self.left -= taken;
        self.offset += taken;
        self.sequence = self.sequence.wrapping_add(1);
        self.last = head.last;
        self.records_left = head.records;
        Ok(true)
    }

    #[cold]
    fn bad_record(&self) -> RunError {
        RunError::corrupt("a record reaches beyond its block", self.offset)
    }

    /// Bytes of raw records loaded so far that belong to the current block; for the digest of the section.
    pub(crate) fn block(&self) -> &[u8] {
        &self.raw
    }

    /// Says whether the current record is the first of its block.
    pub(crate) fn is_block_start(&self) -> bool {
        let lengths = varint::len(self.key.len() as u64) + varint::len(self.value.len() as u64);
        self.key.start == lengths
    }
}

impl<R: Read> Source for SectionReader<R> {
    #[inline]
    fn advance(&mut self) -> Result<bool, RunError> {
        if self.records_left == 0 && !self.load()? {
            return Ok(false);
        }
        let (raw, at) = (&self.raw, self.next);
        let Some((key_len, key_bytes)) = varint::read(&raw[at..]) else { return Err(self.bad_record()) };
        let Some((value_len, value_bytes)) = varint::read(&raw[at + key_bytes..]) else {
            return Err(self.bad_record());
        };
        let start = at + key_bytes + value_bytes;
        let room = (raw.len() - start) as u64;
        if key_len > room || value_len > room - key_len {
            return Err(self.bad_record());
        }
        self.key = start..start + key_len as usize;
        self.value = self.key.end..self.key.end + value_len as usize;
        self.next = self.value.end;
        self.records_left -= 1;
        Ok(true)
    }

    #[inline]
    fn key(&self) -> &[u8] {
        &self.raw[self.key.clone()]
    }

    #[inline]
    fn value(&self) -> &[u8] {
        &self.raw[self.value.clone()]
    }

    #[inline]
    fn joined(&self) -> &[u8] {
        &self.raw[self.key.start..self.value.end]
    }
}
