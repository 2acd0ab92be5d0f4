//! Formats: each record exactly once, whatever the cuts, and what other tools wrote read as they read it.

use gristmill_common::format::{Csv, Fixed, InputFormat, KeyValue, Lines as LineFormat, Ndjson, Rows, WholeFile};
use gristmill_common::limits;
use gristmill_common::wire::Skipped;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::records;
use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/formats/", $name)).as_slice()
    };
}

type Found = Vec<(u64, Vec<u8>)>;

fn read_with(skips: &Skips, format: &InputFormat, files: &Files, piece: &InputPiece<'_>) -> Result<Found, Reason> {
    let mut found = Vec::new();
    let Some(mut records) = records::open(format, piece, files, skips, false)? else { return Ok(found) };
    while let Some(batch) = records.next_batch()? {
        found.extend(batch.records.iter().map(|(offset, record)| (*offset, batch.bytes[record.clone()].to_vec())));
    }
    Ok(found)
}

fn read(format: &InputFormat, content: &[u8]) -> Result<Found, Reason> {
    let files = Files::of(&[content]);
    read_with(&Skips::none(), format, &files, &files.whole()[0])
}

fn texts(format: &InputFormat, content: &[u8]) -> Vec<String> {
    let found = read(format, content).expect("sound");
    found.into_iter().map(|(_, record)| String::from_utf8(record).expect("UTF-8")).collect()
}

fn lenient(format: &InputFormat, content: &[u8]) -> (Vec<String>, Vec<Skipped>) {
    let (files, skips) = (Files::of(&[content]), Skips::none().taking_bad());
    let found = read_with(&skips, format, &files, &files.whole()[0]).expect("left out");
    (found.into_iter().map(|(_, record)| String::from_utf8(record).expect("UTF-8")).collect(), skips.left_out())
}

fn lines(delimiter: &str) -> InputFormat {
    InputFormat::Lines(LineFormat { delimiter: delimiter.to_owned() })
}

fn csv(header: bool, multiline: bool) -> InputFormat {
    InputFormat::Csv(Csv { header, multiline, ..Csv::default() })
}

/// The records of ranges that end at these cuts, one after the other.
fn in_ranges(format: &InputFormat, content: &[u8], cuts: &[u64]) -> Found {
    let files = Files::of(&[content]);
    let size = content.len() as u64;
    let mut borders: Vec<u64> = cuts.iter().copied().filter(|&cut| cut < size).chain([0, size]).collect();
    borders.sort_unstable();
    let mut found = Vec::new();
    for pair in borders.windows(2) {
        let of_range = read_with(&Skips::none(), format, &files, &files.piece(0, pair[0], pair[1])).expect("sound");
        assert!(of_range.iter().all(|(offset, _)| (pair[0]..pair[1]).contains(offset)), "{of_range:?} in {pair:?}");
        found.extend(of_range);
    }
    found
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![2 => Just(b'x'), 2 => Just(b'|'), 1 => Just(b';'), 1 => Just(b'\n'), 1 => Just(b',')], 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_cuts_give_each_record_once(content in text(), cuts in vec(0..81_u64, 0..6), which in 0..5_usize) {
        let rows = content.split(|&byte| byte == b'\n').map(|row| row.iter().filter(|&&byte| byte == b',').count());
        prop_assume!(which != 4 || rows.clone().max() == rows.clone().min() && !content.contains(&b'|'));
        let format = match which {
            0 => lines("|"),
            1 => lines("|;"),
            2 => InputFormat::Fixed(Fixed { bytes: 1 + content.len() as u64 / 7 }),
            3 => InputFormat::KeyValue(KeyValue { separator: ";".to_owned() }),
            _ => csv(false, false),
        };
        let content = if which == 2 { &content[..content.len() / 7 * 7] } else { &content[..] };
        let format = if which == 2 { InputFormat::Fixed(Fixed { bytes: 7 }) } else { format };
        prop_assert!(format.uncut().is_none());
        prop_assert_eq!(in_ranges(&format, content, &cuts), read(&format, content).expect("sound"));
    }

    #[test]
    fn a_delimiter_ends_records_as_it_splits_text(content in text()) {
        let text = String::from_utf8(content.clone()).expect("ASCII");
        let mut expected: Vec<&str> = text.split("|;").collect();
        expected.truncate(expected.len() - usize::from(expected.last() == Some(&"")));
        prop_assert_eq!(texts(&lines("|;"), &content), expected);
    }
}

#[test]
fn csv_is_read_as_python_reads_it() {
    let expected: Vec<&str> = std::str::from_utf8(fixture!("people.ndjson")).expect("UTF-8").lines().collect();
    assert_eq!(texts(&csv(true, true), fixture!("people.csv")), expected);
    let with_mark = [b"\xef\xbb\xbf", fixture!("people.csv")].concat();
    assert_eq!(texts(&csv(true, true), &with_mark), expected, "a byte order mark is no part of the first name");
}

#[test]
fn csv_rows_are_json_or_tabs() {
    let content = b"a;'b;''c'\r\n\r\n1;2";
    let format = |rows| InputFormat::Csv(Csv { delimiter: ";".into(), quote: "'".into(), rows, ..Csv::default() });
    assert_eq!(texts(&format(Rows::Ndjson), content), [r#"["a","b;'c"]"#, r#"["1","2"]"#]);
    assert_eq!(texts(&format(Rows::Tsv), content), ["a\tb;'c", "1\t2"]);
    let odd = b"\"a\tb\nc\\d\"";
    assert_eq!(texts(&InputFormat::Csv(Csv { rows: Rows::Tsv, ..Csv::default() }), odd), [r"a\tb\nc\\d"]);
}

#[test]
fn bad_rows_are_named_or_left_out_and_listed() {
    let content = b"a,b\n1,2\n3\n4,\"5\"x\n6,7\n\"8,9\n";
    match read(&csv(true, true), content) {
        Err(Reason::BadRecord { message, at: Some(at) }) => {
            assert_eq!(at.to_string(), "file:///in/0:8");
            assert_eq!(message, "the row has 1 fields, the header has 2");
        }
        other => panic!("{other:?}"),
    }
    let (rows, bad) = lenient(&csv(true, true), content);
    assert_eq!(rows, [r#"{"a":"1","b":"2"}"#, r#"{"a":"6","b":"7"}"#]);
    assert_eq!(bad.iter().map(|bad| bad.at.offset).collect::<Vec<_>>(), [8, 10, 21]);
    assert!(bad.iter().all(|bad| bad.by_reader), "{bad:?}");
    assert_eq!(bad[2].why, "a quote is not closed");

    let (rows, bad) = lenient(&csv(false, false), b"1,\"2\n3,4\n");
    assert_eq!((rows, bad[0].at.offset), (vec![r#"["3","4"]"#.to_owned()], 0));
    assert_eq!(bad[0].why, "a quote is not closed on its line");

    let ndjson = InputFormat::Ndjson(Ndjson {});
    let (rows, bad) = lenient(&ndjson, b"{\"a\":1}\r\n\n{\"a\":}\n[1,2]\n\"\xff\"\n7");
    assert_eq!(rows, [r#"{"a":1}"#, "[1,2]", "7"]);
    assert_eq!(bad.iter().map(|bad| bad.at.offset).collect::<Vec<_>>(), [10, 23]);
    assert!(bad[0].why.starts_with("not JSON") && bad[1].why.starts_with("not UTF-8"), "{bad:?}");

    let fixed = InputFormat::Fixed(Fixed { bytes: 3 });
    let (records, bad) = lenient(&fixed, b"abcdefgh");
    assert_eq!((records, bad[0].at.offset), (vec!["abc".to_owned(), "def".to_owned()], 6));
    assert_eq!(bad[0].why, "the last record has 2 of 3 bytes");
}

#[test]
fn keys_end_at_the_separator_and_whole_files_are_records() {
    let format = InputFormat::KeyValue(KeyValue { separator: "::".to_owned() });
    assert_eq!(texts(&format, b"a::b::c\r\nd\n"), ["a\tb::c", "d\t"]);
    assert_eq!(texts(&InputFormat::WholeFile(WholeFile {}), b"one\ntwo\n"), ["one\ntwo\n"]);
}

#[test]
fn a_record_that_is_too_long_is_left_out_and_the_next_one_read() {
    let mut content = b"ok|".to_vec();
    content.resize(content.len() + limits::LINE_BYTES + 1, b'x');
    content.extend_from_slice(b"|end");
    match read(&lines("|"), &content) {
        Err(Reason::Limit { at: Some(at), .. }) => assert_eq!(at.offset, 3),
        other => panic!("{:?}", other.map(|found| found.len())),
    }
    let (records, bad) = lenient(&lines("|"), &content);
    assert_eq!((records, bad.len(), bad[0].at.offset), (vec!["ok".to_owned(), "end".to_owned()], 1, 3));
}

#[test]
fn files_of_other_tools_are_unpacked() {
    let expected: Vec<&str> = std::str::from_utf8(fixture!("lines.txt")).expect("UTF-8").lines().collect();
    for (compression, packed) in [
        (Compression::Gzip, fixture!("lines.gzip")),
        (Compression::Bzip2, fixture!("lines.bzip2")),
        (Compression::Zstd, fixture!("lines.zstd")),
        (Compression::Lz4, fixture!("lines.lz4")),
    ] {
        let files = Files::default().and(packed, compression);
        let found = read_with(&Skips::none(), &InputFormat::Ndjson(Ndjson {}), &files, &files.whole()[0]);
        assert!(matches!(found, Err(Reason::BadRecord { .. })), "lines are no JSON: {found:?}");
        // A delimiter of two bytes, so that the text is cut by the reader of formats.
        let found = read_with(&Skips::none(), &lines(" of the text\n"), &files, &files.whole()[0]).expect("sound");
        let found: Vec<String> =
            found.iter().map(|(_, record)| String::from_utf8_lossy(record).into_owned() + " of the text").collect();
        assert_eq!(found, expected, "{compression:?}");
    }
}

#[test]
fn a_broken_archive_is_left_out_whole_and_listed() {
    for (compression, packed) in
        [(Compression::Gzip, fixture!("lines.gzip")), (Compression::Zstd, fixture!("lines.zstd"))]
    {
        let files = Files::default().and(&packed[..packed.len() - 9], compression).and(b"sound\n", Compression::None);
        let bench = Bench::new();
        let input = || MapInput::Pieces { pieces: files.whole(), inputs: &files };
        match bench.map(&step(1), input(), &mut Words::default(), None::<Join>) {
            Err(Reason::InputUnreadable { message, at: Some(at) }) => {
                assert!(message.contains(compression.word()), "{message}");
                assert_eq!(at.file, "file:///in/0");
            }
            other => panic!("{other:?}"),
        }
        let (bench, skips) = (Bench::new(), Skips::none().taking_bad());
        let done = bench.map_with(&skips, &step(1), input(), &mut Words::default(), None::<Join>).expect("done");
        assert_eq!(done.records_in, 1, "nothing of the broken file is read");
        let bad = skips.left_out();
        assert_eq!((bad.len(), &*bad[0].at.file, bad[0].at.offset), (1, "file:///in/0", 0));
        assert!(bad[0].why.contains("left out whole"), "{bad:?}");
    }
}

#[test]
fn too_many_bad_records_in_a_split_end_it() {
    let content = b"no\n".repeat(limits::SKIPS_PER_REPORT + 1);
    let (files, skips) = (Files::of(&[&content]), Skips::none().taking_bad());
    let found = read_with(&skips, &InputFormat::Ndjson(Ndjson {}), &files, &files.whole()[0]);
    assert!(matches!(found, Err(Reason::BadRecord { ref message, .. }) if message.contains("more than")), "{found:?}");
}

#[test]
fn a_block_mapper_is_told_the_offsets_of_records_and_not_of_what_they_became() {
    let content = b"name;n\n\"a\";1\nbb;2\nc;3\n";
    let files = Files::of(&[content]);
    let mut offsets = Vec::new();
    for cuts in [vec![0, 22], vec![0, 15, 22]] {
        let pieces = cuts.windows(2).map(|pair| files.piece(0, pair[0], pair[1])).collect();
        let csv = Csv { delimiter: ";".into(), header: true, multiline: false, rows: Rows::Tsv, ..Csv::default() };
        let mut step = step(1);
        step.input_format = InputFormat::Csv(csv);
        let bench = Bench::new();
        let input = MapInput::Pieces { pieces, inputs: &files };
        bench.map(&step, input, &mut Blockwise, None::<Join>).expect("done");
        let found = records_of(&bench.run());
        offsets.push(
            found.into_iter().map(|(_, _, value)| String::from_utf8_lossy(&value).into_owned()).collect::<Vec<_>>(),
        );
    }
    assert_eq!(offsets, [["7", "13", "18"], ["7", "13", "18"]], "grep prints them");
}
