//! Opens ranges of files, packed or not, and says what is wrong with a file that cannot be read.
//!
//! A line belongs to the range in which it starts.
//! A range that does not start a file looks at the byte before it to see whether a line starts with it. The byte before a
//! range of a packed file is in another block, so there a line belongs to the range in which the line feed before it is.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_common::plan::{Compression, PinnedFile, Unpacked};
use gristmill_common::reason::bounded;
use gristmill_common::{Place, Reason, limits};

use super::blocks::{BlockError, Blocks, End};
use super::failure;
use super::unpack::{Span, unpacked, wrong_size};
use crate::program::{InputPiece, Inputs, ReadFailed};

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
