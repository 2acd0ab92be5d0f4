//! Cuts files into splits of about equal size, in order, every byte once.
//!
//! All files laid end to end are cut at equal distances; a cut that falls inside a packed file, or close to the edge of
//! a plain one, moves to the nearer edge; in a packed file whose blocks are known, to the edge of a block. So many small
//! files share a split, a large one is cut into several, and no split at the end is tiny. A cut may fall inside a line: a
//! line belongs to the split in which it starts.

use std::collections::BTreeMap;

use gristmill_common::limits;
use gristmill_common::plan::{Compression, Piece, PinnedFile, Unpacked};

use super::packed::{Between, Edges};

/// A cut moves to the edge of a file that is closer than this part of a split: not worth another open.
const SLACK: u64 = 16;

/// Returns how many splits to aim at for this many bytes.
///
/// A size that the spec gives is an upper bound; the size chosen otherwise is a lower one.
pub(super) fn count(total: u64, bytes: Option<u64>) -> u64 {
    let count = match bytes {
        Some(bytes) => total.div_ceil(bytes.max(1)),
        None => {
            let spread = total / limits::SPLITS_OF_SMALL_INPUT;
            total / spread.clamp(limits::SPLIT_MIN_BYTES, limits::SPLIT_BYTES)
        }
    };
    count.max(1)
}

/// Returns where the packed files would be cut if they could be cut anywhere, by the index of the file.
pub(super) fn wanted(files: &[PinnedFile], count: u64) -> BTreeMap<usize, Vec<u64>> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut wanted = BTreeMap::<usize, Vec<u64>>::new();
    let (mut next, mut offset) = (1, 0);
    for (index, file) in files.iter().enumerate() {
        let end = offset + file.bytes;
        while next < count && cut_at(total, count, next) < end {
            if file.compression != Compression::None {
                wanted.entry(index).or_default().push(cut_at(total, count, next) - offset);
            }
            next += 1;
        }
        offset = end;
    }
    wanted
}

fn cut_at(total: u64, count: u64, n: u64) -> u64 {
    // u128: the product of two u64 fits.
    (u128::from(total) * u128::from(n) / u128::from(count.max(1))) as u64
}

/// Cuts the files into about `count` splits; at least one, perhaps an empty one. Empty files are in no split. Packed files
/// without edges stay whole, and all files where `whole` says so.
pub(super) fn cut(files: &[PinnedFile], count: u64, whole: bool, edges: &BTreeMap<usize, Edges>) -> Vec<Vec<Piece>> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let slack = total / count.max(1) / SLACK;
    let mut splits = vec![Vec::new()];
    let (mut next, mut offset) = (1, 0);
    for (index, file) in files.iter().enumerate() {
        let end = offset + file.bytes;
        let mut start = offset;
        let inside = match edges.get(&index) {
            _ if whole => Inside::Uncut,
            Some(edges) => Inside::Edges(edges),
            None if file.compression == Compression::None => Inside::Anywhere,
            None => Inside::Uncut,
        };
        // Files are at most `INPUT_FILES`.
        let push = |splits: &mut Vec<Vec<Piece>>, range| push(splits, index as u32, file, inside, range);
        while next < count && cut_at(total, count, next) < end {
            let at = moved(cut_at(total, count, next), offset, end, inside, slack);
            push(&mut splits, start - offset..at.max(start) - offset);
            start = at.max(start);
            if splits.last().is_some_and(|split| !split.is_empty()) {
                splits.push(Vec::new());
            }
            next += 1;
        }
        push(&mut splits, start - offset..end - offset);
        offset = end;
    }
    if splits.len() > 1 && splits.last().is_some_and(Vec::is_empty) {
        splits.pop();
    }
    share_files(splits)
}

/// Where a file may be cut.
#[derive(Clone, Copy)]
enum Inside<'e> {
    Anywhere,
    Uncut,
    Edges(&'e Edges),
}

/// Gives each file splits of its own: a command is told the file that it reads (`mapreduce_map_input_file`), as by Hadoop,
/// which never packs files.
pub(super) fn apart(splits: Vec<Vec<Piece>>) -> Vec<Vec<Piece>> {
    let is_apart = |split: &Vec<Piece>| split.first().map(|piece| piece.file) == split.last().map(|piece| piece.file);
    if splits.iter().all(is_apart) {
        return splits;
    }
    let of_files = splits.iter().flat_map(|split| split.chunk_by(|one, next| one.file == next.file));
    of_files.map(<[Piece]>::to_vec).collect()
}

/// Cuts splits where the tag of their files changes: a program is told one.
pub(super) fn by_tag(splits: Vec<Vec<Piece>>, files: &[PinnedFile]) -> Vec<Vec<Piece>> {
    let tag = |piece: &Piece| files.get(piece.file as usize).and_then(|file| file.tag.as_deref());
    if files.windows(2).all(|pair| pair[0].tag == pair[1].tag) {
        return splits;
    }
    let mut apart = Vec::with_capacity(splits.len() + 1);
    for split in splits {
        if split.is_empty() {
            apart.push(split);
        } else {
            apart.extend(split.chunk_by(|left, right| tag(left) == tag(right)).map(<[Piece]>::to_vec));
        }
    }
    apart
}

/// Moves a cut to an edge of the file it falls in, where it may not or need not be inside.
fn moved(at: u64, start: u64, end: u64, inside: Inside<'_>, slack: u64) -> u64 {
    let at = match inside {
        Inside::Edges(edges) => match edges.at.get(edges.at.partition_point(|edge| edge.packed < at - start)) {
            Some(edge) => start + edge.packed,
            None => return end,
        },
        Inside::Anywhere | Inside::Uncut => at,
    };
    let (before, after) = (at - start, end - at);
    let nearer = if before < after { start } else { end };
    if matches!(inside, Inside::Uncut) || before.min(after) < slack { nearer } else { at }
}

fn push(splits: &mut [Vec<Piece>], index: u32, file: &PinnedFile, inside: Inside<'_>, range: std::ops::Range<u64>) {
    let Some(split) = splits.last_mut().filter(|_| !range.is_empty()) else { return };
    let whole = range.start == 0 && range.end == file.bytes;
    match inside {
        Inside::Edges(edges) if edges.between == Between::Frames => {
            let inner = edges.at.iter().map(|edge| edge.packed).filter(|at| range.start < *at && *at < range.end);
            let mut start = range.start;
            for end in inner.chain([range.end]) {
                let unpacked = Unpacked { start: unpacked_at(edges, start), end: None };
                split.push(Piece { unpacked: Some(unpacked), ..Piece::new(index, start, end) });
                start = end;
            }
        }
        Inside::Edges(edges) if edges.between == Between::Blocks && !whole => {
            let end = (range.end < file.bytes).then(|| unpacked_at(edges, range.end));
            let unpacked = Unpacked { start: unpacked_at(edges, range.start), end };
            split.push(Piece { unpacked: Some(unpacked), ..Piece::new(index, range.start, range.end) });
        }
        Inside::Edges(_) | Inside::Anywhere | Inside::Uncut => split.push(Piece::new(index, range.start, range.end)),
    }
}

/// The offset of what is unpacked behind an edge, or behind the file's start.
fn unpacked_at(edges: &Edges, packed: u64) -> u64 {
    let found = edges.at.binary_search_by_key(&packed, |edge| edge.packed);
    found.ok().and_then(|index| edges.at.get(index)).map_or(0, |edge| edge.unpacked)
}

/// A split for each file that is not empty; at least one, perhaps an empty one.
pub(super) fn each(files: &[PinnedFile]) -> Vec<Vec<Piece>> {
    let filled = files.iter().enumerate().filter(|(_, file)| file.bytes > 0);
    // Files are at most `INPUT_FILES`.
    let splits = filled.map(|(index, file)| vec![Piece::new(index as u32, 0, file.bytes)]);
    let splits: Vec<_> = splits.collect();
    if splits.is_empty() { vec![Vec::new()] } else { splits }
}

/// Divides splits of too many files.
fn share_files(splits: Vec<Vec<Piece>>) -> Vec<Vec<Piece>> {
    if splits.iter().all(|split| split.len() <= limits::FILES_PER_SPLIT) {
        return splits;
    }
    let mut shared = Vec::with_capacity(splits.len() * 2);
    for split in splits {
        let each = split.len().div_ceil(split.len().div_ceil(limits::FILES_PER_SPLIT).max(1)).max(1);
        if split.is_empty() {
            shared.push(split);
        } else {
            shared.extend(split.chunks(each).map(<[Piece]>::to_vec));
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: u64, compression: Compression) -> PinnedFile {
        PinnedFile { url: "file:///f".into(), bytes, version: "1".into(), compression, tag: None }
    }

    fn plain(sizes: &[u64]) -> Vec<PinnedFile> {
        sizes.iter().map(|bytes| file(*bytes, Compression::None)).collect()
    }

    fn sizes(splits: &[Vec<Piece>]) -> Vec<u64> {
        splits.iter().map(|split| split.iter().map(|piece| piece.end - piece.start).sum()).collect()
    }

    fn spread(sizes: &[u64], bytes: Option<u64>) -> Vec<u64> {
        let files = plain(sizes);
        self::sizes(&cut(&files, count(sizes.iter().sum(), bytes), false, &BTreeMap::new()))
    }

    #[test]
    fn small_files_share_splits_and_large_ones_are_cut() {
        const MIB: u64 = 1 << 20;
        let shared = spread(&[1_000; 10_000], None);
        assert_eq!(shared.len(), 9, "10 MB in splits of at least 1 MiB");
        assert_eq!(spread(&[1_000; 10_000], Some(4_000)).len(), 2_500);
        assert_eq!(spread(&[100 * MIB], None), [6_553_600; 16]);
        assert_eq!(spread(&[64 * MIB * 20], None).len(), 20);
        assert_eq!(spread(&[100, 100, 100], None), [300]);
        assert_eq!(spread(&[], None), [0]);
        assert_eq!(spread(&[0, 0], None), [0]);
        assert_eq!(spread(&[7], Some(1)), [1; 7]);
    }

    #[test]
    fn each_file_of_a_command_has_splits_of_its_own() {
        let alone = |sizes: &[u64], count| self::sizes(&apart(cut(&plain(sizes), count, false, &BTreeMap::new())));
        assert_eq!(alone(&[10, 0, 20, 30], 1), [10, 20, 30]);
        assert_eq!(alone(&[100, 5, 100], 2), [100, 5, 100]);
        assert_eq!(alone(&[], 1), [0]);
        assert_eq!(alone(&[200], 2), [100, 100]);
    }

    #[test]
    fn files_of_two_tags_share_no_split() {
        let tags = [None, None, Some("b"), Some("b"), None, Some("c")];
        let mut files = plain(&[10, 20, 0, 30, 40, 50]);
        let together = || cut(&files, 1, false, &BTreeMap::new());
        assert_eq!(sizes(&by_tag(together(), &files)), [150], "none has a tag");
        files.iter_mut().zip(tags).for_each(|(file, tag)| file.tag = tag.map(str::to_owned));
        let splits = by_tag(cut(&files, 1, false, &BTreeMap::new()), &files);
        assert_eq!(splits.iter().map(|split| split[0].file).collect::<Vec<_>>(), [0, 3, 4, 5]);
        assert_eq!(sizes(&splits), [30, 30, 40, 50]);
        assert_eq!(by_tag(vec![Vec::new()], &files), [[]], "nothing is one empty split");
    }

    #[test]
    fn no_split_is_tiny() {
        let sizes = spread(&[1_000_001, 3, 1_000_000, 50], Some(100_000));
        assert_eq!(sizes.len(), 21);
        let (least, most) = (sizes.iter().min().expect("some"), sizes.iter().max().expect("some"));
        assert!(*least > 80_000 && *most < 110_000, "{sizes:?}");
    }

    #[test]
    fn packed_files_stay_whole() {
        let gzip = |bytes| file(bytes, Compression::Gzip);
        let files = [gzip(5_000), file(1_000, Compression::None), gzip(10), gzip(10), gzip(900)];
        let splits = cut(&files, count(6_920, Some(500)), false, &BTreeMap::new());
        for piece in splits.iter().flatten().filter(|piece| piece.file != 1) {
            assert_eq!((piece.start, piece.end), (0, files[piece.file as usize].bytes), "{splits:?}");
        }
        assert!(splits.len() >= 4, "{splits:?}");
    }

    #[test]
    fn a_cut_moves_to_the_nearer_edge_of_a_packed_file() {
        for (sizes, expected) in [([900, 400, 700], [900, 1_100]), ([200, 900, 900], [1_100, 900])] {
            let files = [
                file(sizes[0], Compression::None),
                file(sizes[1], Compression::Gzip),
                file(sizes[2], Compression::None),
            ];
            assert_eq!(self::sizes(&cut(&files, 2, false, &BTreeMap::new())), expected);
        }
    }

    #[test]
    fn files_stay_whole_where_the_format_says_so() {
        let files = plain(&[5_000, 0, 1_000, 40]);
        let splits = cut(&files, count(6_040, Some(500)), true, &BTreeMap::new());
        for piece in splits.iter().flatten() {
            assert_eq!((piece.start, piece.end), (0, files[piece.file as usize].bytes), "{splits:?}");
        }
        assert_eq!(each(&files).iter().map(|split| split[0].file).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(each(&plain(&[0])), [[]]);
    }

    #[test]
    fn a_split_opens_only_so_many_files() {
        let files = plain(&vec![1; limits::FILES_PER_SPLIT + 1]);
        let splits = cut(&files, 1, false, &BTreeMap::new());
        assert_eq!(splits.iter().map(Vec::len).collect::<Vec<_>>(), [5_001, 5_000]);
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_split_in_order(
            sizes in prop::collection::vec((prop_oneof![Just(0), 1..50_u64, 1..100_000_u64], any::<bool>()), 0..60),
            bytes in prop::option::of(1_000..200_000_u64),
        ) {
            let files: Vec<_> = sizes.iter()
                .map(|(bytes, gzip)| file(*bytes, if *gzip { Compression::Gzip } else { Compression::None }))
                .collect();
            let total: u64 = files.iter().map(|file| file.bytes).sum();
            let count = count(total, bytes);
            let splits = cut(&files, count, false, &BTreeMap::new());
            prop_assert!(splits.len() as u64 <= count);
            prop_assert!(!splits.is_empty());
            prop_assert!(splits.len() == 1 || splits.iter().all(|split| !split.is_empty()));
            let (mut at, mut done) = (0_u32, 0_u64);
            for piece in splits.iter().flatten() {
                while files[at as usize].bytes == done {
                    (at, done) = (at + 1, 0);
                }
                prop_assert_eq!((piece.file, piece.start), (at, done));
                prop_assert!(piece.end > piece.start);
                let whole = piece.end == files[at as usize].bytes && piece.start == 0;
                prop_assert!(whole || files[at as usize].compression == Compression::None);
                done = piece.end;
            }
            let rest: u64 = files[at as usize..].iter().skip(1).map(|file| file.bytes).sum();
            prop_assert_eq!(rest, 0);
            prop_assert!(files.is_empty() || done == files[at as usize].bytes);
            // Plain input of this size is balanced.
            if files.iter().all(|file| file.compression == Compression::None) {
                let per = total / count;
                for size in self::sizes(&splits) {
                    prop_assert!(size <= per + per / 8 + 2 && size + per / 8 + 2 >= per, "{} of {}", size, per);
                }
            }
        }
    }
}
