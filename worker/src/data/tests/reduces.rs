//! Reduce attempts: order, grouping, passes, and whose fault damage is.

use std::io::Cursor;

use gristmill_runs::{RunHeader, RunWriter};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Writes a key with all its values, or with its first one only.
#[derive(Default)]
struct Show {
    first_only: bool,
}

impl ReduceFunction for Show {
    fn reduce(&mut self, key: &[u8], values: &mut dyn Group, out: &mut Lines) -> Result<()> {
        anyhow::ensure!(key != b"fail", "told to fail");
        let mut line = key.to_vec();
        while let Some(value) = values.next_value() {
            line.push(b' ');
            line.extend_from_slice(value);
            if self.first_only {
                break;
            }
        }
        out.line(|text| text.extend_from_slice(&line));
        Ok(())
    }

    fn finish(&mut self, out: &mut Lines) -> Result<()> {
        out.count("finished", 1);
        Ok(())
    }
}

const NONE: Option<&NoCombiner> = None;
const PARTITION: u32 = 1;

type Records = Vec<(String, String)>;

/// The section of a map output with these records.
fn section(map: u32, records: &Records) -> Section {
    let header = RunHeader { fence: Fence(100 + u64::from(map)), partitions: 2, compress: true };
    let mut run = RunWriter::with_block_bytes(Vec::new(), header, 50).expect("header");
    for (key, value) in records {
        run.push(PARTITION, key.as_bytes(), value.as_bytes()).expect("pushed");
    }
    let run = RunFile::from_bytes(run.finish_into().expect("finished").1).expect("a run");
    let bytes = run.section_bytes(PARTITION);
    Section { map, fence: run.fence(), len: bytes.len(), bytes: Box::new(bytes) }
}

fn damaged(section: Section, at: Index) -> Section {
    let mut bytes = Vec::new();
    let Section { map, fence, len, bytes: mut from } = section;
    from.read_to_end(&mut bytes).expect("read");
    let at = at.index(bytes.len());
    bytes[at] ^= 1;
    Section { map, fence, len, bytes: Box::new(Cursor::new(bytes)) }
}

fn numbered(maps: Vec<Vec<u8>>) -> Vec<Records> {
    let numbered = maps.into_iter().enumerate().map(|(map, mut keys)| {
        keys.sort_unstable();
        let records = keys.into_iter().enumerate();
        records.map(|(index, key)| (format!("k{key}"), format!("{map}.{index}"))).collect()
    });
    numbered.collect()
}

/// The text of the part: keys in order, values in the order of maps and of places in them.
fn model(maps: &[Records], glue: &str) -> String {
    let mut all: Vec<_> = maps.concat();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let groups = all.chunk_by(|a, b| a.0 == b.0).map(|group| {
        let values: Vec<_> = group.iter().map(|(_, value)| value.as_str()).collect();
        format!("{} {}\n", group[0].0, values.join(glue))
    });
    groups.collect()
}

fn step_of(fan_in: u32, combine: bool) -> PlannedStep {
    PlannedStep { fan_in, combine, ..step(2) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_part_depends_on_the_maps_alone(maps in vec(vec(0..9_u8, 1..12), 1..12), fan_in in 2..5_u32, turn: Index) {
        let maps = numbered(maps);
        let mut sections: Vec<_> = maps.iter().enumerate().map(|(map, records)| section(map as u32, records)).collect();
        sections.rotate_left(turn.index(maps.len()));
        let bench = Bench::new();
        let done = bench.reduce(&step_of(fan_in, false), PARTITION, sections, &mut Show::default(), NONE).expect("done");
        let run = bench.run();
        prop_assert_eq!(text_of(&run), model(&maps, " "));
        prop_assert_eq!((run.fence(), done.summary), (Fence(9), run.summary()));
        prop_assert_eq!(done.counters.get("finished"), Some(&1));
    }

    #[test]
    fn a_combiner_folds_accumulators_or_raw_values_in_order(
        maps in vec(vec(0..9_u8, 1..12), 1..12), fan_in in 2..5_u32, combined: bool
    ) {
        // One record is an accumulator and a raw value alike: joined values look the same.
        let maps = numbered(maps);
        let sections = maps.iter().enumerate().map(|(map, records)| section(map as u32, records)).collect();
        let bench = Bench::new();
        bench.reduce(&step_of(fan_in, combined), PARTITION, sections, &mut Show::default(), Some(&Join)).expect("done");
        prop_assert_eq!(text_of(&bench.run()), model(&maps, "+"));
    }

    #[test]
    fn damage_is_charged_to_its_map(maps in vec(vec(0..9_u8, 1..12), 1..9), bad: Index, at: Index, fan_in in 2..5_u32, combined: bool) {
        let bad = bad.index(maps.len());
        let maps = numbered(maps);
        let sections = maps.iter().enumerate().map(|(map, records)| {
            let section = section(map as u32, records);
            if map == bad { damaged(section, at) } else { section }
        });
        let bench = Bench::new();
        let combiner = combined.then_some(&Join);
        let step = step_of(fan_in, combined);
        match bench.reduce(&step, PARTITION, sections.collect(), &mut Show::default(), combiner) {
            Err(Reason::LostOutput { map, fence, .. }) => {
                prop_assert_eq!((map.to_string(), fence), (format!("m{bad}"), Fence(100 + bad as u64)));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn sections_of_another_attempt_or_partition_are_lost() {
    let records = vec![("k".to_owned(), "v".to_owned())];
    let stale = Section { fence: Fence(1), ..section(0, &records) };
    let bench = Bench::new();
    let reason = bench.reduce(&step(2), PARTITION, vec![stale], &mut Show::default(), NONE).expect_err("stale");
    assert!(matches!(reason, Reason::LostOutput { fence: Fence(1), .. }), "{reason}");
    let reason =
        bench.reduce(&step(2), 0, vec![section(0, &records)], &mut Show::default(), NONE).expect_err("swapped");
    assert!(matches!(reason, Reason::LostOutput { .. }), "{reason}");
}

#[test]
fn values_that_are_not_taken_are_skipped() {
    let maps = numbered(vec![vec![1, 1, 2], vec![1, 2, 3]]);
    let sections = maps.iter().enumerate().map(|(map, records)| section(map as u32, records)).collect();
    let bench = Bench::new();
    let done = bench.reduce(&step(2), PARTITION, sections, &mut Show { first_only: true }, NONE).expect("done");
    assert_eq!(text_of(&bench.run()), "k1 0.0\nk2 0.2\nk3 1.2\n");
    assert_eq!(done.records_in, 6);
}

#[test]
fn no_records_make_no_part() {
    let bench = Bench::new();
    let empty = vec![section(0, &Vec::new()), section(1, &Vec::new()), section(2, &Vec::new())];
    let done = bench.reduce(&step_of(2, true), PARTITION, empty, &mut Show::default(), Some(&Join)).expect("done");
    assert_eq!((done.summary.bytes, done.records_in), (0, 0));
    assert!(bench.is_empty());
    bench.reduce(&step(2), PARTITION, Vec::new(), &mut Show::default(), NONE).expect("done");
    assert!(bench.is_empty());
}

#[test]
fn an_error_names_the_record_in_its_partition() {
    let records = ["a", "a", "fail"].map(|key| (key.to_owned(), String::new())).to_vec();
    let bench = Bench::new();
    let reason = bench.reduce(&step(2), PARTITION, vec![section(0, &records)], &mut Show::default(), NONE);
    assert_eq!(reason.expect_err("told to fail").to_string(), "user error: told to fail at partition 1:2");
}

#[test]
fn float_sums_of_equal_plans_are_equal() {
    let maps: Vec<Records> =
        (0..9_i32).map(|map| vec![("k".to_owned(), format!("{}", f64::from(map).exp() / 3.0))]).collect();
    let text = |fan_in, turn| {
        let mut sections: Vec<_> = maps.iter().enumerate().map(|(map, records)| section(map as u32, records)).collect();
        sections.rotate_left(turn);
        let bench = Bench::new();
        bench
            .reduce(&step_of(fan_in, false), PARTITION, sections, &mut Show::default(), Some(&FloatSum))
            .expect("done");
        text_of(&bench.run())
    };
    assert_eq!(text(3, 0), text(3, 5));
}

/// Fails as it is told.
struct Failing(Box<dyn Fn() -> std::io::Error + Send>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err((self.0)())
    }
}

#[test]
fn only_what_is_gone_or_damaged_is_the_maps_loss() {
    use std::io::{Error, ErrorKind};
    let kind = |error: fn() -> Error| {
        let bytes = Box::new(Failing(Box::new(error)));
        let section = Section { map: 4, fence: Fence(9), len: 100, bytes };
        let reason = Bench::new().reduce(&step(2), PARTITION, vec![section], &mut Show::default(), NONE);
        match reason.expect_err("unreadable") {
            Reason::LostOutput { .. } => "lost",
            Reason::Unreachable { .. } => "unreachable",
            Reason::Worker { .. } => "worker",
            other => panic!("{other}"),
        }
    };
    assert_eq!(kind(|| ErrorKind::NotFound.into()), "lost");
    assert_eq!(kind(|| ErrorKind::InvalidData.into()), "lost");
    assert_eq!(kind(|| Error::from_raw_os_error(5)), "lost");
    assert_eq!(kind(|| ErrorKind::PermissionDenied.into()), "unreachable");
    let own = || crate::program::ReadFailed(Reason::Worker { message: "a scratch file".into() }).into();
    // Too many open files; a file of the worker's own.
    assert_eq!([kind(|| Error::from_raw_os_error(24)), kind(own)], ["worker"; 2]);
}

#[test]
fn a_group_that_failed_before_is_left_out() {
    let records: Records =
        [("a", "1"), ("fail", "2"), ("fail", "3"), ("z", "4")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
    let reduce = |skips| {
        let bench = Bench { skips, ..Bench::new() };
        bench
            .reduce(&step(2), PARTITION, vec![section(0, &records)], &mut Show::default(), NONE)
            .map(|done| (done, bench))
    };
    let reason = reduce(Skips::careful(Vec::new())).map(drop).expect_err("told to fail");
    let at = reason.place().expect("a place").clone();
    assert_eq!((at.file.as_str(), at.offset), ("partition 1", 1), "the group is named by its first record");
    let skipped = gristmill_common::wire::Skipped { at, why: String::new(), by_reader: false };
    let (done, bench) = reduce(Skips::careful(vec![skipped.clone()])).expect("it is left out");
    assert_eq!((done.summary.records, bench.skips.left_out()), (2, vec![skipped]));
}
