//! One block: its head, its checksum, and the raw or LZ4-packed bytes behind it.
//!
//! The head is checked together with the stored bytes, and only then are lengths used to allocate for unpacking.

use std::io::{self, Read};

use gristmill_common::{Fence, limits};

use crate::BLOCK_LIMIT_BYTES;
use crate::error::RunError;

/// Bytes of a block's head.
pub(crate) const HEAD_BYTES: usize = 36;
const FLAG_LZ4: u32 = 1;
const FLAG_LAST: u32 = 2;

/// Computes the CRC32C of these slices one after the other.
pub(crate) fn crc32c(slices: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for slice in slices {
        digest.update(slice);
    }
    digest.finalize() as u32
}

/// Reads a little-endian u32; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads a little-endian u64; the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// What a block's head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockHead {
    pub(crate) fence: Fence,
    pub(crate) partition: u32,
    pub(crate) sequence: u32,
    pub(crate) raw_len: u32,
    pub(crate) stored_len: u32,
    pub(crate) records: u32,
    pub(crate) lz4: bool,
    pub(crate) last: bool,
}

impl BlockHead {
    /// Writes the head with the checksum of itself and of the stored bytes.
    pub(crate) fn to_bytes(self, stored: &[u8]) -> [u8; HEAD_BYTES] {
        let flags = if self.lz4 { FLAG_LZ4 } else { 0 } | if self.last { FLAG_LAST } else { 0 };
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.fence.0.to_le_bytes());
        let words = [self.partition, self.sequence, self.raw_len, self.stored_len, self.records, flags];
        for (index, word) in words.into_iter().enumerate() {
            bytes[8 + 4 * index..12 + 4 * index].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32c(&[&bytes[..32], stored]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES], offset: u64) -> Result<Self, RunError> {
        let flags = u32_at(bytes, 28);
        let head = Self {
            fence: Fence(u64_at(bytes, 0)),
            partition: u32_at(bytes, 8),
            sequence: u32_at(bytes, 12),
            raw_len: u32_at(bytes, 16),
            stored_len: u32_at(bytes, 20),
            records: u32_at(bytes, 24),
            lz4: flags & FLAG_LZ4 != 0,
            last: flags & FLAG_LAST != 0,
        };
        let limit = BLOCK_LIMIT_BYTES as u64;
        let (raw, stored) = (u64::from(head.raw_len), u64::from(head.stored_len));
        // A record takes 2 bytes at least; LZ4 never packs denser than 255 to 1.
        let sound = flags & !(FLAG_LZ4 | FLAG_LAST) == 0
            && raw <= limit
            && stored <= raw
            && head.records > 0
            && u64::from(head.records) * 2 <= raw
            && if head.lz4 { raw <= stored * 255 + 64 } else { raw == stored };
        if sound { Ok(head) } else { Err(RunError::corrupt("a block's head makes no sense", offset)) }
    }
}

/// Reads one block of a section: `raw` gets its records, `stored` is scratch. Checks everything but the place of the
/// block in its section. `left` is what the section still has.
pub(crate) fn read_block(
    from: &mut impl Read,
    left: u64,
    offset: u64,
    stored: &mut Vec<u8>,
    raw: &mut Vec<u8>,
) -> Result<BlockHead, RunError> {
    let mut bytes = [0; HEAD_BYTES];
    if left < HEAD_BYTES as u64 {
        return Err(RunError::corrupt(format!("{left} bytes where a block should start"), offset));
    }
    from.read_exact(&mut bytes).map_err(|error| cut_short(error, offset))?;
    let head = BlockHead::from_bytes(&bytes, offset)?;
    let stored_len = u64::from(head.stored_len);
    if stored_len > left - HEAD_BYTES as u64 {
        return Err(RunError::corrupt("a block reaches beyond its section", offset));
    }
    stored.clear();
    // Beyond an ordinary block it grows as bytes arrive, so that a wrong length cannot allocate what never comes.
    stored.reserve(stored_len.min(2 * limits::BLOCK_BYTES as u64) as usize);
    from.take(stored_len).read_to_end(stored)?;
    if stored.len() as u64 != stored_len {
        return Err(RunError::corrupt("the section ends inside a block", offset));
    }
    if crc32c(&[&bytes[..32], stored]) != u32_at(&bytes, 32) {
        return Err(RunError::corrupt("the checksum of a block does not match", offset));
    }
    if head.lz4 {
        raw.clear();
        raw.resize(head.raw_len as usize, 0);
        match lz4_flex::block::decompress_into(stored, raw) {
            Ok(length) if length == raw.len() => {}
            Ok(_) | Err(_) => return Err(RunError::corrupt("a block cannot be unpacked", offset)),
        }
    } else {
        std::mem::swap(stored, raw);
    }
    Ok(head)
}

/// An early end is damage; any other failure is the way's.
pub(crate) fn cut_short(error: io::Error, offset: u64) -> RunError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return RunError::corrupt("the bytes end early", offset);
    }
    RunError::Io(error)
}
