//! Packed input files as the bytes that were packed: gzip, bzip2, Zstandard and LZ4, one or many members after each other.
//!
//! What the end of a file leaves open is an error, never a shorter file. What an archive unpacks to is bounded by its size,
//! so that a bomb ends as an unreadable input. Errors of the file under it pass as they are. Of a file that was cut at the
//! edges of its blocks the blocks are read one by one, and have to end where the plan says.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use gristmill_common::limits;
use gristmill_common::plan::Compression;
use lz4_flex::frame::FrameDecoder;

use super::members::Members;
pub(super) use super::members::{Span, wrong_size};

/// Bytes read of a packed file at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// Returns what the bytes were before they were packed.
///
/// With a span, only gzip and Zstandard: the stream goes on behind its end.
pub(super) fn unpacked(
    compression: Compression,
    from: impl Read + Send + 'static,
    span: Option<Span>,
) -> io::Result<Box<dyn Read + Send>> {
    if compression == Compression::None {
        return Ok(Box::new(from));
    }
    let packed = Arc::new(AtomicU64::new(0));
    let counted = Counted { from, packed: Arc::clone(&packed) };
    let buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
    let unpacked: Box<dyn Read + Send> = match (span, compression) {
        (Some(span), _) => Box::new(Members::new(compression, buffered, span)),
        (None, Compression::None | Compression::Gzip) => Box::new(MultiGzDecoder::new(buffered)),
        (None, Compression::Bzip2) => Box::new(MultiBzDecoder::new(buffered)),
        (None, Compression::Zstd | Compression::Pzstd) => Box::new(zstd_frames(buffered)?),
        (None, Compression::Lz4) => Box::new(Lz4::new(buffered)),
    };
    Ok(Box::new(Bounded { from: unpacked, packed, unpacked: 0 }))
}

pub(super) fn zstd_frames<R: BufRead>(from: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
    decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// Counts what is read of the packed file.
struct Counted<R> {
    from: R,
    packed: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.packed.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Ends a bomb.
struct Bounded {
    from: Box<dyn Read + Send>,
    packed: Arc<AtomicU64>,
    unpacked: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.unpacked += length as u64;
        let most =
            limits::INPUT_SLACK_BYTES.max(self.packed.load(Ordering::Relaxed).saturating_mul(limits::INPUT_RATIO));
        if self.unpacked > most {
            let what = format!("it unpacks to more than {} times its size: it looks like a bomb", limits::INPUT_RATIO);
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        Ok(length)
    }
}

/// Frames of LZ4. The decoder takes the end of the file inside a frame for the end of the frame: it is watched from below.
struct Lz4<R: Read> {
    frames: Option<FrameDecoder<Watched<R>>>,
    /// No frame has begun that has not ended.
    between: bool,
}

/// Sees whether the end of the file was met.
struct Watched<R> {
    from: R,
    met_end: bool,
    /// Bytes since this was last set to 0.
    read: u64,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.met_end |= length == 0 && !buffer.is_empty();
        self.read += length as u64;
        Ok(length)
    }
}

impl<R: Read> Lz4<R> {
    fn new(from: R) -> Self {
        let below = Watched { from, met_end: false, read: 0 };
        Self { frames: Some(FrameDecoder::new(below)), between: true }
    }
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(frames) = &mut self.frames {
            frames.get_mut().read = 0;
            let length = frames.read(buffer)?;
            if length > 0 {
                self.between = false;
                return Ok(length);
            }
            let below = frames.get_ref();
            if below.met_end {
                if self.between && below.read == 0 {
                    break;
                }
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file ends inside a frame"));
            }
            // The end of a frame. A decoder of its own for the next one, which may have blocks of another size.
            self.between = true;
            self.frames = self.frames.take().map(|ended| FrameDecoder::new(ended.into_inner()));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000).flat_map(|number: u32| format!("line {number}\n").into_bytes()).collect()
    }

    fn packed(compression: Compression, text: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => text.to_vec(),
            Compression::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(text).expect("packed");
                out.finish().expect("packed")
            }
            Compression::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                out.write_all(text).expect("packed");
                out.finish().expect("packed")
            }
            Compression::Zstd | Compression::Pzstd => {
                let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
                out.include_checksum(true).expect("set");
                out.write_all(text).expect("packed");
                out.finish().expect("packed")
            }
            Compression::Lz4 => {
                let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
                out.write_all(text).expect("packed");
                out.finish().expect("packed")
            }
        }
    }

    const ALL: [Compression; 4] = [Compression::Gzip, Compression::Bzip2, Compression::Zstd, Compression::Lz4];

    fn read(compression: Compression, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpacked(compression, io::Cursor::new(bytes), None)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn members_are_read_one_after_the_other() {
        let text = text();
        for compression in ALL {
            let members = [packed(compression, &text), packed(compression, b""), packed(compression, b"end")].concat();
            assert_eq!(read(compression, members).expect("sound"), [&text[..], b"end"].concat(), "{compression:?}");
        }
    }

    #[test]
    fn an_archive_that_ends_early_is_an_error_wherever_it_ends() {
        let text = &text()[..30_000];
        for compression in ALL {
            let whole = packed(compression, text);
            let two = [&whole[..], &whole[..]].concat();
            for end in (1..whole.len()).step_by(61).chain(whole.len().saturating_sub(12)..whole.len()) {
                assert!(read(compression, whole[..end].to_vec()).is_err(), "{compression:?} ends at {end}");
            }
            for end in whole.len() + 1..(whole.len() + 20).min(two.len()) {
                assert!(read(compression, two[..end].to_vec()).is_err(), "{compression:?} ends at {end}");
            }
        }
    }

    #[test]
    fn a_bomb_is_ended() {
        let bomb = vec![0; 8 << 20];
        let one = packed(Compression::Zstd, &bomb);
        assert!(bomb.len() / one.len() > limits::INPUT_RATIO as usize, "{} bytes", one.len());
        let many = one.repeat((limits::INPUT_SLACK_BYTES >> 23) as usize + 2);
        let mut from = unpacked(Compression::Zstd, io::Cursor::new(many), None).expect("opened");
        let error = io::copy(&mut from, &mut io::sink()).expect_err("a bomb");
        assert!(error.to_string().contains("bomb"), "{error}");
    }
}
