//! A finished run: its header and index in memory, its sections readable one by one, from a file or from bytes.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use gristmill_common::{Fence, limits};
use xxhash_rust::xxh3::Xxh3Default;

use crate::block::{HEAD_BYTES, crc32c, cut_short, u32_at, u64_at};
use crate::error::RunError;
use crate::section::SectionReader;
use crate::writer::{RunHeader, RunSummary};

pub(crate) const MAGIC: &[u8; 8] = b"\x89GMRUN\r\n";
pub(crate) const MAGIC_END: &[u8; 8] = b"GMRUNEND";
pub(crate) const VERSION: u16 = 1;
pub(crate) const FLAG_LZ4: u16 = 1;
pub(crate) const FLAG_PART: u16 = 2;
pub(crate) const HEADER_BYTES: usize = 28;
/// The trailer's checksum takes the header without the header's own: bytes followed by their CRC leave a CRC in one and
/// the same state whatever they are, and would bind nothing.
pub(crate) const HEADER_SEALED_BYTES: usize = 24;
const TRAILER_BYTES: usize = 24;
const FOOTER_HEAD_BYTES: usize = 12;
const ENTRY_BYTES: usize = 36;

/// Where one partition is, and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) records: u64,
    pub(crate) digest: u64,
}

/// The index of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) text_bytes: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Footer {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_HEAD_BYTES + ENTRY_BYTES * self.entries.len());
        bytes.extend_from_slice(&self.text_bytes.to_le_bytes());
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.partition.to_le_bytes());
            for number in [entry.offset, entry.length, entry.records, entry.digest] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads a footer whose checksum was right, and still believes no number in it: `sections` is where blocks may be.
    fn from_bytes(bytes: &[u8], partitions: u32, sections: Range<u64>) -> Option<Self> {
        let count = u32_at(bytes.get(..FOOTER_HEAD_BYTES)?, 8) as usize;
        let body = &bytes[FOOTER_HEAD_BYTES..];
        if body.len() != count.checked_mul(ENTRY_BYTES)? {
            return None;
        }
        let mut at = sections.start;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for entry in body.chunks_exact(ENTRY_BYTES) {
            let partition = u32_at(entry, 0);
            let [offset, length, records, digest] = [4, 12, 20, 28].map(|place| u64_at(entry, place));
            let ascends = entries.last().is_none_or(|last| last.partition < partition);
            if !ascends || partition >= partitions || offset != at || length < HEAD_BYTES as u64 || records == 0 {
                return None;
            }
            at = at.checked_add(length)?;
            entries.push(Entry { partition, offset, length, records, digest });
        }
        (at == sections.end).then_some(Self { text_bytes: u64_at(bytes, 0), entries })
    }

    pub(crate) fn summary(&self, bytes: u64) -> RunSummary {
        let mut digest = Xxh3Default::new();
        let mut records = 0_u64;
        for entry in &self.entries {
            digest.update(&entry.partition.to_le_bytes());
            digest.update(&entry.records.to_le_bytes());
            digest.update(&entry.digest.to_le_bytes());
            records = records.saturating_add(entry.records);
        }
        RunSummary { records, bytes, digest: digest.digest(), text_bytes: self.text_bytes }
    }
}

#[derive(Clone, Debug)]
enum Storage {
    File(Arc<File>),
    Memory(Arc<[u8]>),
}

impl Storage {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                Ok(length)
            }
        }
    }
}

/// Raw bytes of a range of a run, such as one section to be sent.
#[derive(Debug)]
pub struct SectionBytes {
    storage: Storage,
    range: Range<u64>,
}

impl SectionBytes {
    /// Returns the bytes left.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Says whether none are left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

impl Read for SectionBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.len()).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.storage.read_at(&mut buffer[..wanted], self.range.start)?;
        self.range.start += length as u64;
        Ok(length)
    }
}

/// A finished run. Opening it checks header, index and trailer; blocks are checked when they are read.
#[derive(Clone, Debug)]
pub struct RunFile {
    storage: Storage,
    header: RunHeader,
    part: bool,
    bytes: u64,
    footer: Arc<Footer>,
}

impl RunFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, is no run, or is damaged.
    pub fn open(file: File) -> Result<Self, RunError> {
        let bytes = file.metadata()?.len();
        Self::load(Storage::File(Arc::new(file)), bytes)
    }

    /// Opens a run that is in memory.
    ///
    /// # Errors
    /// When it is no run, or is damaged.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, RunError> {
        let length = bytes.len() as u64;
        Self::load(Storage::Memory(bytes.into()), length)
    }

    fn load(storage: Storage, bytes: u64) -> Result<Self, RunError> {
        let least = (HEADER_BYTES + FOOTER_HEAD_BYTES + TRAILER_BYTES) as u64;
        if bytes < least {
            return Err(RunError::corrupt(format!("{bytes} bytes are too few for a run"), bytes));
        }
        let head = Self::read_range(&storage, 0..HEADER_BYTES as u64)?;
        let (header, part) = read_header(&head)?;
        let trailer_at = bytes - TRAILER_BYTES as u64;
        let trailer = Self::read_range(&storage, trailer_at..bytes)?;
        let bad = |what: &str| RunError::corrupt(what, trailer_at);
        if &trailer[16..] != MAGIC_END {
            return Err(bad("no trailer: the file was not finished or was cut"));
        }
        let (footer_at, footer_len) = (u64_at(&trailer, 0), u64::from(u32_at(&trailer, 8)));
        let most = (FOOTER_HEAD_BYTES + ENTRY_BYTES * header.partitions as usize) as u64;
        if footer_len > most || footer_at < HEADER_BYTES as u64 || footer_at.checked_add(footer_len) != Some(trailer_at)
        {
            return Err(bad("the trailer makes no sense"));
        }
        let footer = Self::read_range(&storage, footer_at..trailer_at)?;
        if crc32c(&[&head[..HEADER_SEALED_BYTES], &footer, &trailer[..12]]) != u32_at(&trailer, 12) {
            return Err(bad("the checksum of the index does not match"));
        }
        let footer = Footer::from_bytes(&footer, header.partitions, HEADER_BYTES as u64..footer_at)
            .ok_or_else(|| RunError::corrupt("the index makes no sense", footer_at))?;
        Ok(Self { storage, header, part, bytes, footer: Arc::new(footer) })
    }

    fn read_range(storage: &Storage, range: Range<u64>) -> Result<Vec<u8>, RunError> {
        let offset = range.start;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut from = SectionBytes { storage: storage.clone(), range };
        from.read_exact(&mut bytes).map_err(|error| cut_short(error, offset))?;
        Ok(bytes)
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> RunHeader {
        self.header
    }

    /// Returns the attempt that wrote the run.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.header.fence
    }

    /// Returns the number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.header.partitions
    }

    /// Says whether the values are text of a part ([`crate::part_text`]).
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.part
    }

    /// Returns what the index says of the whole run.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        self.footer.summary(self.bytes)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.footer.entries
    }

    fn entry(&self, partition: u32) -> Option<&Entry> {
        let entries = &self.footer.entries;
        entries.binary_search_by_key(&partition, |entry| entry.partition).ok().and_then(|index| entries.get(index))
    }

    /// Returns where a partition's section is in the file; an empty range for a partition without records.
    #[must_use]
    pub fn section(&self, partition: u32) -> Range<u64> {
        self.entry(partition).map_or(0..0, |entry| entry.offset..entry.offset + entry.length)
    }

    /// Returns how many records a partition has.
    #[must_use]
    pub fn records_in(&self, partition: u32) -> u64 {
        self.entry(partition).map_or(0, |entry| entry.records)
    }

    /// Returns the raw bytes of a partition's section, to be sent.
    #[must_use]
    pub fn section_bytes(&self, partition: u32) -> SectionBytes {
        SectionBytes { storage: self.storage.clone(), range: self.section(partition) }
    }

    /// Returns a range of the raw bytes of a partition's section; what is beyond its end is left out.
    #[must_use]
    pub fn section_range(&self, partition: u32, range: Range<u64>) -> SectionBytes {
        let section = self.section(partition);
        let within = |at: u64| section.start.saturating_add(at).min(section.end);
        SectionBytes { storage: self.storage.clone(), range: within(range.start)..within(range.end) }
    }

    /// Returns a reader of a partition's records. It fails on damage, and on blocks of another run or partition.
    #[must_use]
    pub fn reader(&self, partition: u32) -> SectionReader<SectionBytes> {
        let bytes = self.section_bytes(partition);
        let (offset, length) = (bytes.range.start, bytes.len());
        SectionReader::new(bytes, length).expecting(self.fence(), partition).starting_at(offset)
    }
}

fn read_header(bytes: &[u8]) -> Result<(RunHeader, bool), RunError> {
    let bad = |what: &str| Err(RunError::corrupt(what, 0));
    if &bytes[..8] != MAGIC {
        return bad("not a run: the first bytes are others");
    }
    if crc32c(&[&bytes[..24]]) != u32_at(bytes, 24) {
        return bad("the checksum of the header does not match");
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    let flags = u16::from_le_bytes([bytes[10], bytes[11]]);
    let partitions = u32_at(bytes, 12);
    if version != VERSION || flags & !(FLAG_LZ4 | FLAG_PART) != 0 {
        return bad("a run of another version");
    }
    if partitions == 0 || partitions > limits::PARTITIONS {
        return bad("the number of partitions makes no sense");
    }
    let header = RunHeader { fence: Fence(u64_at(bytes, 16)), partitions, compress: flags & FLAG_LZ4 != 0 };
    Ok((header, flags & FLAG_PART != 0))
}
