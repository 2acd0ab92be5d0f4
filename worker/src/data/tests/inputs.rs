//! Reading ranges: each record exactly once, whatever the cuts; what is wrong with a file is said.

use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use gristmill_common::limits;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::input;
use super::*;
use crate::program::ReadFailed;

/// (offset, line) of the records of a range, read as blocks with this buffer.
fn lines_of(files: &Files, piece: &InputPiece<'_>, buffer_bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, Reason> {
    let mut lines = Vec::new();
    let Some(mut blocks) = input::open(piece, files, buffer_bytes)? else { return Ok(lines) };
    while let Some(block) = blocks.next_block().map_err(|error| input::explain(piece.file, error))? {
        let mut offset = block.offset;
        for line in block.bytes.split_inclusive(|&byte| byte == b'\n') {
            lines.push((offset, line.to_vec()));
            offset += line.len() as u64;
        }
    }
    assert!(blocks.next_block().expect("still sound").is_none(), "the end stays the end");
    Ok(lines)
}

fn model(content: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut offset = 0;
    let lines = content.split_inclusive(|&byte| byte == b'\n').map(|line| {
        offset += line.len() as u64;
        (offset - line.len() as u64, line.to_vec())
    });
    lines.collect()
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_cuts_give_each_record_once(content in text(), cuts in vec(0..121_u64, 0..6), buffer in 1..40_usize) {
        let files = Files::of(&[&content]);
        let size = content.len() as u64;
        let mut borders: Vec<u64> = cuts.into_iter().filter(|&cut| cut < size).chain([0, size]).collect();
        borders.sort_unstable();
        let mut found = Vec::new();
        for pair in borders.windows(2) {
            let lines = lines_of(&files, &files.piece(0, pair[0], pair[1]), buffer).expect("sound");
            prop_assert!(lines.iter().all(|(offset, _)| (pair[0]..pair[1]).contains(offset)));
            found.extend(lines);
        }
        prop_assert_eq!(found, model(&content));
    }
}

fn gzip(members: &[&[u8]]) -> Vec<u8> {
    let mut packed = Vec::new();
    for member in members {
        let mut encoder = GzEncoder::new(&mut packed, Level::fast());
        encoder.write_all(member).expect("packed");
        encoder.finish().expect("packed");
    }
    packed
}

#[test]
fn a_packed_file_of_several_members_is_one_text() {
    let packed = gzip(&[b"one\ntw", b"", b"o\nthree"]);
    let files = Files::default().and(&packed, Compression::Gzip);
    let size = packed.len() as u64;
    let lines = lines_of(&files, &files.piece(0, 0, size), 4).expect("sound");
    assert_eq!(lines, model(b"one\ntwo\nthree"));
    let later = lines_of(&files, &files.piece(0, 5, size), 4).expect("sound");
    assert_eq!(later, [], "a range that does not start the file has nothing of it");
}

#[test]
fn a_damaged_packed_file_is_named_with_the_offset() {
    let text = "a line of text\n".repeat(5_000).into_bytes();
    let packed = gzip(&[&text]);
    for damaged in [&packed[..packed.len() / 2], b"\x1f\x8bnonsense", &[&packed[..], b"trailing"].concat()] {
        let files = Files::default().and(damaged, Compression::Gzip);
        match lines_of(&files, &files.whole()[0], 1_000) {
            Err(Reason::InputUnreadable { message, at: Some(place) }) => {
                assert!(message.starts_with("file:///in/0 (gzip)"), "{message}");
                assert_eq!(place.file, "file:///in/0");
                assert!(place.offset <= text.len() as u64);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_shrank_has_changed_and_one_that_grew_has_not() {
    let mut files = Files::of(&[b"one\ntwo\nthree\n"]);
    files.0[0].1.truncate(9);
    match lines_of(&files, &files.whole()[0], 64) {
        Err(Reason::InputChanged { message }) => assert!(message.contains("5 fewer"), "{message}"),
        other => panic!("{other:?}"),
    }
    files.0[0].1 = b"one\ntwo\nthree\nfour\n".to_vec();
    assert_eq!(lines_of(&files, &files.whole()[0], 64).expect("sound"), model(b"one\ntwo\nthree\n"));
    // Pinned inside a line that grew: what was appended is not seen.
    files.0[0].0.bytes = 6;
    assert_eq!(lines_of(&files, &files.whole()[0], 64).expect("sound"), model(b"one\ntw"));
}

#[test]
fn a_line_at_the_limit_is_read_and_a_longer_one_is_named() {
    let mut content = b"short\n".to_vec();
    content.resize(content.len() + limits::LINE_BYTES, b'x');
    content.extend_from_slice(b"\nend");
    let mut files = Files::of(&[&content]);
    let lines = lines_of(&files, &files.whole()[0], 1 << 20).expect("at the limit");
    assert_eq!(
        lines.iter().map(|(offset, line)| (*offset, line.len())).collect::<Vec<_>>()[1],
        (6, limits::LINE_BYTES + 1)
    );
    let end = content.len() as u64;
    content.insert(8, b'x');
    files = Files::of(&[&content]);
    match lines_of(&files, &files.whole()[0], 1 << 20) {
        Err(Reason::Limit { at: Some(place), .. }) => assert_eq!((&*place.file, place.offset), ("file:///in/0", 6)),
        other => panic!("{:?}", other.map(|lines| lines.len())),
    }
    // The range after it skips the line, however long, and reads its own.
    let lines = lines_of(&files, &files.piece(0, 100, end + 1), 1 << 20).expect("skipped");
    assert_eq!(lines, [(end - 2, b"end".to_vec())]);
}

#[test]
fn a_reader_decides_what_its_failure_means() {
    struct Broken;
    impl Inputs for Broken {
        fn open(&self, _: &PinnedFile, _: u64) -> Result<Box<dyn Read + Send>, Reason> {
            Ok(Box::new(Failing))
        }
    }
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(ReadFailed(Reason::Worker { message: "the network is away".into() }).into())
        }
    }
    for compression in [Compression::None, Compression::Gzip] {
        let files = Files::default().and(b"content", compression);
        let piece = files.piece(0, 0, 7);
        let mut blocks = input::open(&piece, &Broken, 64).expect("opened").expect("a range");
        let reason = input::explain(piece.file, blocks.next_block().expect_err("broken"));
        assert_eq!(reason, Reason::Worker { message: "the network is away".into() });
    }
}
