//! A stretch of a stream that is held in memory, and grows while a record does not end in it.

use std::io::{ErrorKind, Read};

use super::blocks::{BUFFER_BYTES, BlockError};

/// The bytes from the next record on.
pub(super) struct Window {
    from: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// Offset of the buffer's first byte.
    base: u64,
    at_end: bool,
}

impl Window {
    /// `from` starts at this offset.
    pub(super) fn new(from: Box<dyn Read + Send>, offset: u64) -> Self {
        Self { from, buffer: vec![0; BUFFER_BYTES], start: 0, filled: 0, base: offset, at_end: false }
    }

    /// What is held and was not taken.
    pub(super) fn held(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    /// Offset of the first byte that is held.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Says whether nothing follows what is held.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// Drops bytes that are held.
    pub(super) fn take(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Reads more. Always fills what there is room for, so that what is held does not depend on how the stream comes.
    pub(super) fn more(&mut self) -> Result<(), BlockError> {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.base += self.start as u64;
        self.filled -= self.start;
        self.start = 0;
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        while self.filled < self.buffer.len() && !self.at_end {
            match self.from.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.at_end = true,
                Ok(length) => self.filled += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(BlockError::Io(error, self.base + self.filled as u64)),
            }
        }
        Ok(())
    }
}
