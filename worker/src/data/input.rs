//! Reads ranges of files as blocks of whole lines.
//!
//! A line belongs to the range in which it starts. Records end at line feeds only; the last line of a file may lack one.
//! A range that does not start a file looks at the byte before it to see whether a line starts with it. The byte before a
//! range of a packed file is in another block, so there a line belongs to the range in which the line feed before it is.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_common::plan::{Compression, PinnedFile, Unpacked};
use gristmill_common::reason::bounded;
use gristmill_common::{Place, Reason, limits};
use memchr::{memchr, memrchr};

use super::failure;
use super::unpack::{Span, unpacked, wrong_size};
use crate::program::{InputPiece, Inputs, ReadFailed};

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

/// Says that a file ended before its pinned size.
#[derive(Debug, thiserror::Error)]
#[error("the file ended {0} bytes early")]
struct Shrunk(u64);

/// An error of the file itself, not of what it is packed with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Below(io::Error);

/// Reads exactly the pinned bytes of a file: what was appended since is not seen, what was cut off is an error.
struct Pinned<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Pinned<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let length = self.from.read(&mut buffer[..wanted]).map_err(below)?;
        if length == 0 {
            return Err(io::Error::other(Shrunk(self.left)));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

fn below(error: io::Error) -> io::Error {
    let is_known = error.get_ref().is_some_and(|inner| inner.is::<ReadFailed>());
    if is_known || error.kind() == io::ErrorKind::Interrupted {
        error
    } else {
        io::Error::new(error.kind(), Below(error))
    }
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
    fn new(from: R, start: u64, end: End, skip_line: bool, buffer_bytes: usize) -> Self {
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

type FileBlocks = Blocks<Box<dyn Read + Send>>;

/// Opens a range. A packed file that is not cut is read whole, by the range that starts it.
pub(super) fn open(
    piece: &InputPiece<'_>,
    inputs: &dyn Inputs,
    buffer_bytes: usize,
) -> Result<Option<FileBlocks>, Reason> {
    let file = piece.file;
    let Some(Opened { bytes: from, start, end, .. }) = bytes_of(piece, inputs, 1)? else { return Ok(None) };
    if file.compression != Compression::None {
        return Ok(Some(Blocks::new(from, start, end, start > 0, buffer_bytes)));
    }
    let read = file.bytes - start.saturating_sub(1);
    let most = usize::try_from(read).unwrap_or(usize::MAX);
    Ok(Some(Blocks::new(from, start, end, start > 0, buffer_bytes.min(most))))
}

/// A range of a file, unpacked.
pub(super) struct Opened {
    pub(super) bytes: Box<dyn Read + Send>,
    /// Offset of the first of them.
    pub(super) offset: u64,
    /// Records that start here or behind, and before the end, are of the range.
    pub(super) start: u64,
    /// End of the range.
    pub(super) end: End,
}

/// Opens a range with so many bytes before its start. A packed file that is not cut is read whole, by the range that starts it.
pub(super) fn bytes_of(piece: &InputPiece<'_>, inputs: &dyn Inputs, behind: u64) -> Result<Option<Opened>, Reason> {
    let file = piece.file;
    let end = piece.end.min(file.bytes);
    let is_packed = file.compression != Compression::None;
    if piece.start >= end || is_packed && piece.start > 0 && piece.unpacked.is_none() {
        return Ok(None);
    }
    if is_packed && let Some(range) = piece.unpacked {
        return blocks_of(piece, range, inputs, behind);
    }
    let from = piece.start.saturating_sub(behind);
    let pinned = Pinned { from: inputs.open(file, from)?, left: file.bytes - from };
    let bytes = unpacked(file.compression, pinned, None);
    let bytes = bytes.map_err(|error| explain(file, BlockError::Io(error, 0)))?;
    let end = End::At(if is_packed { u64::MAX } else { end });
    Ok(Some(Opened { bytes, offset: from, start: piece.start, end }))
}

/// Opens some blocks of a packed file. The range is moved by what would have been looked at before it.
fn blocks_of(
    piece: &InputPiece<'_>,
    range: Unpacked,
    inputs: &dyn Inputs,
    behind: u64,
) -> Result<Option<Opened>, Reason> {
    let file = piece.file;
    let pinned = Pinned { from: inputs.open(file, piece.start)?, left: file.bytes.saturating_sub(piece.start) };
    let met = Arc::new(AtomicU64::new(u64::MAX));
    let is_last = piece.end >= file.bytes;
    let span = (!is_last).then(|| Span {
        packed: piece.end - piece.start,
        unpacked: range.end.map(|end| end.saturating_sub(range.start)),
        start: range.start,
        met: Arc::clone(&met),
    });
    let failed = |error| explain(file, BlockError::Io(error, range.start));
    let mut bytes = unpacked(file.compression, pinned, span).map_err(failed)?;
    if range.end == Some(range.start) && piece.start > 0 {
        // Nothing is in it, if that is so: seen by reading on.
        let read = bytes.read(&mut [0]).map_err(failed)?;
        let is_so = read == 0 || met.load(Ordering::Relaxed) != u64::MAX;
        return if is_so { Ok(None) } else { Err(failed(wrong_size())) };
    }
    let end = match range.end {
        _ if is_last => End::At(u64::MAX),
        Some(end) => End::At(end.saturating_add(behind)),
        None => End::Met(met, behind),
    };
    let start = if piece.start == 0 { 0 } else { range.start.saturating_add(behind) };
    Ok(Some(Opened { bytes, offset: range.start, start, end }))
}

/// Reads so many bytes of a file that is not packed, no fewer.
pub(super) fn read_range(file: &PinnedFile, inputs: &dyn Inputs, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let from = inputs.open(file, start).map_err(|reason| io::Error::from(ReadFailed(reason)))?;
    let mut bytes = Vec::with_capacity(length);
    let mut pinned = Pinned { from, left: file.bytes.saturating_sub(start).min(length as u64) };
    pinned.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a packed file to its end and says what is wrong with it as an archive; `None` if nothing is, or it is not packed.
pub(super) fn archive_error(piece: &InputPiece<'_>, inputs: &dyn Inputs) -> Result<Option<String>, Reason> {
    let file = piece.file;
    // A file that is cut is not left out whole.
    if file.compression == Compression::None || piece.unpacked.is_some() {
        return Ok(None);
    }
    let Some(mut opened) = bytes_of(piece, inputs, 0)? else { return Ok(None) };
    let Err(error) = io::copy(&mut opened.bytes, &mut io::sink()) else { return Ok(None) };
    let is_of_file =
        error.get_ref().is_some_and(|inner| inner.is::<Below>() || inner.is::<ReadFailed>() || inner.is::<Shrunk>());
    if is_of_file {
        return Err(explain(file, BlockError::Io(error, 0)));
    }
    Ok(Some(bounded(format!("the {} archive is left out whole: {error}", file.compression.word()))))
}

/// Says why a file could not be read.
pub(super) fn explain(file: &PinnedFile, error: BlockError) -> Reason {
    let (error, offset) = match split(&file.url, error) {
        Ok(split) => split,
        Err(reason) => return reason,
    };
    let url = &file.url;
    if let Some(Shrunk(missing)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        let message = format!("{url} had {} bytes when the job was planned and has {missing} fewer now", file.bytes);
        return Reason::InputChanged { message };
    }
    let packed = match file.compression {
        Compression::None => String::new(),
        other => format!(" ({})", other.word()),
    };
    let message = bounded(format!("{url}{packed}: {error}"));
    Reason::InputUnreadable { message, at: Some(Place { file: url.clone(), offset }) }
}

/// Says why the text of a part could not be read: the worker's failure, unless a line is too long.
pub(super) fn explain_part(name: &str, error: BlockError) -> Reason {
    match split(name, error) {
        Ok((error, offset)) => failure::worker(format!("{name}, at byte {offset}: {error}")),
        Err(reason) => reason,
    }
}

/// Returns the error of reading with its offset, or the reason if it is known already.
fn split(name: &str, error: BlockError) -> Result<(io::Error, u64), Reason> {
    match error {
        BlockError::TooLong(offset) => {
            let message = format!("a line is longer than {} bytes", limits::LINE_BYTES);
            Err(Reason::Limit { message, at: Some(Place { file: name.to_owned(), offset }) })
        }
        BlockError::Io(error, offset) => match error.downcast::<ReadFailed>() {
            Ok(ReadFailed(reason)) => Err(reason),
            Err(error) => Ok((error, offset)),
        },
    }
}
