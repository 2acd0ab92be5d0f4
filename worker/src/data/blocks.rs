//! Cuts a stream into blocks of whole lines.
//!
//! Records end at line feeds only; the last line of a file may lack one.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_common::limits;
use memchr::{memchr, memrchr};

/// Bytes read at a time, and the size of blocks unless a line is longer: large enough to make system calls cheap, small
/// enough to stay in the second-level cache.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// Bytes read at a time behind the end of a range, where mostly one line is missing.
const TAIL_BYTES: usize = 16 << 10;

/// Whole lines, one after the other.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// Offset of the first byte in the (decompressed) file.
    pub(super) offset: u64,
    /// The lines, each with its line feed but perhaps the last one of a file.
    pub(super) bytes: &'a [u8],
}

/// Why no block can be had.
#[derive(Debug)]
pub(super) enum BlockError {
    /// Reading failed at this offset.
    Io(io::Error, u64),
    /// The line that starts at this offset is too long.
    TooLong(u64),
}

/// Where a range ends; of some packed files that is known when it is reached.
#[derive(Clone)]
pub(super) enum End {
    At(u64),
    /// So many bytes behind what the reader has put here.
    Met(Arc<AtomicU64>, u64),
}

impl End {
    pub(super) fn get(&self) -> u64 {
        match self {
            Self::At(end) => *end,
            Self::Met(met, behind) => met.load(Ordering::Relaxed).saturating_add(*behind),
        }
    }
}

/// Cuts a stream into blocks of whole lines that start before `end`.
pub(super) struct Blocks<R> {
    from: R,
    buffer: Vec<u8>,
    /// Bytes in the buffer that were handed out with the last block.
    taken: usize,
    filled: usize,
    /// Offset of the buffer's first byte.
    base: u64,
    end: End,
    /// The first line belongs to the range before.
    skip_line: bool,
    at_eof: bool,
    over: bool,
}

impl<R: Read> Blocks<R> {
    /// `from` starts at `start`, or at the byte before with `skip_line`.
    pub(super) fn new(from: R, start: u64, end: End, skip_line: bool, buffer_bytes: usize) -> Self {
        let base = if skip_line { start - 1 } else { start };
        let buffer = vec![0; buffer_bytes.max(1)];
        let over = start >= end.get();
        Self { from, buffer, taken: 0, filled: 0, base, end, skip_line, at_eof: false, over }
    }

    /// Reads text from its start to its end.
    pub(super) fn whole(from: R) -> Self {
        Self::new(from, 0, End::At(u64::MAX), false, BUFFER_BYTES)
    }

    /// Returns the offset behind the last block.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.taken as u64
    }

    /// Returns the next block, `None` behind the last line.
    pub(super) fn next_block(&mut self) -> Result<Option<Block<'_>>, BlockError> {
        if self.skip_line && !self.over {
            self.skip()?;
        }
        let length = loop {
            if self.over {
                return Ok(None);
            }
            self.drop_taken();
            if let Some(length) = self.cut() {
                break length;
            }
            if self.at_eof {
                self.over = true;
                if self.filled == 0 {
                    return Ok(None);
                }
                break self.filled;
            }
            self.fill()?;
        };
        self.taken = length;
        // A line may end long behind the range's end; none that starts there is ours.
        if self.base + length as u64 >= self.end.get() {
            self.over = true;
        }
        Ok(Some(Block { offset: self.base, bytes: &self.buffer[..length] }))
    }

    /// Returns how many bytes of the buffer are whole lines of the range.
    fn cut(&self) -> Option<usize> {
        let held = &self.buffer[..self.filled];
        // A line that starts in the range ends at `last` or behind it only if it is the range's last one.
        let last = usize::try_from(self.end.get() - 1 - self.base).unwrap_or(usize::MAX);
        if last < self.filled {
            if let Some(end) = memchr(b'\n', &held[last..]) {
                return Some(last + end + 1);
            }
            return memrchr(b'\n', &held[..last]).map(|end| end + 1);
        }
        memrchr(b'\n', held).map(|end| end + 1)
    }

    /// Goes on behind the line that was too long.
    pub(super) fn leave_out(&mut self) {
        self.skip_line = true;
    }

    /// Drops the line that the range before reads. It may be of any length.
    fn skip(&mut self) -> Result<(), BlockError> {
        loop {
            self.taken = self.filled;
            self.drop_taken();
            self.fill()?;
            if let Some(end) = memchr(b'\n', &self.buffer[..self.filled]) {
                self.taken = end + 1;
                break;
            }
            if self.at_eof {
                self.taken = self.filled;
                break;
            }
        }
        self.skip_line = false;
        self.over = self.offset() >= self.end.get();
        Ok(())
    }

    fn drop_taken(&mut self) {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.base += self.taken as u64;
        self.filled -= self.taken;
        self.taken = 0;
    }

    /// Reads until the buffer is full or the stream ends; makes room when there is none.
    fn fill(&mut self) -> Result<(), BlockError> {
        if self.filled == self.buffer.len() {
            if self.filled > limits::LINE_BYTES {
                return Err(BlockError::TooLong(self.base));
            }
            let larger = (self.buffer.len() * 2).min(limits::LINE_BYTES + 1);
            self.buffer.resize(larger, 0);
        }
        let reached = self.base + self.filled as u64;
        let in_range = usize::try_from(self.end.get().saturating_sub(reached)).unwrap_or(usize::MAX);
        let wanted = in_range.max(TAIL_BYTES).min(self.buffer.len() - self.filled);
        let until = self.filled + wanted;
        while self.filled < until {
            match self.from.read(&mut self.buffer[self.filled..until]) {
                Ok(0) => {
                    self.at_eof = true;
                    break;
                }
                Ok(length) => self.filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BlockError::Io(error, self.base + self.filled as u64)),
            }
        }
        Ok(())
    }
}
