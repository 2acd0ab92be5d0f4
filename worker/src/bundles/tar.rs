//! Tar: the entries as they lie in the file. Long names of GNU tar and paths of pax are understood here and bounded; the
//! crate would read them whole, however long they say they are.

use std::io::Read;

use gristmill_common::limits;
use tar::{Archive, Entry, EntryType};

use super::extract::UnpackError;
use super::tree::{Tree, short, shown};

/// A header of pax, in bytes.
const PAX_BYTES: usize = 64 << 10;

/// What headers before an entry say of it.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

pub(super) fn unpack(tar: impl Read, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let damaged = |error: std::io::Error| UnpackError::refused(format!("it cannot be read as tar: {error}"));
    let mut archive = Archive::new(tar);
    let mut said = Said::default();
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        tree.count_entry()?;
        match entry.header().entry_type() {
            EntryType::GNULongName => said.path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => said.link = Some(long_name(&mut entry)?),
            EntryType::XHeader => read_pax(&short(&mut entry, PAX_BYTES, "a pax header")?, &mut said)?,
            EntryType::XGlobalHeader => drop(short(&mut entry, PAX_BYTES, "a pax header")?),
            _ => place(&mut entry, std::mem::take(&mut said), tree)?,
        }
    }
    Ok(())
}

fn place(entry: &mut Entry<'_, impl Read>, said: Said, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let path = said.path.unwrap_or_else(|| entry.path_bytes().into_owned());
    let link = said.link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
    let mode = entry.header().mode().unwrap_or(0o644);
    match entry.header().entry_type() {
        EntryType::Directory => tree.directory(&path),
        // So old tars say it.
        EntryType::Regular if path.ends_with(b"/") => tree.directory(&path),
        EntryType::Regular | EntryType::Continuous => tree.file(&path, mode, entry),
        EntryType::Symlink => tree.symlink(&path, &link),
        EntryType::Link => tree.hard_link(&path, &link),
        other => Err(UnpackError::refused(format!("{} is {}", shown(&path), name_of(other)))),
    }
}

fn name_of(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a sparse file, which is not understood: make the archive without --sparse",
        _ => "of a kind that is not understood",
    }
}

fn long_name(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
    let mut name = short(entry, limits::UNPACKED_PATH_BYTES, "a long name")?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// Reads `LENGTH KEY=VALUE\n` lines; of all keys only those that name things matter here.
fn read_pax(mut text: &[u8], said: &mut Said) -> Result<(), UnpackError> {
    let bad = || UnpackError::refused("a pax header cannot be read");
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = std::str::from_utf8(&text[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let length = length.filter(|length| *length > space + 1 && *length <= text.len()).ok_or_else(bad)?;
        let (line, rest) = text.split_at(length);
        let line = line[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = line.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        match (&line[..equals], &line[equals + 1..]) {
            (b"path", path) => said.path = Some(path.to_vec()),
            (b"linkpath", link) => said.link = Some(link.to_vec()),
            // Content would be read with the length of the plain header: 8 GiB and more do not fit there.
            (b"size", _) => return Err(UnpackError::refused("a file in it is too large")),
            (key, _) if key.starts_with(b"GNU.sparse") => {
                return Err(UnpackError::refused("it has sparse files: make it without --sparse"));
            }
            _ => {}
        }
        text = rest;
    }
    Ok(())
}
