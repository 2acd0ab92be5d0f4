//! Runs: sorted pieces of records in blocks, as map outputs, spills and parts are stored and sent; and finished parts, which are
//! files with nothing around their bytes.
//!
//! A run is written once, front to back, and checked wherever it is read: no length in it is believed before its
//! checksum was, and nothing here panics or allocates beyond the limits because of what a file or a peer holds.
//! Nothing here knows jobs, networks or user code.
//!
//! # Layout
//!
//! All integers are little-endian; CRC is CRC32C (Castagnoli).
//!
//! ```text
//! file    = header sections footer trailer
//! header  = magic "\x89GMRUN\r\n" · version u16 (1) · flags u16 (1 = LZ4 tried, 2 = a part) · partitions u32
//!         · fence u64 · crc u32 of the 24 bytes before                                                (28 bytes)
//! section = the blocks of one partition, in order; partitions ascend; an empty partition has no block
//! block   = fence u64 · partition u32 · sequence u32 (0, 1, … in its section) · raw_len u32 · stored_len u32
//!         · records u32 · flags u32 (1 = stored as an LZ4 block, 2 = last of its section)
//!         · crc u32 of the 32 bytes before and of the stored bytes                                    (36 bytes)
//!         · stored_len stored bytes
//! raw     = records, each: key length varint · value length varint · key · value
//! footer  = text_bytes u64 · count u32 · count entries, one for each partition that is not empty
//! entry   = partition u32 · offset u64 · length u64 · records u64 · digest u64 (XXH3-64 of the raw bytes)
//! trailer = footer offset u64 · footer length u32
//!         · crc u32 of the first 24 bytes of the header, the footer and the 12 bytes before
//!         · magic "GMRUNEND"                                                                          (24 bytes)
//! ```
//!
//! The digest covers the raw bytes of a section one after the other, so it does not depend on where blocks end. The
//! digest of a file is the XXH3-64 of (partition, records, digest) of its entries. A varint is LEB128, least
//! significant group first, at most 5 bytes.
//!
//! A section can be cut out of its file and sent: every block names its fence, partition and place, and the last one
//! says so, so that a stale, swapped, shortened or reordered section is found by its reader.

mod block;
mod error;
mod file;
mod finished;
mod frames;
mod merge;
mod part;
mod section;
pub mod varint;
mod verify;
mod writer;

pub use error::RunError;
pub use file::{RunFile, SectionBytes};
pub use finished::{Checksum, FileWriter};
pub use frames::{NOT_THERE, Piece, SectionFrames, SectionTurns, TURN_BYTES, Turns};
pub use merge::{Merge, key_prefix};
pub use part::{PartWriter, part_text};
pub use section::{SectionReader, Source};
pub use verify::{verify, verify_run};
pub use writer::{RunHeader, RunSummary, RunWriter, decode, encode};

/// Longest key, in bytes.
pub const KEY_BYTES: usize = gristmill_common::limits::LINE_BYTES;
/// Longest value, in bytes; the part format adds a few to a line.
pub const VALUE_BYTES: usize = gristmill_common::limits::LINE_BYTES + 16;
/// Largest raw or stored block: one record of the longest key and value, with its lengths.
pub(crate) const BLOCK_LIMIT_BYTES: usize = KEY_BYTES + VALUE_BYTES + 16;

#[cfg(test)]
mod tests;
