//! Writes a run front to back, one block in memory at a time.

use std::io::Write;

use gristmill_common::{Fence, limits};
use xxhash_rust::xxh3::Xxh3Default;

use crate::block::{BlockHead, HEAD_BYTES, crc32c};
use crate::error::RunError;
use crate::file::{Entry, FLAG_LZ4, FLAG_PART, Footer, HEADER_BYTES, HEADER_SEALED_BYTES, MAGIC, MAGIC_END, VERSION};
use crate::{BLOCK_LIMIT_BYTES, KEY_BYTES, VALUE_BYTES, varint};

/// A block is packed when that saves one part in so many: less is not worth unpacking it.
const PACKING_GAIN: usize = 8;
/// Blocks stored as they are behind one that was not worth packing.
const UNPACKED_BLOCKS: u32 = 15;

/// What a run says about itself before its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunHeader {
    /// The attempt that writes it.
    pub fence: Fence,
    /// Number of partitions; 1 for a part.
    pub partitions: u32,
    /// Whether blocks are packed with LZ4 where that makes them smaller by an eighth.
    pub compress: bool,
}

impl RunHeader {
    pub(crate) fn to_bytes(self, part: bool) -> [u8; HEADER_BYTES] {
        let flags = if self.compress { FLAG_LZ4 } else { 0 } | if part { FLAG_PART } else { 0 };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.partitions.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.fence.0.to_le_bytes());
        let crc = crc32c(&[&bytes[..24]]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Appends a record as it lies in a block; [`RunWriter::push_encoded`] takes it.
#[inline]
pub fn encode(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    varint::write(out, key.len() as u64);
    varint::write(out, value.len() as u64);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Returns key and value of the record that [`encode`] wrote here, and the bytes it takes; `None` if there is none.
#[inline]
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let (key_len, first) = varint::read(bytes)?;
    let (value_len, second) = varint::read(bytes.get(first..)?)?;
    let start = first + second;
    let middle = start.checked_add(usize::try_from(key_len).ok()?)?;
    let end = middle.checked_add(usize::try_from(value_len).ok()?)?;
    Some((bytes.get(start..middle)?, bytes.get(middle..end)?, end))
}

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunSummary {
    /// Records in it.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// XXH3-64 of the logical records, whatever the block layout.
    pub digest: u64,
    /// Bytes of text that a part renders to; 0 for other runs.
    pub text_bytes: u64,
}

/// Writes a run. Records come in (partition, key) order; the order of keys is the caller's promise.
///
/// A run that is dropped without [`RunWriter::finish`] has no trailer and is refused by every reader.
pub struct RunWriter<W: Write> {
    out: W,
    header: RunHeader,
    part: bool,
    block_bytes: usize,
    offset: u64,
    partition: u32,
    sequence: u32,
    raw: Vec<u8>,
    packed: Vec<u8>,
    /// Blocks that are to be stored as they are.
    unpacked_next: u32,
    block_records: u32,
    section_start: u64,
    section_records: u64,
    section_digest: Xxh3Default,
    entries: Vec<Entry>,
    text_bytes: u64,
}

impl<W: Write> RunWriter<W> {
    /// Starts a run. The writer needs no buffer of its own: blocks are written whole.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn new(out: W, header: RunHeader) -> Result<Self, RunError> {
        Self::start(out, header, false, limits::BLOCK_BYTES)
    }

    /// As [`RunWriter::new`] with another size of blocks; the logical content and its digest are the same.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn with_block_bytes(out: W, header: RunHeader, block_bytes: usize) -> Result<Self, RunError> {
        Self::start(out, header, false, block_bytes)
    }

    pub(crate) fn start(mut out: W, header: RunHeader, part: bool, block_bytes: usize) -> Result<Self, RunError> {
        out.write_all(&header.to_bytes(part))?;
        Ok(Self {
            out,
            header,
            part,
            block_bytes: block_bytes.clamp(1, limits::LINE_BYTES),
            offset: HEADER_BYTES as u64,
            partition: 0,
            sequence: 0,
            raw: Vec::new(),
            packed: Vec::new(),
            unpacked_next: 0,
            block_records: 0,
            section_start: HEADER_BYTES as u64,
            section_records: 0,
            section_digest: Xxh3Default::new(),
            entries: Vec::new(),
            text_bytes: 0,
        })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When it is too long, its partition is out of order, or the file cannot be written.
    #[inline]
    pub fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<(), RunError> {
        self.push_joined(partition, key, [value])
    }

    /// Appends a record whose value is in pieces.
    #[inline]
    pub(crate) fn push_joined<const N: usize>(
        &mut self,
        partition: u32,
        key: &[u8],
        value: [&[u8]; N],
    ) -> Result<(), RunError> {
        let value_len = value.iter().map(|piece| piece.len()).sum();
        if key.len() > KEY_BYTES || value_len > VALUE_BYTES {
            return Err(too_long(key.len(), value_len));
        }
        self.make_room(partition, key.len() + value_len + 2)?;
        varint::write(&mut self.raw, key.len() as u64);
        varint::write(&mut self.raw, value_len as u64);
        self.raw.extend_from_slice(key);
        for piece in value {
            self.raw.extend_from_slice(piece);
        }
        self.block_records += 1;
        Ok(())
    }

    /// Appends a record as [`encode`] wrote it: the caller's promise. One copy.
    ///
    /// # Errors
    /// As [`RunWriter::push`].
    #[inline]
    pub fn push_encoded(&mut self, partition: u32, record: &[u8]) -> Result<(), RunError> {
        if record.len() > BLOCK_LIMIT_BYTES {
            return Err(RunError::TooLong { what: "record", bytes: record.len(), limit: BLOCK_LIMIT_BYTES });
        }
        self.make_room(partition, record.len())?;
        self.raw.extend_from_slice(record);
        self.block_records += 1;
        Ok(())
    }

    /// Opens the partition's section, and another block where a record of this size would make the last one too large.
    #[inline]
    fn make_room(&mut self, partition: u32, bytes: usize) -> Result<(), RunError> {
        if partition != self.partition {
            self.enter(partition)?;
        } else if self.raw.len() + bytes > self.block_bytes && self.block_records > 0 {
            self.flush_block(false)?;
        }
        Ok(())
    }

    pub(crate) fn add_text_bytes(&mut self, bytes: u64) {
        self.text_bytes += bytes;
    }

    /// Returns the records pushed so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        let closed: u64 = self.entries.iter().map(|entry| entry.records).sum();
        closed + self.section_records + u64::from(self.block_records)
    }

    #[cold]
    fn enter(&mut self, partition: u32) -> Result<(), RunError> {
        if partition < self.partition || partition >= self.header.partitions {
            let (last, partitions) = (self.partition, self.header.partitions);
            return Err(RunError::OutOfOrder { partition, last, partitions });
        }
        self.close_section()?;
        self.partition = partition;
        Ok(())
    }

    fn close_section(&mut self) -> Result<(), RunError> {
        if self.block_records == 0 {
            return Ok(());
        }
        self.flush_block(true)?;
        self.entries.push(Entry {
            partition: self.partition,
            offset: self.section_start,
            length: self.offset - self.section_start,
            records: self.section_records,
            digest: self.section_digest.digest(),
        });
        self.section_start = self.offset;
        self.section_records = 0;
        self.section_digest.reset();
        self.sequence = 0;
        Ok(())
    }

    fn flush_block(&mut self, last: bool) -> Result<(), RunError> {
        self.section_digest.update(&self.raw);
        let lz4 = self.header.compress && self.pack();
        let stored = if lz4 { &self.packed } else { &self.raw };
        let head = BlockHead {
            fence: self.header.fence,
            partition: self.partition,
            sequence: self.sequence,
            raw_len: self.raw.len() as u32,
            stored_len: stored.len() as u32,
            records: self.block_records,
            lz4,
            last,
        };
        self.out.write_all(&head.to_bytes(stored))?;
        self.out.write_all(stored)?;
        self.offset += (HEAD_BYTES + stored.len()) as u64;
        self.section_records += u64::from(self.block_records);
        self.sequence = self.sequence.wrapping_add(1);
        self.block_records = 0;
        self.raw.clear();
        Ok(())
    }

    /// Packs the block; `false` when that does not make it smaller by enough. Where it did not, the next blocks are not tried:
    /// neighbours are alike.
    fn pack(&mut self) -> bool {
        if self.unpacked_next > 0 {
            self.unpacked_next -= 1;
            return false;
        }
        self.packed.resize(lz4_flex::block::get_maximum_output_size(self.raw.len()), 0);
        let worth = self.raw.len() - self.raw.len() / PACKING_GAIN;
        match lz4_flex::block::compress_into(&self.raw, &mut self.packed) {
            Ok(length) if length < worth => {
                self.packed.truncate(length);
                true
            }
            Ok(_) | Err(_) => {
                self.unpacked_next = UNPACKED_BLOCKS;
                false
            }
        }
    }

    /// Writes the index and ends the file. Nothing is synced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<RunSummary, RunError> {
        self.finish_into().map(|(summary, _)| summary)
    }

    /// As [`RunWriter::finish`], and gives back what was written to.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish_into(mut self) -> Result<(RunSummary, W), RunError> {
        self.close_section()?;
        let footer = Footer { text_bytes: self.text_bytes, entries: std::mem::take(&mut self.entries) };
        let body = footer.to_bytes();
        let mut trailer = Vec::with_capacity(24);
        trailer.extend_from_slice(&self.offset.to_le_bytes());
        trailer.extend_from_slice(&(body.len() as u32).to_le_bytes());
        let crc = crc32c(&[&self.header.to_bytes(self.part)[..HEADER_SEALED_BYTES], &body, &trailer]);
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.extend_from_slice(MAGIC_END);
        self.out.write_all(&body)?;
        self.out.write_all(&trailer)?;
        self.out.flush()?;
        let bytes = self.offset + (body.len() + trailer.len()) as u64;
        Ok((footer.summary(bytes), self.out))
    }
}

#[cold]
fn too_long(key: usize, value: usize) -> RunError {
    if key > KEY_BYTES {
        return RunError::TooLong { what: "key", bytes: key, limit: KEY_BYTES };
    }
    RunError::TooLong { what: "value", bytes: value, limit: VALUE_BYTES }
}
