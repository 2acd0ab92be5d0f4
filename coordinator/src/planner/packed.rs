//! Finds the edges between the blocks of packed files, where they can be cut: BGZF, whose blocks say their sizes, and
//! Zstandard of many frames.
//!
//! Headers alone are read, each block's at the place that the one before it names; nothing is unpacked. What is found is
//! checked again by the worker that reads across an edge. Where the headers end to say sizes, the rest of a file is one piece.

use std::collections::BTreeMap;

use gristmill_common::format::InputFormat;
use gristmill_common::limits;
use gristmill_common::plan::{Compression, PinnedFile};
use gristmill_storage::{Roots, StorageError};
use tokio::runtime::Handle;

use super::ranges::Ranges;
use super::zstd_frames;
use crate::store::{Store, blocking};

/// Bytes of a BGZF block's header that are looked at: a few subfields more than its own.
const BGZF_HEADER_BYTES: u64 = 64;
/// Most that a BGZF block holds.
const BGZF_BLOCK_BYTES: u64 = 64 << 10;
/// Bits that an offset inside a frame takes where only unpacking tells what frames hold. A frame unpacks to less than so
/// many times its size (a block of 4 bytes is at most 128 KiB), so that offsets rise from frame to frame.
const FRAME_SHIFT: u32 = 16;

/// A place between two blocks of a packed file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    /// Its offset in the file.
    pub(super) packed: u64,
    /// The offset of what is unpacked behind it.
    pub(super) unpacked: u64,
}

/// The edges of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Edges {
    /// In order; neither the file's start nor its end.
    pub(super) at: Vec<Edge>,
    pub(super) between: Between,
}

/// What is between edges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Between {
    /// Packed blocks.
    #[default]
    Blocks,
    /// Packed frames, and every edge there is: a range is read frame by frame, as how much a frame holds is not known.
    Frames,
    /// Row groups of a file that is packed inside.
    Groups,
}

/// Finds the edges of the packed files, by the index of the file. `wanted`: where each would be cut, rising; the first edge at
/// each of these places or behind it is found.
pub(super) async fn find(
    files: &[PinnedFile],
    mut wanted: BTreeMap<usize, Vec<u64>>,
    format: &InputFormat,
    store: &Store,
    roots: &Roots,
) -> Result<BTreeMap<usize, Edges>, StorageError> {
    // A fixed length counts from the file's start.
    let by_frames = !matches!(format, InputFormat::Fixed(_) | InputFormat::Csv(_));
    for (index, _) in files.iter().enumerate().filter(|(_, file)| by_frames && file.compression == Compression::Pzstd) {
        wanted.entry(index).or_default();
    }
    let mut found = BTreeMap::new();
    for (index, wanted) in wanted {
        let Some(file) = files.get(index) else { continue };
        if file.compression == Compression::Pzstd && !by_frames {
            continue;
        }
        let edges = edges_of(file, wanted, store, roots).await?;
        if !edges.at.is_empty() {
            found.insert(index, edges);
        }
    }
    Ok(found)
}

async fn edges_of(file: &PinnedFile, wanted: Vec<u64>, store: &Store, roots: &Roots) -> Result<Edges, StorageError> {
    let (file, roots, store, handle) = (file.clone(), roots.clone(), store.clone(), Handle::current());
    blocking(move || edges_in(&mut Ranges::open(&file, &store, &roots, &handle)?, file.compression, &wanted)).await
}

fn edges_in(from: &mut Ranges<'_>, compression: Compression, wanted: &[u64]) -> Result<Edges, StorageError> {
    let mut walk = Walk { bytes: from.bytes(), wanted, edges: Vec::new(), blocks: 0 };
    match compression {
        Compression::Gzip => bgzf(from, &mut walk)?,
        Compression::Zstd => zstd_frames::walk(from, &mut walk)?,
        Compression::Pzstd => return zstd_frames::walk_pzstd(from),
        Compression::None | Compression::Bzip2 | Compression::Lz4 => {}
    }
    Ok(Edges { at: walk.edges, between: Between::Blocks })
}

/// Which edges were found, and which are looked for.
pub(super) struct Walk<'w> {
    bytes: u64,
    wanted: &'w [u64],
    edges: Vec<Edge>,
    blocks: u64,
}

impl Walk<'_> {
    /// Notes an edge if one is wanted there; false when no other one is.
    pub(super) fn meet(&mut self, packed: u64, unpacked: u64) -> bool {
        self.blocks += 1;
        if packed >= self.bytes || self.blocks > limits::PACKED_BLOCKS {
            return false;
        }
        let met = self.wanted.iter().take_while(|wanted| **wanted <= packed).count();
        if met > 0 && packed > 0 {
            self.wanted = &self.wanted[met..];
            self.edges.push(Edge { packed, unpacked });
        }
        !self.wanted.is_empty()
    }
}

/// Walks the blocks of BGZF: gzip members whose header has the size of the block and whose last bytes that of its content.
fn bgzf(from: &mut Ranges<'_>, walk: &mut Walk<'_>) -> Result<(), StorageError> {
    let (mut at, mut unpacked) = (0, 0);
    loop {
        // The size of the content of the block before, and the header.
        let before = if at == 0 { 0 } else { 4 };
        let bytes = from.read(at - before..at + BGZF_HEADER_BYTES)?;
        let Some((size, header)) = bytes.split_at_checked(before as usize) else { return Ok(()) };
        if let Ok(size) = size.try_into() {
            let size = u64::from(u32::from_le_bytes(size));
            if size > BGZF_BLOCK_BYTES {
                return Ok(());
            }
            unpacked += size;
        }
        let block = bgzf_block(header);
        if block.is_none() && at > 0 || !walk.meet(at, unpacked) {
            return Ok(());
        }
        let Some(block) = block else { return Ok(()) };
        at += block;
    }
}

/// Returns the size of the BGZF block that has this header.
fn bgzf_block(header: &[u8]) -> Option<u64> {
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, low, high, rest @ ..] = header else { return None };
    if flags & 4 == 0 {
        return None;
    }
    let mut extra = rest.get(..usize::from(u16::from_le_bytes([*low, *high])))?;
    while let [one, two, low, high, rest @ ..] = extra {
        let field = rest.get(..usize::from(u16::from_le_bytes([*low, *high])))?;
        if let (b'B', b'C', [low, high]) = (*one, *two, field) {
            let size = u64::from(u16::from_le_bytes([*low, *high])) + 1;
            // Less than header, an empty block and the two sums is none.
            return (size >= 26).then_some(size);
        }
        extra = &rest[field.len()..];
    }
    None
}

/// Returns the offset that what a frame holds begins at, where only unpacking tells how much frames hold.
pub(super) fn offset_of_frame(packed: u64) -> u64 {
    packed << FRAME_SHIFT
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/fixtures/formats/", $name)).as_slice()
        };
    }

    fn edges(bytes: &[u8], compression: Compression, wanted: &[u64]) -> Edges {
        let mut local = tempfile::tempfile().expect("a file");
        local.write_all(bytes).expect("written");
        let url = "file:///f".to_owned();
        let file = PinnedFile { url, bytes: bytes.len() as u64, version: "1".into(), compression, tag: None };
        edges_in(&mut Ranges::of(&file, local), compression, wanted).expect("read")
    }

    fn all(bytes: &[u8], compression: Compression) -> Vec<Edge> {
        edges(bytes, compression, &(1..bytes.len() as u64).collect::<Vec<_>>()).at
    }

    fn unpacked(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut text = Vec::new();
        match compression {
            Compression::Gzip => {
                flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut text).expect("whole members");
            }
            _ => text = zstd::stream::decode_all(bytes).expect("whole frames"),
        }
        text
    }

    #[test]
    fn edges_of_what_other_tools_wrote_are_found() {
        // The cuts of the text at which it was packed, see the fixtures' README.
        let cuts = [1_000, 1_001, 2_500, 3_019, 4_096, 5_555, 6_000, 7_009];
        let by_thousands: Vec<u64> = (1..=8).map(|part| part * 1_000).collect();
        for (bytes, compression, expected) in [
            (fixture!("lines.bgzf"), Compression::Gzip, &cuts[..]),
            (fixture!("lines.frames.zstd"), Compression::Zstd, &cuts),
            (fixture!("lines.seekable.zstd"), Compression::Zstd, &by_thousands),
        ] {
            let found = all(bytes, compression);
            for edge in &found {
                let before = unpacked(&bytes[..edge.packed as usize], compression).len() as u64;
                assert_eq!(edge.unpacked, before, "{edge:?}");
            }
            let mut at: Vec<u64> = found.iter().map(|edge| edge.unpacked).collect();
            at.dedup();
            assert_eq!(&at[..expected.len()], expected, "{compression:?}");
        }
        let bytes = fixture!("lines.pzstd");
        let found = edges(bytes, Compression::Pzstd, &[]);
        assert_eq!(found.between, Between::Frames);
        let before = |edge: &Edge| unpacked(&bytes[..edge.packed as usize], Compression::Pzstd).len();
        assert_eq!(found.at.iter().map(before).collect::<Vec<_>>(), cuts.map(|cut| cut as usize));
        assert!(found.at.iter().all(|edge| edge.unpacked == edge.packed << 16));
    }

    #[test]
    fn the_first_edge_behind_each_wanted_place_is_taken() {
        let bytes = fixture!("lines.frames.zstd");
        let every = all(bytes, Compression::Zstd);
        let wanted = [every[1].packed - 1, every[1].packed, every[4].packed, bytes.len() as u64 - 1];
        assert_eq!(edges(bytes, Compression::Zstd, &wanted).at, [every[1], every[4]]);
        assert_eq!(edges(bytes, Compression::Zstd, &[]).at, []);
    }

    #[test]
    fn what_has_no_edges_has_none() {
        for (bytes, compression) in [
            (fixture!("lines.gzip"), Compression::Gzip),
            (b"\x1f\x8b".as_slice(), Compression::Gzip),
            (b"", Compression::Zstd),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        ] {
            assert_eq!(all(bytes, compression), []);
        }
        // Frames whose sizes are not said, as they come from a pipe.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.write_all(b"one").and_then(|()| encoder.flush()).expect("packed");
        let mut piped = encoder.finish().expect("packed");
        assert!(all(&piped.repeat(2), Compression::Zstd).is_empty());
        piped = [fixture!("lines.frames.zstd"), &piped, &piped].concat();
        assert_eq!(all(&piped, Compression::Zstd).len(), 9, "up to the first such frame");
        let mixed = [fixture!("lines.bgzf"), fixture!("lines.gzip")].concat();
        let found = all(&mixed, Compression::Gzip);
        assert!(found.iter().all(|edge| edge.packed < fixture!("lines.bgzf").len() as u64), "{found:?}");
    }

    #[test]
    fn damaged_headers_end_the_walk() {
        for (bytes, compression) in [
            (fixture!("lines.bgzf"), Compression::Gzip),
            (fixture!("lines.frames.zstd"), Compression::Zstd),
            (fixture!("lines.seekable.zstd"), Compression::Zstd),
            (fixture!("lines.pzstd"), Compression::Pzstd),
        ] {
            for at in 0..bytes.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut damaged = bytes.to_vec();
                    damaged[at] ^= flip;
                    let found = all(&damaged, compression);
                    assert!(found.is_sorted_by(|one, next| one.packed < next.packed), "{found:?}");
                    assert!(found.iter().all(|edge| edge.packed < bytes.len() as u64));
                }
                all(&bytes[..at], compression);
            }
        }
    }
}
