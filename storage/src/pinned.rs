//! Input files as they were when a job was planned.
//!
//! The version of a file is its modification time in nanoseconds and its size. A file that only grew is the same input
//! and is read to its pinned length; one that shrank, or that was changed at the same size, is another input.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gristmill_common::plan::{Compression, PinnedFile};

use crate::error::StorageError;
use crate::roots::Roots;
use crate::url::{Location, file_url};

/// First bytes of a file that [`compression_of`] needs.
pub const HEAD_BYTES: usize = 18;

/// Pins a file: its size, its version and, from its first bytes, how it is packed.
///
/// # Errors
/// If it cannot be opened under the roots or read, or is packed in a way that is not built.
pub fn pin(path: &Path, roots: &Roots) -> Result<PinnedFile, StorageError> {
    let (mut file, metadata) = roots.open(path)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let read = (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head);
    read.map_err(|error| StorageError::io("read", path, error))?;
    let url = file_url(path);
    let compression = compression_of(&url, &head)?;
    Ok(PinnedFile { url, bytes: metadata.len(), version: version(&metadata), compression, tag: None })
}

fn version(metadata: &Metadata) -> String {
    let ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    format!("{ns}-{}", metadata.len())
}

/// Tells from a file's first bytes how it is packed; the name is never asked.
///
/// # Errors
/// [`StorageError::Unsupported`] for xz, naming the file.
pub fn compression_of(name: &str, head: &[u8]) -> Result<Compression, StorageError> {
    // The magic of a block, or of the end of an empty stream: text may begin with the letters alone.
    let bzip2 = |rest: &[u8]| {
        [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]]
            .iter()
            .any(|magic| rest.starts_with(magic))
    };
    match head {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        // A skippable frame of four bytes, the size of the frame behind it.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, _, _, _, _, 0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Pzstd),
        [0x04, 0x22, 0x4d, 0x18, ..] => Ok(Compression::Lz4),
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] if bzip2(rest) => Ok(Compression::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let why = "it is compressed with xz, which is not built; unpack it, or pack it with zstd".to_owned();
            Err(StorageError::Unsupported { what: name.to_owned(), why })
        }
        _ => Ok(Compression::None),
    }
}

/// Opens an input file of a plan and checks that it is what was planned. Blocks: for executors' threads.
///
/// The caller reads no byte beyond the pinned size.
///
/// # Errors
/// [`StorageError::InputChanged`] if it is another file now; others if it cannot be opened.
pub fn open_pinned(file: &PinnedFile, roots: &Roots) -> Result<File, StorageError> {
    let (opened, metadata) = roots.open(&Location::parse_file(&file.url)?)?;
    let changed = |change| Err(StorageError::InputChanged { url: file.url.clone(), change });
    if metadata.len() < file.bytes {
        let now = metadata.len();
        return changed(format!("has {now} bytes, but had {} when the job was planned; submit it again", file.bytes));
    }
    if metadata.len() == file.bytes && version(&metadata) != file.version {
        return changed("was written to after the job was planned; submit it again".to_owned());
    }
    Ok(opened)
}
