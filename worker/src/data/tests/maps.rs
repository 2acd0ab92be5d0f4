//! Map attempts: what is written depends on input and plan alone.

use std::collections::BTreeMap;

use gristmill_common::limits;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::position::Spot;

const NONE: Option<NoCombiner> = None;

fn pieces<'a>(files: &'a Files) -> MapInput<'a> {
    MapInput::Pieces { pieces: files.whole(), inputs: files }
}

/// What a map output without a combiner must be.
fn model(text: &str, partitions: u32) -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    let words = text.split_whitespace().map(|word| word.split_once('=').expect("word=value"));
    let mut records: Vec<_> = words
        .map(|(key, value)| {
            (partition_of(key.as_bytes(), partitions), key.as_bytes().to_vec(), value.as_bytes().to_vec())
        })
        .collect();
    records.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    records
}

fn text(records: &[(u8, u16)]) -> String {
    let words = records.iter().enumerate().map(|(index, (key, value))| {
        // Some keys are longer than a slot of the table holds, many share a prefix.
        let key = format!("{}{key}", if key % 3 == 0 { "a-long-common-prefix-" } else { "p" });
        format!("{key}={index}.{value}{}", if value % 4 == 0 { "\n" } else { " " })
    });
    words.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn spills_and_passes_do_not_show(records in vec((0..12_u8, 0..1_000_u16), 0..120), budget in 40..4_000_u64, fan_in in 2..5_u32) {
        let text = text(&records);
        let files = Files::of(&[text.as_bytes()]);
        let expected = model(&text, 3);
        let mut step = step(3);
        let mut digests = Vec::new();
        for (budget, fan_in) in [(1 << 20, 64), (budget, fan_in)] {
            (step.sort_budget_bytes, step.fan_in) = (budget, fan_in);
            let bench = Bench::new();
            let done = bench.map(&step, pieces(&files), &mut Words::default(), NONE).expect("done");
            prop_assert_eq!(done.summary.records, expected.len() as u64);
            digests.push(done.summary.digest);
            if expected.is_empty() {
                prop_assert!(bench.is_empty(), "no records, no file");
                continue;
            }
            let run = bench.run();
            prop_assert_eq!(run.fence(), Fence(7));
            prop_assert_eq!(run.summary(), done.summary);
            prop_assert_eq!(records_of(&run), expected.clone());
        }
        prop_assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn a_combiner_sees_values_in_order_and_each_once(records in vec((0..12_u8, 0..1_000_u16), 1..120), budget in 40..4_000_u64) {
        let text = text(&records);
        let files = Files::of(&[text.as_bytes()]);
        let mut joined: BTreeMap<(u32, Vec<u8>), Vec<Vec<u8>>> = BTreeMap::new();
        for (partition, key, value) in model(&text, 3) {
            joined.entry((partition, key)).or_default().push(value);
        }
        let expected: Vec<_> = joined.into_iter().map(|((partition, key), values)| (partition, key, values.join(&b'+'))).collect();
        let mut step = step(3);
        (step.sort_budget_bytes, step.fan_in) = (budget, 2);
        let bench = Bench::new();
        bench.map(&step, pieces(&files), &mut Words::default(), Some(Join)).expect("done");
        prop_assert_eq!(records_of(&bench.run()), expected);
    }
}

#[test]
fn a_float_sum_is_the_same_whatever_the_buffers() {
    let words: Vec<String> =
        (0..3_000_u32).map(|n| format!("k{}={}e{}", n * n % 97, n, i64::from(n % 31) - 15)).collect();
    let text = words.chunks(7).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n");
    let files = Files::of(&[text.as_bytes()]);
    let digest = |budget, fan_in, buffer_bytes| {
        let mut step = step(4);
        (step.sort_budget_bytes, step.fan_in) = (budget, fan_in);
        let bench = Bench { buffer_bytes, ..Bench::new() };
        let by_record = bench.map(&step, pieces(&files), &mut Words::default(), Some(FloatSum)).expect("done");
        let bench = Bench { buffer_bytes, ..Bench::new() };
        let by_block = bench.map(&step, pieces(&files), &mut Blockwise, Some(FloatSum)).expect("done");
        assert_eq!(by_record.summary, by_block.summary);
        assert_eq!(by_record.records_in, by_block.records_in);
        by_record.summary.digest
    };
    let expected = digest(1_000, 3, 64);
    for buffer_bytes in [1, 17, 1_000, 1 << 20] {
        assert_eq!(digest(1_000, 3, buffer_bytes), expected, "a buffer of {buffer_bytes}");
    }
    assert_ne!(digest(1 << 20, 64, 64), expected, "the test can tell groupings apart");
}

#[test]
fn a_plan_without_combining_sorts_raw_values() {
    let files = Files::of(&[b"a=1 b=2 a=3"]);
    let bench = Bench::new();
    let step = PlannedStep { combine: false, ..step(1) };
    bench.map(&step, pieces(&files), &mut Words::default(), Some(Join)).expect("done");
    assert_eq!(records_of(&bench.run()), model("a=1 b=2 a=3", 1));
}

/// Emits each of its keys, forth and back, for each record.
struct Emitter(Vec<Vec<u8>>);

impl MapFunction for Emitter {
    const UNIT: Unit = Unit::Record;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, _: &[u8], out: &mut Collector) -> Result<()> {
        for key in self.0.iter().chain(self.0.iter().rev()) {
            out.emit(|bytes| bytes.extend_from_slice(key), |bytes| bytes.push(b'1'));
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

#[test]
fn keys_that_differ_in_trailing_zeros_are_sorted() {
    let keys: Vec<Vec<u8>> =
        (0..20_u8).rev().flat_map(|n| [vec![0; n.into()], [vec![b'x'], vec![0; n.into()]].concat()]).collect();
    let bench = Bench::new();
    let input = MapInput::Generated { first: 0, count: 1 };
    bench.map(&step(1), input, &mut Emitter(keys.clone()), NONE).expect("done");
    let mut expected = [keys.clone(), keys].concat();
    expected.sort();
    let found: Vec<_> = records_of(&bench.run()).into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_table_that_grew_spills_and_starts_small_again() {
    let keys: Vec<Vec<u8>> = (0..9_000_u32).map(|n| format!("key{n}").into_bytes()).collect();
    let mut step = step(2);
    // Some 5,000 keys at 32 bytes and a little.
    step.sort_budget_bytes = 200_000;
    let bench = Bench::new();
    bench.map(&step, MapInput::Generated { first: 0, count: 1 }, &mut Emitter(keys), Some(Join)).expect("done");
    let found = records_of(&bench.run());
    assert_eq!(found.len(), 9_000);
    assert!(found.iter().all(|(_, _, value)| value == b"1+1"));
}

/// Why no job with a combiner needs its hot key split (decision 0017).
#[test]
fn a_hot_key_is_one_record_of_each_map_whatever_it_spills() {
    let line = |i: u32| if i.is_multiple_of(2) { "hot=1\n".to_owned() } else { format!("k{i}=1\n") };
    let text: String = (0..40_000).map(line).collect();
    let files = Files::of(&[text.as_bytes()]);
    for (budget, combine, expected) in [(16 << 20, true, 1), (64 << 10, true, 1), (64 << 10, false, 20_000)] {
        let bench = Bench { buffer_bytes: 64 << 10, ..Bench::new() };
        let step = PlannedStep { sort_budget_bytes: budget, combine, ..step(4) };
        bench.map(&step, pieces(&files), &mut Words::default(), Some(FloatSum)).expect("done");
        let hot = records_of(&bench.run()).iter().filter(|(_, key, _)| key == b"hot").count();
        assert_eq!(hot, expected, "budget {budget}, combine: {combine}");
    }
}

#[test]
fn keys_of_all_lengths_are_kept_apart_in_the_table() {
    // Keys of 0 to 40 bytes, some of zeros, so that padding could be taken for a key.
    let mut keys: Vec<Vec<u8>> = (0..40_u8).flat_map(|n| [vec![0; n.into()], vec![b'x'; n.into()]]).collect();
    keys.extend((0..2_000_u32).map(|n| format!("key{n}").into_bytes()));
    let bench = Bench::new();
    let input = MapInput::Generated { first: 0, count: 2 };
    bench.map(&step(3), input, &mut Emitter(keys.clone()), Some(Join)).expect("done");
    keys.sort();
    keys.dedup();
    let mut expected: Vec<_> =
        keys.into_iter().map(|key| (partition_of(&key, 3), key.clone(), key.is_empty())).collect();
    expected.sort();
    let found = records_of(&bench.run());
    assert_eq!(found.len(), expected.len());
    for ((partition, key, value), (expected_partition, expected_key, empty)) in found.into_iter().zip(expected) {
        // The empty key is made twice: once of zeros, once of x.
        let times = if empty { 8 } else { 4 };
        assert_eq!((partition, &key, value), (expected_partition, &expected_key, vec![&b"1"[..]; times].join(&b'+')));
    }
}

#[test]
fn a_map_only_step_writes_its_records_as_lines_in_input_order() {
    let files = Files::of(&[b"z=1 a=2\n", b"m=3"]);
    let bench = Bench::new();
    let done = bench.map(&step(0), pieces(&files), &mut Words::default(), Some(Join)).expect("done");
    let run = bench.run();
    assert_eq!(text_of(&run), "z\t1\na\t2\nm\t3\n");
    assert!(run.is_part());
    assert_eq!((done.summary.records, done.summary.text_bytes, done.records_in), (3, 12, 2));
    assert_eq!(done.counters, BTreeMap::from([("finished".to_owned(), 1)]));
}

#[test]
fn generated_records_and_parts_are_read_too() {
    let bench = Bench::new();
    let done =
        bench.map(&step(0), MapInput::Generated { first: 9, count: 3 }, &mut Words::default(), NONE).expect("done");
    assert_eq!(text_of(&bench.run()), "9\t9\n10\t10\n11\t11\n");
    assert_eq!(done.records_in, 3);
    let by_block = Bench::new();
    by_block.map(&step(0), MapInput::Generated { first: 9, count: 3 }, &mut Blockwise, NONE).expect("done");
    assert_eq!(records_of(&by_block.run()).len(), 3);
    let bench = Bench::new();
    let part = MapInput::Part { part: 2, text: Box::new(&b"x\ny y\n"[..]) };
    let mut words = Words::default();
    bench.map(&step(0), part, &mut words, NONE).expect("done");
    assert_eq!(text_of(&bench.run()), "x\t0\ny\t2\ny\t2\n");
    assert_eq!(words.starts, [("part 2 of the step before".to_owned(), 0)]);
}

#[test]
fn an_error_names_the_record() {
    let files = Files::of(&[b"fine\n", b"fine\nso so\nfail here\nnever"]);
    let bench = Bench::new();
    let reason = bench.map(&step(1), pieces(&files), &mut Words::default(), NONE).expect_err("told to fail");
    assert_eq!(reason.to_string(), "user error: told to fail at file:///in/1:11");
    assert!(bench.is_empty());
}

#[test]
fn a_panic_leaves_the_position_of_its_record() {
    let files = Files::of(&[b"fine\n", b"fine\npanic\n"]);
    for blockwise in [false, true] {
        let bench = Bench::new();
        let run = std::panic::AssertUnwindSafe(|| {
            if blockwise {
                bench.map(&step(1), pieces(&files), &mut Blockwise, NONE)
            } else {
                bench.map(&step(1), pieces(&files), &mut Words::default(), NONE)
            }
        });
        assert!(std::panic::catch_unwind(run).is_err());
        let seen = bench.position.snapshot();
        assert_eq!((seen.fence, seen.spot, seen.offset), (Fence(7), Spot::File(1), 5));
    }
}

#[test]
fn progress_reaches_the_whole() {
    let text = "word\n".repeat(1_000);
    let files = Files::of(&[text.as_bytes(), b"", text.as_bytes()]);
    let bench = Bench::new();
    bench.map(&step(1), pieces(&files), &mut Words::default(), NONE).expect("done");
    assert_eq!(bench.position.snapshot().permille, 1_000);
}

#[test]
fn a_cancelled_attempt_ends() {
    let files = Files::of(&[b"a\n"]);
    let bench = Bench::new();
    bench.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let reason = bench.map(&step(1), pieces(&files), &mut Words::default(), NONE).expect_err("cancelled");
    assert!(matches!(reason, Reason::Worker { .. }), "{reason}");
}

#[test]
fn limits_end_the_attempt_with_the_place() {
    struct Excess(fn(&mut Collector));
    impl MapFunction for Excess {
        const UNIT: Unit = Unit::Record;
        fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
            Ok(())
        }
        fn map(&mut self, record: &[u8], out: &mut Collector) -> Result<()> {
            if record == b"here" {
                (self.0)(out);
            }
            Ok(())
        }
        fn finish(&mut self, _: &mut Collector) -> Result<()> {
            Ok(())
        }
    }
    let cases: [fn(&mut Collector); 4] = [
        |out| (0..=limits::COUNTERS).for_each(|n| out.count(&n.to_string(), 1)),
        |out| out.count(&"x".repeat(limits::COUNTER_NAME_BYTES + 1), 1),
        |out| out.count("", 1),
        |out| out.emit(|key| key.resize(key.len() + limits::LINE_BYTES, b'k'), |value| value.push(1)),
    ];
    for case in cases {
        let files = Files::of(&[b"not yet\nhere\n"]);
        let bench = Bench::new();
        let reason = bench.map(&step(1), pieces(&files), &mut Excess(case), NONE).expect_err("too much");
        assert!(matches!(reason, Reason::Limit { .. }), "{reason}");
        assert_eq!(reason.place().map(|place| place.offset), Some(8), "{reason}");
    }
}

#[test]
fn a_directory_that_is_gone_is_the_workers_failure() {
    let files = Files::of(&[b"a=1\n"]);
    let bench = Bench::new();
    std::fs::remove_dir(bench.dir.path()).expect("removed");
    let reason = bench.map(&step(1), pieces(&files), &mut Words::default(), NONE).expect_err("nowhere to write");
    assert!(matches!(reason, Reason::Worker { .. }), "{reason}");
}

/// Emits each word of a block with the value `1`: one after the other, or as stretches of the block.
struct Ones {
    stretches: bool,
}

impl MapFunction for Ones {
    const UNIT: Unit = Unit::Block;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Collector) -> Result<()> {
        let words = block.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let start = |word: &[u8]| word.as_ptr() as usize - block.as_ptr() as usize;
        if self.stretches {
            let mut keys = out.stretches(block, |value| value.push(b'1'));
            words.for_each(|word| keys.push(start(word)..start(word) + word.len()));
        } else {
            words.for_each(|word| out.emit(|key| key.extend_from_slice(word), |value| value.push(b'1')));
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn stretches_make_what_single_records_make(records in vec((0..12_u8, 0..1_000_u16), 0..3_000), budget in 400..40_000_u64) {
        let text = text(&records);
        let files = Files::of(&[text.as_bytes()]);
        let mut step = step(3);
        step.sort_budget_bytes = budget;
        let [single, stretched] = [false, true].map(|stretches| {
            let (plain, combined) = (Bench::new(), Bench::new());
            let plain = plain.map(&step, pieces(&files), &mut Ones { stretches }, NONE).expect("done");
            let combined = combined.map(&step, pieces(&files), &mut Ones { stretches }, Some(Join)).expect("done");
            (plain, combined)
        });
        prop_assert_eq!(single, stretched);
    }
}
