//! A reduce and the map behind it in one task: the map output is, byte for byte, what a map of the part would make.

use gristmill_runs::{RunHeader, RunWriter};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::position::Spot;
use crate::program::Feed;

/// Writes each value as a line, behind its key; fails or panics where it is told to.
struct Lay;

impl ReduceFunction for Lay {
    fn reduce(&mut self, key: &[u8], values: &mut dyn Group, out: &mut Lines) -> Result<()> {
        anyhow::ensure!(key != b"~reduce", "told to fail");
        out.count("groups", 1);
        while let Some(value) = values.next_value() {
            let line = [key, b" ", value].concat();
            out.line(|text| text.extend_from_slice(&line));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Lines) -> Result<()> {
        out.count("finished", 10);
        Ok(())
    }
}

fn section_of(records: &[(String, String)]) -> Vec<Section> {
    let header = RunHeader { fence: Fence(100), partitions: 5, compress: true };
    let mut run = RunWriter::new(Vec::new(), header).expect("header");
    for (key, value) in records {
        run.push(4, key.as_bytes(), value.as_bytes()).expect("pushed");
    }
    let run = RunFile::from_bytes(run.finish_into().expect("finished").1).expect("a run");
    let bytes = run.section_bytes(4);
    vec![Section { map: 0, fence: run.fence(), len: bytes.len(), bytes: Box::new(bytes) }]
}

fn next_step(budget: u64) -> PlannedStep {
    PlannedStep { fused: true, maps: 0, sort_budget_bytes: budget, fan_in: 3, ..step(3) }
}

/// The map that runs in the reduce before it, or apart from it.
const MAP_BEHIND: TaskName = TaskName { step: 1, stage: Stage::Map, index: 4 };
/// Of both.
const FENCE: Fence = Fence(9);

impl Bench {
    fn next<M: MapFunction + 'static, C: Accumulate>(
        &self,
        step: &PlannedStep,
        mapper: M,
        combiner: Option<C>,
    ) -> Box<dyn Feed> {
        let task =
            MapTask { name: MAP_BEHIND, fence: FENCE, ..self.map_task(step, MapInput::Fed { part: MAP_BEHIND.index }) };
        map_fed(task, mapper, combiner).expect("started")
    }

    fn reduce_into(&self, sections: Vec<Section>, next: Option<Box<dyn Feed>>) -> Result<TaskDone, Reason> {
        let (name, step) = (TaskName { step: 0, stage: Stage::Reduce, index: MAP_BEHIND.index }, step(1));
        let task = ReduceTask { name, fence: FENCE, next, ..self.reduce_task(&step, sections) };
        reduce(task, &mut Lay, None::<&NoCombiner>)
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.output).ok()
    }
}

/// What the map of a part makes, of an attempt of the same fence.
fn apart<M: MapFunction, C: Accumulate>(
    records: &[(String, String)],
    step: &PlannedStep,
    mut mapper: M,
    combiner: Option<C>,
) -> (Option<Vec<u8>>, TaskDone, TaskDone) {
    let bench = Bench::new();
    let reduced = bench.reduce_into(section_of(records), None).expect("reduced");
    let text = if reduced.summary.records > 0 { text_of(&bench.run()) } else { String::new() };
    let bench = Bench::new();
    let input = MapInput::Part { part: MAP_BEHIND.index, text: Box::new(std::io::Cursor::new(text.into_bytes())) };
    let task = MapTask { name: MAP_BEHIND, fence: FENCE, ..bench.map_task(step, input) };
    let done = map(task, &mut mapper, combiner, write_tabbed).expect("mapped");
    (bench.bytes(), reduced, done)
}

fn check(records: &[(String, String)], budget: u64) {
    let step = next_step(budget);
    let (bytes, reduced, mapped) = apart(records, &step, Words::default(), None::<NoCombiner>);
    let bench = Bench::new();
    let next = bench.next(&step, Words::default(), None::<NoCombiner>);
    let done = bench.reduce_into(section_of(records), Some(next)).expect("both");
    assert_eq!(bench.bytes(), bytes);
    assert_eq!((done.summary, done.records_in), (mapped.summary, reduced.records_in));
    assert_eq!(done.counters.get("finished"), Some(&11), "counters of both halves");
    assert_eq!(done.counters.get("groups"), reduced.counters.get("groups"));

    let (bytes, ..) = apart(records, &step, Blockwise, Some(Join));
    let bench = Bench::new();
    let next = bench.next(&step, Blockwise, Some(Join));
    bench.reduce_into(section_of(records), Some(next)).expect("both");
    assert_eq!(bench.bytes(), bytes, "whole blocks and a combiner");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_fused_makes_the_same_bytes(keys in vec((0..9_u8, 0..9_u8), 0..40)) {
        let mut records: Vec<_> = keys.into_iter().map(|(key, value)| (format!("k{key}"), format!("v{value}"))).collect();
        records.sort();
        check(&records, 1 << 20);
    }
}

#[test]
fn many_blocks_and_spills_make_the_same_bytes() {
    let long = "x".repeat(300_000);
    let mut records: Vec<_> = (0..20_000).map(|i| (format!("key-{:05}", i / 3), format!("value={i:06}"))).collect();
    records.extend([("long".to_owned(), long.clone()), ("longer".to_owned(), format!("{long} {long}"))]);
    check(&records, 200_000);
}

#[test]
fn a_part_without_lines_is_mapped_all_the_same() {
    check(&[], 1 << 20);
}

fn told(words: &[(&str, &str)]) -> (Bench, Reason) {
    let records: Vec<_> = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let bench = Bench::new();
    let step = next_step(1 << 20);
    let next = bench.next(&step, Words::default(), None::<NoCombiner>);
    let reason = bench.reduce_into(section_of(&records), Some(next)).expect_err("told to fail");
    (bench, reason)
}

#[test]
fn a_failure_is_at_the_record_of_whoever_failed() {
    let (_, reason) = told(&[("a", "1"), ("fail", "2"), ("z", "3")]);
    let place = reason.place().expect("a place");
    assert_eq!((place.file.as_str(), place.offset), ("part 4 for the next step", 4), "{reason}");
    assert!(matches!(reason, Reason::UserError { .. }), "{reason:?}");
    let (bench, reason) = told(&[("a", "1"), ("b", "2"), ("~reduce", "3")]);
    let place = reason.place().expect("a place");
    assert_eq!((place.file.as_str(), place.offset), ("partition 4", 2), "{reason}");
    assert_eq!(bench.position.snapshot().spot, Spot::Partition(4));
}

#[test]
fn a_panic_in_the_map_leaves_its_place() {
    let bench = Bench::new();
    let step = next_step(1 << 20);
    let next = bench.next(&step, Words::default(), None::<NoCombiner>);
    let records = [("a".to_owned(), "1".to_owned()), ("panic".to_owned(), "2".to_owned())];
    let run = std::panic::AssertUnwindSafe(|| bench.reduce_into(section_of(&records), Some(next)));
    assert!(std::panic::catch_unwind(run).is_err());
    let seen = bench.position.snapshot();
    assert_eq!((seen.spot, seen.offset), (Spot::Fed(4), 4));
}
