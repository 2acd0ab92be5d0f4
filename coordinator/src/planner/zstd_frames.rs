//! Finds the edges between Zstandard frames (RFC 8878): from the table of a seekable file, from the sizes that pzstd writes
//! before frames, or from frame to frame by the headers of their blocks.

use gristmill_common::limits;
use gristmill_storage::StorageError;

use super::packed::{Between, Edge, Edges, Walk, offset_of_frame};
use super::ranges::Ranges;

const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Most that a frame's header has, its magic number included.
const FRAME_HEADER_BYTES: u64 = 18;
/// Magic number, size.
const SKIPPABLE_HEADER_BYTES: u64 = 8;
/// What pzstd writes before each frame: a skippable frame that holds the frame's size.
const PZSTD_BYTES: u64 = 12;
/// Number of frames, flags, magic number: the end of a seekable file.
const SEEK_FOOTER_BYTES: u64 = 9;
const SEEK_FOOTER: [u8; 4] = 0x8f92_eab1_u32.to_le_bytes();
/// Frames of pzstd hold some megabytes each.
const PZSTD_FRAMES: usize = 1 << 20;

/// Finds edges of a file whose frames say how much they hold, or that has a table which does.
pub(super) fn walk(from: &mut Ranges<'_>, walk: &mut Walk<'_>) -> Result<(), StorageError> {
    if let Some((frames, each)) = seek_table(from)? {
        return walk_table(from, walk, frames, each);
    }
    let (mut at, mut unpacked) = (0, 0);
    while walk.meet(at, unpacked) {
        let header = from.read(at..at + FRAME_HEADER_BYTES)?;
        if let Some(size) = skippable(header) {
            at += SKIPPABLE_HEADER_BYTES + size;
            continue;
        }
        let Some(Frame { header, content: Some(content), has_sum }) = frame(header) else { return Ok(()) };
        let Some(end) = end_of_blocks(from, at + header)? else { return Ok(()) };
        at = end + if has_sum { 4 } else { 0 };
        unpacked += content;
    }
    Ok(())
}

/// Finds every edge of a file that pzstd wrote, between a frame and the size that stands before the next one.
pub(super) fn walk_pzstd(from: &mut Ranges<'_>) -> Result<Edges, StorageError> {
    let mut edges = Edges { at: Vec::new(), between: Between::Frames };
    let mut at = 0;
    while at < from.bytes() && edges.at.len() < PZSTD_FRAMES {
        let bytes = from.read(at..at + PZSTD_BYTES + 4)?;
        let (Some(4), [_, _, _, _, _, _, _, _, a, b, c, d, frame @ ..]) = (skippable(bytes), bytes) else { break };
        if frame != FRAME {
            break;
        }
        if at > 0 {
            edges.at.push(Edge { packed: at, unpacked: offset_of_frame(at) });
        }
        at += PZSTD_BYTES + u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    }
    Ok(edges)
}

/// The frames of a seekable file, and the bytes that its table has for each.
fn seek_table(from: &mut Ranges<'_>) -> Result<Option<(u64, u64)>, StorageError> {
    let bytes = from.bytes();
    let [a, b, c, d, flags, magic @ ..] = from.read(bytes.saturating_sub(SEEK_FOOTER_BYTES)..bytes)? else {
        return Ok(None);
    };
    let frames = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    if magic != SEEK_FOOTER || frames > limits::SEEK_TABLE_FRAMES {
        return Ok(None);
    }
    let each = if flags & 0x80 == 0 { 8 } else { 12 };
    let is_there = bytes >= frames * each + SEEK_FOOTER_BYTES + SKIPPABLE_HEADER_BYTES;
    Ok(is_there.then_some((frames, each)))
}

fn walk_table(from: &mut Ranges<'_>, walk: &mut Walk<'_>, frames: u64, each: u64) -> Result<(), StorageError> {
    let end = from.bytes() - SEEK_FOOTER_BYTES;
    let table = from.read(end - frames * each..end)?;
    let (mut at, mut unpacked) = (0, 0);
    for entry in table.chunks_exact(each as usize) {
        let [a, b, c, d, e, f, g, h, ..] = entry else { break };
        at += u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        unpacked += u64::from(u32::from_le_bytes([*e, *f, *g, *h]));
        if !walk.meet(at, unpacked) {
            break;
        }
    }
    Ok(())
}

/// Returns how much a skippable frame holds.
fn skippable(header: &[u8]) -> Option<u64> {
    match header {
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, ..] => Some(u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        _ => None,
    }
}

/// What a frame's header says.
struct Frame {
    /// Bytes of the header.
    header: u64,
    /// Bytes that it holds, if it says so.
    content: Option<u64>,
    has_sum: bool,
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    let [a, b, c, d, descriptor, rest @ ..] = bytes else { return None };
    if [*a, *b, *c, *d] != FRAME {
        return None;
    }
    let is_single = descriptor & 0x20 != 0;
    let window = usize::from(!is_single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = match descriptor >> 6 {
        0 => usize::from(is_single),
        flag => 1 << flag,
    };
    let start = window + dictionary;
    let field = rest.get(start..start + length)?;
    let mut content = [0; 8];
    content[..length].copy_from_slice(field);
    let content = u64::from_le_bytes(content) + if length == 2 { 256 } else { 0 };
    Some(Frame {
        header: (5 + start + length) as u64,
        content: (length > 0).then_some(content),
        has_sum: descriptor & 4 != 0,
    })
}

/// Returns the offset behind the blocks that begin here; `None` if there is no such place, or it is far away.
fn end_of_blocks(from: &mut Ranges<'_>, start: u64) -> Result<Option<u64>, StorageError> {
    let mut at = start;
    while at - start <= limits::FRAME_WALK_BYTES {
        let [a, b, c] = from.read(at..at + 3)? else { return Ok(None) };
        let header = u32::from_le_bytes([*a, *b, *c, 0]);
        let size = u64::from(header >> 3);
        at += match header >> 1 & 3 {
            0 | 2 => 3 + size,
            1 => 4,
            _ => return Ok(None),
        };
        if header & 1 == 1 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
