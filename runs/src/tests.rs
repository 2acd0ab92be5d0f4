//! Round trips, damage, limits and the merge, on runs in memory.

use std::io::{Read, Write};

use gristmill_common::{Fence, limits};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Record = (u32, Vec<u8>, Vec<u8>);
type Pair = (Vec<u8>, Vec<u8>);

fn header(partitions: u32, compress: bool) -> RunHeader {
    RunHeader { fence: Fence(4711), partitions, compress }
}

fn write(records: &[Record], header: RunHeader, block_bytes: usize) -> (Vec<u8>, RunSummary) {
    let mut writer = RunWriter::with_block_bytes(Vec::new(), header, block_bytes).expect("header");
    for (partition, key, value) in records {
        writer.push(*partition, key, value).expect("push");
    }
    let (summary, bytes) = writer.finish_into().expect("finish");
    assert_eq!(summary.bytes, bytes.len() as u64);
    (bytes, summary)
}

fn drain(mut source: impl Source) -> Result<Vec<Pair>, RunError> {
    let mut records = Vec::new();
    while source.advance()? {
        records.push((source.key().to_vec(), source.value().to_vec()));
    }
    assert!(!source.advance()?, "the end stays the end");
    Ok(records)
}

fn read_all(bytes: &[u8]) -> Result<Vec<Record>, RunError> {
    let run = RunFile::from_bytes(bytes.to_vec())?;
    verify_run(&run)?;
    let mut all = Vec::new();
    for partition in 0..run.partitions() {
        let records = drain(run.reader(partition))?;
        assert_eq!(records.len() as u64, run.records_in(partition));
        all.extend(records.into_iter().map(|(key, value)| (partition, key, value)));
    }
    Ok(all)
}

fn small() -> Vec<Record> {
    let words: [(u32, &str); 6] =
        [(0, ""), (0, "a"), (0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), (2, "b"), (2, "b"), (4, "z")];
    words.iter().map(|(p, key)| (*p, key.as_bytes().to_vec(), format!("value of {key}").into_bytes())).collect()
}

/// A writer that hands out its bytes in drips, as a socket does.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.len().min(buffer.len()).min(3);
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    vec((0..4_u32, vec(any::<u8>(), 0..12), vec(0..4_u8, 0..60)), 0..80).prop_map(|mut records| {
        records.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        records
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_whatever_the_blocks(records in records(), block in 1..400_usize, compress: bool) {
        let (bytes, summary) = write(&records, header(4, compress), block);
        prop_assert_eq!(&read_all(&bytes).expect("sound"), &records);
        let (_, other) = write(&records, header(4, !compress), 100_000);
        prop_assert_eq!((summary.records, summary.digest), (other.records, other.digest));
        prop_assert_eq!(summary.records, records.len() as u64);
    }

    #[test]
    fn a_section_reads_alone_from_a_slow_stream(records in records(), block in 1..400_usize) {
        let (bytes, _) = write(&records, header(4, true), block);
        let run = RunFile::from_bytes(bytes.clone()).expect("sound");
        for partition in 0..4 {
            let range = run.section(partition);
            let section = &bytes[range.start as usize..range.end as usize];
            let reader = SectionReader::new(Drip(section), section.len() as u64).expecting(Fence(4711), partition);
            let expected: Vec<_> =
                records.iter().filter(|r| r.0 == partition).map(|r| (r.1.clone(), r.2.clone())).collect();
            prop_assert_eq!(drain(reader).expect("sound"), expected);
            for cut in 0..section.len() {
                prop_assert!(drain(SectionReader::new(Drip(&section[..cut]), section.len() as u64)).is_err());
                prop_assert!(cut == 0 || drain(SectionReader::new(Drip(&section[..cut]), cut as u64)).is_err());
            }
        }
    }

    #[test]
    fn a_merge_is_a_stable_sort(lists in vec(vec((vec(0..3_u8, 0..11), any::<u8>()), 0..30), 0..9)) {
        let mut expected = Vec::new();
        let mut sources = Vec::new();
        for (index, mut list) in lists.into_iter().enumerate() {
            list.sort_by(|a, b| a.0.cmp(&b.0));
            let records: Vec<Record> =
                list.into_iter().map(|(key, value)| (0, key, vec![index as u8, value])).collect();
            expected.extend(records.iter().map(|r| (r.1.clone(), r.2.clone())));
            let (bytes, _) = write(&records, header(1, true), 64);
            sources.push(RunFile::from_bytes(bytes).expect("sound").reader(0));
        }
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(drain(Merge::new(sources)).expect("sound"), expected);
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(RunFile::from_bytes(bytes.clone()).is_err());
        let read = drain(SectionReader::new(&bytes[..], bytes.len() as u64));
        prop_assert!(read.is_err() || bytes.is_empty());
    }

    #[test]
    fn a_part_gives_its_text_back(lines in vec((vec(0..3_u8, 0..9), vec(0..3_u8, 0..20)), 0..40)) {
        let mut writer = PartWriter::new(Vec::new(), Fence(1), true).expect("header");
        for (key, text) in &lines {
            writer.push(key, text).expect("push");
        }
        let (summary, bytes) = writer.finish_into().expect("finish");
        let run = RunFile::from_bytes(bytes).expect("sound");
        verify_run(&run).expect("sound");
        prop_assert_eq!(summary.text_bytes, lines.iter().map(|(_, text)| text.len() as u64).sum::<u64>());
        let mut reader = run.reader(0);
        for (key, text) in &lines {
            prop_assert!(reader.advance().expect("sound"));
            let (head, tail) = part_text(reader.key(), reader.value()).expect("sound");
            prop_assert_eq!((reader.key(), [head, tail].concat()), (&key[..], text.clone()));
        }
        prop_assert!(!reader.advance().expect("sound"));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for (compress, block) in [(false, 1), (true, 1_000)] {
        let (bytes, _) = write(&small(), header(5, compress), block);
        assert_eq!(read_all(&bytes).expect("sound"), small());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = read_all(&damaged).expect_err("damage that nobody saw");
            assert!(error.is_corrupt(), "bit {bit}: {error}");
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let (bytes, _) = write(&small(), header(5, true), 1);
    for length in 0..bytes.len() {
        assert!(read_all(&bytes[..length]).expect_err("a cut that nobody saw").is_corrupt(), "{length}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(RunFile::from_bytes(longer).is_err());
}

#[test]
fn sections_of_other_runs_partitions_and_orders_are_refused() {
    let (bytes, _) = write(&small(), header(5, false), 1);
    let run = RunFile::from_bytes(bytes.clone()).expect("sound");
    let range = run.section(0);
    let section = &bytes[range.start as usize..range.end as usize];
    let reader = |bytes: Vec<u8>, fence, partition| {
        let length = bytes.len() as u64;
        SectionReader::new(std::io::Cursor::new(bytes), length).expecting(Fence(fence), partition)
    };
    assert!(drain(reader(section.to_vec(), 4711, 0)).is_ok());
    assert!(drain(reader(section.to_vec(), 4712, 0)).is_err(), "a stale run");
    assert!(drain(reader(section.to_vec(), 4711, 1)).is_err(), "another partition");
    // The first two blocks hold records of 0 and 1 key bytes: exchange them.
    let first = 36 + 2 + "value of ".len();
    let second = 36 + 2 + 1 + "value of a".len();
    let (one, rest) = section.split_at(first);
    let (two, rest) = rest.split_at(second);
    assert!(drain(reader([two, one, rest].concat(), 4711, 0)).is_err(), "blocks in another order");
    assert!(drain(reader([one, rest].concat(), 4711, 0)).is_err(), "a block is missing");
    assert!(drain(reader([section, one].concat(), 4711, 0)).is_err(), "a block too many");
}

#[test]
fn a_record_larger_than_a_block_has_its_own() {
    let big = vec![b'x'; 3 * limits::BLOCK_BYTES];
    let records = vec![(0, b"a".to_vec(), b"1".to_vec()), (0, b"b".to_vec(), big), (0, b"c".to_vec(), vec![])];
    for compress in [false, true] {
        let (bytes, _) = write(&records, header(1, compress), limits::BLOCK_BYTES);
        assert_eq!(read_all(&bytes).expect("sound"), records);
    }
}

#[test]
fn what_cannot_be_stored_is_refused_when_it_is_pushed() {
    let mut writer = RunWriter::new(Vec::new(), header(2, false)).expect("header");
    let long = vec![0; KEY_BYTES + 1];
    assert!(matches!(writer.push(0, &long, b""), Err(RunError::TooLong { what: "key", .. })));
    let long = vec![0; VALUE_BYTES + 1];
    assert!(matches!(writer.push(0, b"", &long), Err(RunError::TooLong { what: "value", .. })));
    writer.push(1, b"k", b"v").expect("push");
    assert!(matches!(writer.push(0, b"k", b"v"), Err(RunError::OutOfOrder { .. })));
    assert!(matches!(writer.push(2, b"k", b"v"), Err(RunError::OutOfOrder { .. })));
}

#[test]
fn a_file_on_disk_is_verified_by_its_path() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let (bytes, summary) = write(&small(), header(5, true), 64);
    file.write_all(&bytes).expect("written");
    let (found, read) = verify(file.path()).expect("sound");
    assert_eq!((found.fence, found.partitions, read), (Fence(4711), 5, summary));
    assert!(matches!(verify("does/not/exist"), Err(RunError::Io(_))));
}

#[test]
fn a_failed_merge_names_its_source() {
    let (good, _) = write(&small(), header(5, false), 1_000);
    let mut bad = good.clone();
    bad[40] ^= 1;
    let sources = [good, bad].map(|bytes| RunFile::from_bytes(bytes).expect("index is sound").reader(0));
    let mut merge = Merge::new(sources.into());
    assert!(merge.advance().is_err());
    assert_eq!(merge.source_index(), 1);
}

/// Makes the checksums right again after damage: what a hostile peer can do and a bad disk cannot.
fn reseal(bytes: &mut [u8]) {
    let length = bytes.len();
    let crc = block::crc32c(&[&bytes[..24]]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    let mut at = 28;
    let blocks_end = (block::u64_at(bytes, length - 24) as usize).min(length - 24);
    while at + block::HEAD_BYTES <= blocks_end {
        let end = (at + block::HEAD_BYTES).saturating_add(block::u32_at(bytes, at + 20) as usize).min(blocks_end);
        let crc = block::crc32c(&[&bytes[at..at + 32], &bytes[at + 36..end]]);
        bytes[at + 32..at + 36].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    let crc = block::crc32c(&[&bytes[..24], &bytes[blocks_end..length - 24], &bytes[length - 24..length - 12]]);
    bytes[length - 12..length - 8].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn damage_under_right_checksums_is_found_and_harms_nothing() {
    let mut part = PartWriter::new(Vec::new(), Fence(4711), true).expect("header");
    part.push(b"key", b"key\tvalue\n").expect("pushed");
    let part = part.finish_into().expect("finished").1;
    let (plain, _) = write(&small(), header(5, false), 1);
    let (packed, _) = write(&small(), header(5, true), 1_000);
    for sound in [part, plain, packed] {
        let mut resealed = sound.clone();
        reseal(&mut resealed);
        assert_eq!(resealed, sound, "sealing is what the writer does");
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            reseal(&mut damaged);
            // What still verifies says the same: other partitions nobody uses, another packing of the same bytes.
            if let Ok(records) = read_all(&damaged) {
                assert_eq!(records, read_all(&sound).expect("sound"), "bit {bit}");
            }
        }
    }
}

#[test]
fn the_header_of_another_run_is_found() {
    let (bytes, _) = write(&[], header(5, true), 64);
    for other in [RunHeader { fence: Fence(1), ..header(5, true) }, header(6, true), header(5, false)] {
        let mut mixed = bytes.clone();
        mixed[..28].copy_from_slice(&other.to_bytes(false));
        assert!(RunFile::from_bytes(mixed).expect_err("another header").is_corrupt());
    }
}

#[test]
fn a_part_never_shares_more_than_its_key() {
    assert_eq!(part_text(b"key", b"\x02xy").expect("sound"), (&b"ke"[..], &b"xy"[..]));
    for value in [&b""[..], b"\x04xy", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80"] {
        assert!(part_text(b"key", value).expect_err("hostile").is_corrupt());
    }
}
