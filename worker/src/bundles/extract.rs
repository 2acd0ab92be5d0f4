//! Unpacks an archive that nobody vouches for.
//!
//! What kind it is is told by its first bytes. Everything that is written counts against caps that follow from the archive's
//! own size, while it is written: an archive that lies about sizes gains nothing by it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use gristmill_common::limits;

use super::tree::Tree;
use super::{tar, zip};

/// Why an archive is not unpacked.
#[derive(Debug)]
pub(super) enum UnpackError {
    /// It is not an archive, is damaged, or does what is not allowed.
    Refused(String),
    /// This machine failed.
    Io(io::Error),
}

impl UnpackError {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}

/// What an archive may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Caps {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Caps {
    /// Returns the caps of an archive of this size.
    pub(super) fn of(archive_bytes: u64) -> Self {
        let by_ratio = archive_bytes.saturating_mul(limits::UNPACKED_RATIO);
        let bytes = by_ratio.saturating_add(limits::UNPACKED_SLACK_BYTES).min(limits::UNPACKED_BYTES);
        Self { bytes, entries: limits::UNPACKED_ENTRIES }
    }
}

/// Unpacks into an empty directory and returns the bytes of its files. `tick` is called as it goes on.
pub(super) fn unpack(archive: &Path, into: &Path, caps: Caps, tick: &dyn Fn()) -> Result<u64, UnpackError> {
    let mut file = File::open(archive).map_err(UnpackError::Io)?;
    let mut start = [0; 512];
    let read = read_start(&mut file, &mut start).map_err(UnpackError::Io)?;
    let start = &start[..read];
    file.seek(SeekFrom::Start(0)).map_err(UnpackError::Io)?;
    let mut tree = Tree::new(into, caps, tick);
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        zip::unpack(file, &mut tree)?;
    } else if start.starts_with(b"\x1f\x8b") {
        let plain = Capped { inner: MultiGzDecoder::new(BufReader::new(file)), left: tar_bytes(caps) };
        tar::unpack(plain, &mut tree)?;
    } else if start.get(257..262) == Some(b"ustar") || is_empty_tar(start) {
        tar::unpack(Capped { inner: BufReader::new(file), left: tar_bytes(caps) }, &mut tree)?;
    } else {
        return Err(UnpackError::refused("it is no tar, tar.gz, zip or jar file"));
    }
    tree.finish()
}

fn is_empty_tar(start: &[u8]) -> bool {
    start.len() == 512 && start.iter().all(|byte| *byte == 0)
}

/// Bytes that a tar may have: those of its files, and for each entry headers and padding.
fn tar_bytes(caps: Caps) -> u64 {
    caps.bytes.saturating_add(caps.entries.saturating_mul(4 * 512))
}

fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < start.len() {
        match file.read(&mut start[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// Fails when more is read than is left.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other("it unpacks to too much"))?;
        Ok(read)
    }
}
