//! Rows of Parquet files: each exactly once, whatever the cuts; what is wrong with a file is named with its place.

use gristmill_common::format::{InputFormat, Parquet, Rows};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::parquet;
use super::*;

const TYPED: &[u8] = include_bytes!("../../../../tests/fixtures/formats/typed.zstd.parquet");
const EXPECTED: &str = include_str!("../../../../tests/fixtures/formats/typed.ndjson");

fn read(format: &Parquet, files: &Files, piece: &InputPiece<'_>, skips: &Skips) -> Result<Vec<(u64, String)>, Reason> {
    let mut found = Vec::new();
    let Some(mut rows) = parquet::open(format, piece, files, skips)? else { return Ok(found) };
    while let Some(batch) = rows.next_batch()? {
        let text = |record: &std::ops::Range<usize>| String::from_utf8_lossy(&batch.bytes[record.clone()]).into_owned();
        found.extend(batch.records.iter().map(|(offset, record)| (*offset, text(record))));
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_cuts_give_each_row_once(cuts in vec(0..TYPED.len() as u64, 0..6)) {
        let files = Files::of(&[TYPED]);
        let size = TYPED.len() as u64;
        let mut borders: Vec<u64> = cuts.into_iter().chain([0, size]).collect();
        borders.sort_unstable();
        let mut found = Vec::new();
        for pair in borders.windows(2) {
            let piece = files.piece(0, pair[0], pair[1]);
            found.extend(read(&Parquet::default(), &files, &piece, &Skips::none()).expect("sound"));
        }
        let expected: Vec<_> = EXPECTED.lines().enumerate().map(|(row, text)| (row as u64, text.to_owned())).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn rows_reach_the_mapper_as_records() {
    let files = Files::of(&[TYPED]);
    let mut step = step(1);
    let columns = vec!["id".to_owned(), "flag".to_owned()];
    step.input_format = InputFormat::Parquet(Parquet { columns, rows: Rows::Tsv });
    let bench = Bench::new();
    let input = MapInput::Pieces { pieces: files.whole(), inputs: &files };
    let done = bench.map(&step, input, &mut Words::default(), None::<Join>).expect("done");
    assert_eq!(done.records_in, 120);
    let records = records_of(&bench.run());
    assert!(records.iter().any(|(_, key, value)| key == b"118\ttrue" && value == b"118"), "{records:?}");
}

#[test]
fn damage_is_named_with_its_place_and_bad_values_with_their_row() {
    let damaged = |at: usize| {
        let mut bytes = TYPED.to_vec();
        bytes[at] ^= 0xff;
        Files::of(&[&bytes])
    };
    // In a page of the first column, and in the footer.
    for at in [40, TYPED.len() - 500] {
        let files = damaged(at);
        match read(&Parquet::default(), &files, &files.whole()[0], &Skips::none().taking_bad()) {
            Err(Reason::InputUnreadable { message, at: Some(place) }) => {
                assert!(message.starts_with("file:///in/0: "), "{message}");
                assert!(place.offset > 0 && place.offset <= TYPED.len() as u64, "{place}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Plain bytes that are no text.
    let plain = include_bytes!("../../../../tests/fixtures/formats/typed.none.parquet");
    let mut bytes = plain.to_vec();
    let at = bytes.windows(4).position(|window| window == b"raw5").expect("a value");
    bytes[at] = 0xff;
    let files = Files::of(&[&bytes]);
    let format = Parquet { columns: vec!["raw".to_owned()], ..Parquet::default() };
    match read(&format, &files, &files.whole()[0], &Skips::none()) {
        Err(Reason::BadRecord { message, at: Some(at) }) => {
            assert_eq!((message.as_str(), at.offset), ("column `raw`: not UTF-8; TSV rows hold any bytes", 5));
        }
        other => panic!("{other:?}"),
    }
    let skips = Skips::none().taking_bad();
    assert_eq!(read(&format, &files, &files.whole()[0], &skips).expect("left out").len(), 119);
    assert_eq!(skips.left_out().iter().map(|bad| bad.at.offset).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_parquet_file_that_shrank_has_changed() {
    let mut files = Files::of(&[TYPED]);
    files.0[0].1.truncate(1_000);
    let found = read(&Parquet::default(), &files, &files.whole()[0], &Skips::none());
    assert!(matches!(found, Err(Reason::InputChanged { .. })), "{found:?}");
}
