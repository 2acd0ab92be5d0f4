//! Cuts files every so many lines, for tasks that are one command per line: reads each file once, chunk by chunk, and
//! keeps nothing but where the cuts are.
//!
//! A split never spans two files; the last of a file may have fewer lines. Lines end at line feeds, as they do for maps.

use std::io::Read as _;

use futures_util::TryStreamExt as _;
use gristmill_common::plan::{Compression, Piece, PinnedFile};
use gristmill_common::{Problem, limits};
use gristmill_storage::{Location, Roots, StorageError, open_pinned};

use super::misplaced;
use crate::store::{Store, blocking};

/// Bytes of a file of this machine that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Cuts the files; at least one split, perhaps an empty one. Empty files are in no split.
pub(super) async fn cut(
    files: &[PinnedFile],
    lines: u64,
    store: &Store,
    roots: &Roots,
) -> Result<Vec<Vec<Piece>>, Problem> {
    let mut splits = Vec::new();
    for (index, file) in files.iter().enumerate() {
        if file.compression != Compression::None {
            let detail = format!("{} is compressed: only plain files are cut by lines; unpack it first", file.url);
            return Err(Problem::at("/split/lines", detail));
        }
        // One more than there may be, so that the caller sees that there are too many.
        let most = (limits::TASKS_PER_JOB as usize + 1).saturating_sub(splits.len());
        let cuts = cuts_of(file, Cuts::new(lines, most), store, roots).await;
        let cuts = cuts.map_err(|error| misplaced(&error, "/split/lines".to_owned()))?;
        let mut start = 0;
        for end in cuts.at {
            // Files are at most `INPUT_FILES`.
            splits.push(vec![Piece::new(index as u32, start, end)]);
            start = end;
        }
    }
    if splits.is_empty() {
        splits.push(Vec::new());
    }
    Ok(splits)
}

async fn cuts_of(file: &PinnedFile, mut cuts: Cuts, store: &Store, roots: &Roots) -> Result<Cuts, StorageError> {
    if file.bytes == 0 {
        return Ok(cuts);
    }
    if let Location::File(_) = Location::parse(&file.url)? {
        let (file, roots) = (file.clone(), roots.clone());
        return blocking(move || {
            read_local(&file, &roots, &mut cuts)?;
            cuts.finish(&file)
        })
        .await;
    }
    let path = Location::parse_store(&file.url)?;
    let (_, mut body) = store.files().open(&path, Some(0..file.bytes), Some(&file.version)).await?;
    while let Some(chunk) = body.try_next().await? {
        if !cuts.feed(&chunk) {
            break;
        }
    }
    cuts.finish(file)
}

fn read_local(file: &PinnedFile, roots: &Roots, cuts: &mut Cuts) -> Result<(), StorageError> {
    let mut from = open_pinned(file, roots)?.take(file.bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) if cuts.feed(&chunk[..length]) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StorageError::io("read", file.url.as_ref(), error)),
        }
    }
}

/// Where a file is cut: the byte behind each split.
struct Cuts {
    lines: u64,
    most: usize,
    at: Vec<u64>,
    /// Lines since the last cut.
    since: u64,
    offset: u64,
}

impl Cuts {
    fn new(lines: u64, most: usize) -> Self {
        Self { lines: lines.max(1), most, at: Vec::new(), since: 0, offset: 0 }
    }

    /// Looks at the next bytes; false when there are as many cuts as may be.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.since += 1;
            if self.since == self.lines {
                self.since = 0;
                self.at.push(self.offset + end as u64 + 1);
                if self.at.len() >= self.most {
                    return false;
                }
            }
        }
        self.offset += bytes.len() as u64;
        true
    }

    /// Ends with the last lines, of which the very last may lack its line feed.
    fn finish(mut self, file: &PinnedFile) -> Result<Self, StorageError> {
        if self.at.len() >= self.most {
            return Ok(self);
        }
        if self.offset != file.bytes {
            let change =
                format!("has {} bytes, but had {} when the job was planned; submit it again", self.offset, file.bytes);
            return Err(StorageError::InputChanged { url: file.url.clone(), change });
        }
        if self.at.last() != Some(&file.bytes) {
            self.at.push(file.bytes);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(chunks: &[&str], lines: u64, most: usize) -> Vec<u64> {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let (url, version, compression) = ("file:///f".into(), "1".into(), Compression::None);
        let file = PinnedFile { url, bytes, version, compression, tag: None };
        let mut cuts = Cuts::new(lines, most);
        for chunk in chunks {
            if !cuts.feed(chunk.as_bytes()) {
                break;
            }
        }
        cuts.finish(&file).expect("as planned").at
    }

    #[test]
    fn every_so_many_lines_whatever_the_chunks() {
        assert_eq!(cuts(&["a\nb\nc\n"], 1, 10), [2, 4, 6]);
        assert_eq!(cuts(&["a\nb", "\nc", "\n"], 2, 10), [4, 6]);
        assert_eq!(cuts(&["a\nb\nc"], 1, 10), [2, 4, 5], "the last line lacks its line feed");
        assert_eq!(cuts(&["a\r\n", "\n", "\nb"], 1, 10), [3, 4, 5, 6], "empty lines are lines");
        assert_eq!(cuts(&["no line feed"], 5, 10), [12]);
        assert_eq!(cuts(&["a\nb\nc\nd\n"], 1, 3), [2, 4, 6], "stops at the limit");
    }
}
