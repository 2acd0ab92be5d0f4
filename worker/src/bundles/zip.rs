//! Zip and jar: entries stored or deflated. The end of the file is looked at first: an archive that names a file twice
//! would otherwise show only one of them, and one that claims more entries than fit would fill the memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use gristmill_common::limits;
use zip::ZipArchive;

use super::extract::UnpackError;
use super::tree::{Tree, short, shown};

/// The record at the end of a zip without its comment, and the longest comment.
const END_BYTES: usize = 22;
const COMMENT_BYTES: usize = 65_535;
/// Most bytes that the list of entries may have, for each entry.
const LISTED_BYTES: u64 = 3 * 65_535;

pub(super) fn unpack(mut file: File, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let entries = entries_at_end(&mut file)?;
    let damaged = |error: zip::result::ZipError| UnpackError::refused(format!("it cannot be read as zip: {error}"));
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.len() != usize::from(entries) {
        return Err(UnpackError::refused("a name in it is there twice"));
    }
    for index in 0..archive.len() {
        tree.count_entry()?;
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name_raw().to_vec();
        let mode = entry.unix_mode().unwrap_or(0o644);
        match mode & 0o170_000 {
            _ if name.ends_with(b"/") => tree.directory(&name)?,
            0o120_000 => {
                let target = short(&mut entry, limits::UNPACKED_PATH_BYTES, "the target of a link")?;
                tree.symlink(&name, &target)?;
            }
            0 | 0o100_000 => tree.file(&name, mode, &mut entry)?,
            0o040_000 => tree.directory(&name)?,
            _ => return Err(UnpackError::refused(format!("{} is a device or a pipe", shown(&name)))),
        }
    }
    Ok(())
}

/// Returns how many entries the last record says there are.
fn entries_at_end(file: &mut File) -> Result<u16, UnpackError> {
    let io = UnpackError::Io;
    let size = file.metadata().map_err(io)?.len();
    let tail = size.min((END_BYTES + COMMENT_BYTES + 20) as u64);
    file.seek(SeekFrom::Start(size - tail)).map_err(io)?;
    let mut text = Vec::new();
    file.take(tail).read_to_end(&mut text).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let starts = (0..text.len().saturating_sub(END_BYTES - 1)).rev();
    let end = starts.filter(|at| text[*at..].starts_with(b"PK\x05\x06")).find(|at| {
        let comment = usize::from(u16::from_le_bytes([text[at + 20], text[at + 21]]));
        at + END_BYTES + comment == text.len()
    });
    let end = end.ok_or_else(|| UnpackError::refused("it is a zip without an end, or with something after it"))?;
    if end >= 20 && text[end - 20..].starts_with(b"PK\x06\x07") {
        return Err(UnpackError::refused("it is a zip64 file, which one below 4 GiB has no need to be"));
    }
    let entries = u16::from_le_bytes([text[end + 10], text[end + 11]]);
    let listed = u32::from_le_bytes([text[end + 12], text[end + 13], text[end + 14], text[end + 15]]);
    if u64::from(listed) > u64::from(entries) * LISTED_BYTES {
        return Err(UnpackError::refused("its list of entries is longer than it can be"));
    }
    Ok(entries)
}
