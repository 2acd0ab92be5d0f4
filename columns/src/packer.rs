//! Packs the bytes of a file as they are written.

use std::io::{self, Write};

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use gristmill_common::output::OutputCompression;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// Levels at which files are packed.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
const BZIP2_LEVEL: u32 = 9;

/// Packs the bytes of a file.
pub(crate) enum Packer<W: Write> {
    /// As they are.
    Plain(W),
    /// gzip.
    Gzip(Box<GzEncoder<W>>),
    /// Zstandard.
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
    /// LZ4 frames.
    Lz4(Box<FrameEncoder<W>>),
    /// bzip2.
    Bzip2(Box<bzip2::write::BzEncoder<W>>),
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(compression: OutputCompression, to: W) -> io::Result<Self> {
        Ok(match compression {
            OutputCompression::None => Self::Plain(to),
            // No name, no time.
            OutputCompression::Gzip => {
                Self::Gzip(Box::new(GzBuilder::new().write(to, flate2::Compression::new(GZIP_LEVEL))))
            }
            OutputCompression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(Box::new(encoder))
            }
            OutputCompression::Lz4 => {
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max256KB)
                    .content_checksum(true);
                Self::Lz4(Box::new(FrameEncoder::with_frame_info(info, to)))
            }
            OutputCompression::Bzip2 => {
                Self::Bzip2(Box::new(bzip2::write::BzEncoder::new(to, bzip2::Compression::new(BZIP2_LEVEL))))
            }
        })
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(to) => Ok(to),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Self::Bzip2(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Lz4(encoder) => encoder.write(bytes),
            Self::Bzip2(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
