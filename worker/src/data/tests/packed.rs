//! Packed files that are cut at the edges of their blocks: each record exactly once, whatever the cuts, and edges that are
//! none are found out.

use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use gristmill_common::format::{Fixed, InputFormat, Lines as LineFormat};
use gristmill_common::plan::Unpacked;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{input, records};
use super::*;

/// Chunks that are packed one by one.
struct Packed {
    files: Files,
    compression: Compression,
    /// Where each chunk begins: packed, unpacked; and the ends.
    edges: Vec<(u64, u64)>,
}

impl Packed {
    fn of(chunks: &[Vec<u8>], compression: Compression) -> Self {
        let (mut bytes, mut edges, mut unpacked) = (Vec::new(), vec![(0, 0)], 0);
        for chunk in chunks {
            if compression == Compression::Gzip {
                let mut encoder = GzEncoder::new(&mut bytes, Level::fast());
                encoder.write_all(chunk).expect("packed");
                encoder.finish().expect("packed");
            } else {
                bytes.extend(zstd::stream::encode_all(&**chunk, 1).expect("packed"));
            }
            unpacked += chunk.len() as u64;
            edges.push((bytes.len() as u64, unpacked));
        }
        Self { files: Files::default().and(&bytes, compression), compression, edges }
    }

    fn piece(&self, start: (u64, u64), end: (u64, u64)) -> InputPiece<'_> {
        let is_last = end.0 == self.files.0[0].0.bytes;
        let unpacked = match self.compression {
            Compression::Pzstd => Unpacked { start: start.0 << 16, end: None },
            _ => Unpacked { start: start.1, end: (!is_last).then_some(end.1) },
        };
        InputPiece { unpacked: Some(unpacked), ..self.files.piece(0, start.0, end.0) }
    }

    /// The ranges between chosen edges; of pzstd's between all.
    fn pieces(&self, chosen: &[bool]) -> Vec<InputPiece<'_>> {
        let inner = &self.edges[1..self.edges.len() - 1];
        let is_chosen = |index: usize| self.compression == Compression::Pzstd || chosen.get(index) == Some(&true);
        let chosen = inner.iter().enumerate().filter(|(index, _)| is_chosen(*index)).map(|(_, edge)| *edge);
        let borders: Vec<_> = [(0, 0)].into_iter().chain(chosen).chain(self.edges.last().copied()).collect();
        borders.windows(2).map(|pair| self.piece(pair[0], pair[1])).collect()
    }
}

type Found = Vec<(u64, Vec<u8>)>;

fn blocks_of(files: &Files, piece: &InputPiece<'_>, buffer_bytes: usize) -> Result<Found, Reason> {
    let mut lines = Vec::new();
    let Some(mut blocks) = input::open(piece, files, buffer_bytes)? else { return Ok(lines) };
    while let Some(block) = blocks.next_block().map_err(|error| input::explain(piece.file, error))? {
        let mut offset = block.offset;
        for line in block.bytes.split_inclusive(|&byte| byte == b'\n') {
            lines.push((offset, line.strip_suffix(b"\n").unwrap_or(line).to_vec()));
            offset += line.len() as u64;
        }
    }
    Ok(lines)
}

fn records_of(format: &InputFormat, files: &Files, piece: &InputPiece<'_>) -> Result<Found, Reason> {
    let (mut found, skips) = (Vec::new(), Skips::none());
    let Some(mut records) = records::open(format, piece, files, &skips, false)? else { return Ok(found) };
    while let Some(batch) = records.next_batch()? {
        found.extend(batch.records.iter().map(|(offset, record)| (*offset, batch.bytes[record.clone()].to_vec())));
    }
    Ok(found)
}

fn lines(delimiter: &str) -> InputFormat {
    InputFormat::Lines(LineFormat { delimiter: delimiter.to_owned() })
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 2 => Just(b'|'), 2 => Just(b';')], 0..12);
    vec(text, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_edges_give_each_record_once(
        chunks in chunks(),
        chosen in vec(any::<bool>(), 8),
        zstd in any::<bool>(),
        buffer in 1..40_usize,
    ) {
        let packed = Packed::of(&chunks, if zstd { Compression::Zstd } else { Compression::Gzip });
        let plain = Files::of(&[&chunks.concat()]);
        let whole = || plain.whole().remove(0);
        let fixed = InputFormat::Fixed(Fixed { bytes: 3 });
        let of_fixed: Vec<_> = chunks.concat().chunks_exact(3).enumerate()
            .map(|(index, record)| (3 * index as u64, record.to_vec()))
            .collect();
        let (mut by_line, mut by_two, mut by_length) = (Vec::new(), Vec::new(), Vec::new());
        for piece in packed.pieces(&chosen) {
            by_line.extend(blocks_of(&packed.files, &piece, buffer).expect("sound"));
            by_two.extend(records_of(&lines("|;"), &packed.files, &piece).expect("sound"));
            match records_of(&fixed, &packed.files, &piece) {
                Err(Reason::BadRecord { message, .. }) => prop_assert!(message.contains("the last record"), "{}", message),
                found => by_length.extend(found.expect("sound")),
            }
        }
        prop_assert_eq!(by_line, blocks_of(&plain, &whole(), 64).expect("sound"));
        prop_assert_eq!(by_two, records_of(&lines("|;"), &plain, &whole()).expect("sound"));
        if chunks.concat().len() % 3 == 0 {
            prop_assert_eq!(by_length, of_fixed);
        }
    }

    #[test]
    fn frames_of_unknown_size_give_each_record_once(chunks in chunks(), buffer in 1..40_usize) {
        let packed = Packed::of(&chunks, Compression::Pzstd);
        let plain = Files::of(&[&chunks.concat()]);
        let (mut by_line, mut by_two) = (Vec::new(), Vec::new());
        for piece in packed.pieces(&[]) {
            by_line.extend(blocks_of(&packed.files, &piece, buffer).expect("sound"));
            by_two.extend(records_of(&lines("|;"), &packed.files, &piece).expect("sound"));
        }
        prop_assert!(by_line.is_sorted_by(|one, next| one.0 < next.0), "offsets rise");
        let texts = |found: Found| found.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let whole = plain.whole().remove(0);
        prop_assert_eq!(texts(by_line), texts(blocks_of(&plain, &whole, 64).expect("sound")));
        prop_assert_eq!(texts(by_two), texts(records_of(&lines("|;"), &plain, &whole).expect("sound")));
    }
}

#[test]
fn an_edge_that_is_none_is_found_out() {
    let chunks = [b"one\ntwo\n".to_vec(), b"thr".to_vec(), b"ee\nfour\n".to_vec()];
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = Packed::of(&chunks, compression);
        let [start, first, second, _] = packed.edges[..] else { panic!("{:?}", packed.edges) };
        for end in [(first.0 - 1, first.1), (first.0 + 1, first.1), (first.0, first.1 + 1), (second.0, second.1 - 1)] {
            for format in [None, Some(lines("\n")), Some(InputFormat::Fixed(Fixed { bytes: 1 }))] {
                let piece = packed.piece(start, end);
                let found = match &format {
                    None => blocks_of(&packed.files, &piece, 64),
                    Some(format) => records_of(format, &packed.files, &piece),
                };
                match found {
                    Err(Reason::InputUnreadable { message, at: Some(_) }) => {
                        assert!(message.contains("a block has another size"), "{message}");
                    }
                    other => panic!("{compression:?} {end:?} {format:?}: {other:?}"),
                }
            }
        }
        let piece = packed.piece(first, (second.0, first.1));
        assert!(matches!(blocks_of(&packed.files, &piece, 64), Err(Reason::InputUnreadable { .. })), "not empty");
        let piece = packed.piece((first.0 + 1, first.1), second);
        assert!(matches!(blocks_of(&packed.files, &piece, 64), Err(Reason::InputUnreadable { .. })), "not a beginning");
    }
}
