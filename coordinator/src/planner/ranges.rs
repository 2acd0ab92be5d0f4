//! Small pieces of input files, wherever these are: headers and footers that say where a file can be cut.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use futures_util::TryStreamExt as _;
use gristmill_common::plan::PinnedFile;
use gristmill_storage::{Location, Roots, StorageError, StorePath, open_pinned};
use tokio::runtime::Handle;

use crate::store::Store;

/// Bytes read at a time of a file of this machine: little more than a header.
const LOCAL_BYTES: u64 = 4 << 10;
/// Bytes read at a time of a file of the store, where each reading is a request.
const STORED_BYTES: u64 = 1 << 20;

/// Where the bytes of a file are.
enum Place {
    Local(File),
    Stored { path: StorePath, store: Store, handle: Handle },
}

/// Reads small pieces of a file. Blocks, also on the store.
pub(super) struct Ranges<'f> {
    file: &'f PinnedFile,
    from: Place,
    /// Offset of what is held.
    start: u64,
    held: Vec<u8>,
}

impl<'f> Ranges<'f> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be opened, or has changed.
    pub(super) fn open(
        file: &'f PinnedFile,
        store: &Store,
        roots: &Roots,
        handle: &Handle,
    ) -> Result<Self, StorageError> {
        let from = match Location::parse(&file.url)? {
            Location::File(_) => Place::Local(open_pinned(file, roots)?),
            Location::Store(_) => {
                Place::Stored { path: Location::parse_store(&file.url)?, store: store.clone(), handle: handle.clone() }
            }
        };
        Ok(Self { file, from, start: 0, held: Vec::new() })
    }

    #[cfg(test)]
    pub(super) fn of(file: &'f PinnedFile, local: File) -> Self {
        Self { file, from: Place::Local(local), start: 0, held: Vec::new() }
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes
    }

    /// Returns the bytes of a range, which ends at the file's end at the latest.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn read(&mut self, range: Range<u64>) -> Result<&[u8], StorageError> {
        let end = range.end.min(self.file.bytes);
        let start = range.start.min(end);
        if start < self.start || end > self.start + self.held.len() as u64 {
            let least = match self.from {
                Place::Local(_) => LOCAL_BYTES,
                Place::Stored { .. } => STORED_BYTES,
            };
            self.fetch(start..end.max(start + least).min(self.file.bytes))?;
        }
        // What is held is at most what was asked for, which callers bound.
        let at = (start - self.start) as usize;
        Ok(&self.held[at..at + (end - start) as usize])
    }

    fn fetch(&mut self, range: Range<u64>) -> Result<(), StorageError> {
        self.start = range.start;
        self.held.clear();
        match &self.from {
            Place::Local(file) => {
                self.held.resize((range.end - range.start) as usize, 0);
                let read = file.read_exact_at(&mut self.held, range.start);
                read.map_err(|error| StorageError::io("read", self.file.url.as_ref(), error))
            }
            Place::Stored { path, store, handle } => {
                let wanted = (range.end - range.start) as usize;
                self.held = handle.block_on(async {
                    let (_, mut body) = store.files().open(path, Some(range), Some(&self.file.version)).await?;
                    let mut held = Vec::new();
                    while let Some(chunk) = body.try_next().await? {
                        held.extend_from_slice(&chunk);
                    }
                    Ok::<_, StorageError>(held)
                })?;
                if self.held.len() != wanted {
                    let change = "is shorter than it was when the job was planned; submit it again".to_owned();
                    return Err(StorageError::InputChanged { url: self.file.url.clone(), change });
                }
                Ok(())
            }
        }
    }
}
