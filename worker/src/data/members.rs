//! Blocks of a packed file that was cut at their edges: gzip members or Zstandard frames, unpacked one by one.
//!
//! The edges come from sizes that the file says of itself. A range is read only if a block really begins where it ends, with as much
//! unpacked before it as the plan says: as the first range begins with the file, that holds for every edge, or the job fails.

use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use gristmill_common::plan::Compression;

use super::unpack::zstd_frames;

/// The range of a packed file that is read, which does not end with the file.
pub(super) struct Span {
    /// Bytes of it.
    pub(super) packed: u64,
    /// Bytes that it unpacks to, if that is known.
    pub(super) unpacked: Option<u64>,
    /// Offset of the first of these in the file unpacked.
    pub(super) start: u64,
    /// Set to the offset behind the last one when the end is reached.
    pub(super) met: Arc<AtomicU64>,
}

/// The blocks, one after the other, also behind the end of the range.
pub(super) struct Members<R: BufRead> {
    compression: Compression,
    block: Block<R>,
    span: Span,
    is_past: bool,
    unpacked: u64,
}

enum Block<R: BufRead> {
    /// Lost with an error.
    Broken,
    Between(Counted<R>),
    Gzip(Box<GzDecoder<Counted<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Counted<R>>>),
}

/// Counts what is taken of the packed bytes.
struct Counted<R> {
    from: R,
    taken: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.taken += length as u64;
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.from.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.from.consume(length);
        self.taken += length as u64;
    }
}

/// A file that does not hold what it says of itself.
pub(super) fn wrong_size() -> io::Error {
    let what = "a block has another size than the file says; unpack it, or pack it anew";
    io::Error::new(ErrorKind::InvalidData, what)
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(compression: Compression, from: R, span: Span) -> Self {
        let block = Block::Between(Counted { from, taken: 0 });
        Self { compression, block, span, is_past: false, unpacked: 0 }
    }

    /// Begins the next block; `Between` at the end of the file.
    fn begin(&mut self, mut from: Counted<R>) -> io::Result<Block<R>> {
        self.check(from.taken)?;
        if from.fill_buf()?.is_empty() {
            return Ok(Block::Between(from));
        }
        Ok(match self.compression {
            Compression::Zstd | Compression::Pzstd => Block::Zstd(Box::new(zstd_frames(from)?.single_frame())),
            Compression::None | Compression::Gzip | Compression::Bzip2 | Compression::Lz4 => {
                Block::Gzip(Box::new(GzDecoder::new(from)))
            }
        })
    }

    fn check(&mut self, taken: u64) -> io::Result<()> {
        if self.is_past || taken < self.span.packed {
            return Ok(());
        }
        if taken != self.span.packed || self.span.unpacked.is_some_and(|unpacked| unpacked != self.unpacked) {
            return Err(wrong_size());
        }
        self.is_past = true;
        self.span.met.store(self.span.start.saturating_add(self.unpacked), Ordering::Relaxed);
        Ok(())
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let length = match &mut self.block {
                Block::Broken => return Err(io::Error::other("read again after an error")),
                Block::Between(_) => 0,
                Block::Gzip(block) => block.read(buffer)?,
                Block::Zstd(block) => block.read(buffer)?,
            };
            self.unpacked += length as u64;
            if length > 0 {
                return Ok(length);
            }
            let from = match std::mem::replace(&mut self.block, Block::Broken) {
                Block::Broken => continue,
                Block::Between(from) => from,
                Block::Gzip(block) => block.into_inner(),
                Block::Zstd(block) => block.finish(),
            };
            self.block = self.begin(from)?;
            if let Block::Between(_) = self.block {
                return Ok(0);
            }
        }
    }
}
