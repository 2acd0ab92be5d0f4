//! The ready-made `sort`: puts all records of the input into one order, in parts that follow each other.
//!
//! Maps sort by the key that the plan's order finds, reduces merge the range between two of the plan's split points. Keys
//! only serve the way: parts have none, and one after the other they are the sorted input. Equal keys keep input order.

use std::sync::Arc;

use anyhow::Result;
use gristmill_common::Reason;
use gristmill_common::order::{PlannedOrder, SortRule};
use gristmill_common::plan::PlannedStep;

use gristmill_worker::data::{
    Collector, MapFunction, Partitioner, Ranges, Shuffle, Start, Unit, map_fed_shuffled, map_shuffled, reduce_sorted,
};
use gristmill_worker::program::{Feed, MapTask, Program, ReduceTask, TaskDone};

/// The program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sort;

impl Program for Sort {
    fn check(&self, args: &[String]) -> Result<(), String> {
        if args.is_empty() {
            return Ok(());
        }
        Err("it takes no arguments: its step has an `order`, such as {\"key\": {\"bytes\": 10}}".to_owned())
    }

    fn map(&self, _: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let (planned, rule) = order_of(task.step)?;
        let partitioner = Partitioner::Ranges(Arc::new(Ranges::new(&planned.points)));
        let shuffle = Shuffle { partitioner, combine: None };
        let format = &task.step.input_format;
        if format.is_plain_lines() {
            return map_shuffled(task, &mut SortMap { rule }, shuffle, |_, _, _| Ok(()));
        }
        let mut mapper = SortRecords { end: format.sorted_end().to_vec(), rule };
        map_shuffled(task, &mut mapper, shuffle, |_, _, _| Ok(()))
    }

    fn reduce(&self, _: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        let (planned, rule) = order_of(task.step)?;
        reduce_sorted(task, rule.prefix().is_some(), planned.order.unique)
    }

    fn map_fed(&self, _: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        let (planned, rule) = order_of(task.step)?;
        let partitioner = Partitioner::Ranges(Arc::new(Ranges::new(&planned.points)));
        map_fed_shuffled(task, SortMap { rule }, Shuffle { partitioner, combine: None })
    }
}

fn order_of(step: &PlannedStep) -> Result<(&PlannedOrder, SortRule), Reason> {
    let refuse = |message: String| Reason::BadArguments { message };
    let planned = step.order.as_deref();
    let planned = planned.ok_or_else(|| refuse("a `sort` step needs an `order` in the spec; {} is one".to_owned()))?;
    let rule = SortRule::of(&planned.order).map_err(|error| refuse(error.to_string()))?;
    Ok((planned, rule))
}

struct SortMap {
    rule: SortRule,
}

impl SortMap {
    /// Emits one line that is without its line feed.
    fn emit(&self, line: &[u8], out: &mut Collector) {
        let value = |bytes: &mut Vec<u8>, rest: &[u8]| {
            bytes.extend_from_slice(rest);
            bytes.push(b'\n');
        };
        match self.rule.prefix() {
            Some(length) => {
                let (key, rest) = line.split_at(length.min(line.len()));
                out.emit(|bytes| bytes.extend_from_slice(key), |bytes| value(bytes, rest));
            }
            None => out.emit(|bytes| self.rule.key(line, bytes), |bytes| value(bytes, line)),
        }
    }
}

impl MapFunction for SortMap {
    const UNIT: Unit = Unit::Block;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Collector) -> Result<()> {
        let rest = match self.rule.prefix() {
            Some(length) => out.lines_by_prefix(block, length),
            None => block,
        };
        for line in rest.split_inclusive(|&byte| byte == b'\n') {
            self.emit(line.strip_suffix(b"\n").unwrap_or(line), out);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

/// Sorts records that may hold line feeds.
struct SortRecords {
    rule: SortRule,
    /// What stands behind each record of the output.
    end: Vec<u8>,
}

impl MapFunction for SortRecords {
    const UNIT: Unit = Unit::Record;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, record: &[u8], out: &mut Collector) -> Result<()> {
        let value = |bytes: &mut Vec<u8>, rest: &[u8]| {
            bytes.extend_from_slice(rest);
            bytes.extend_from_slice(&self.end);
        };
        match self.rule.prefix() {
            Some(length) => {
                let (key, rest) = record.split_at(length.min(record.len()));
                out.emit(|bytes| bytes.extend_from_slice(key), |bytes| value(bytes, rest));
            }
            None => out.emit(|bytes| self.rule.key(record, bytes), |bytes| value(bytes, record)),
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::order::{SortKey, TotalOrder, split_points};
    use proptest::prelude::*;

    use super::*;
    use crate::typed::tests::run;

    /// Lines with many ties, numbered so that each shows where it came from.
    fn lines(count: u32, seed: u32) -> Vec<String> {
        let random = |i: u32| i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 16;
        (0..count).map(|i| format!("k{}\t{}\tline {i}", random(i) % 13, random(i * 7) as i32 - 30_000)).collect()
    }

    /// What a stable sort of the whole input makes.
    fn oracle(order: &TotalOrder, files: &[Vec<String>]) -> String {
        let rule = SortRule::of(order).expect("an order");
        let mut records: Vec<(Vec<u8>, &str)> =
            files.iter().flatten().map(|line| (key(&rule, line), line.as_str())).collect();
        records.sort_by(|left, right| left.0.cmp(&right.0));
        if order.unique {
            records.dedup_by(|later, first| later.0 == first.0);
        }
        records.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    fn key(rule: &SortRule, line: &str) -> Vec<u8> {
        let mut key = Vec::new();
        rule.key(line.as_bytes(), &mut key);
        key
    }

    fn sorted(order: &TotalOrder, files: &[Vec<String>], parts: u32, budget: u64, fan_in: u32) -> String {
        let rule = SortRule::of(order).expect("an order");
        let sample = files.iter().flatten().step_by(17).map(|line| key(&rule, line)).collect();
        let planned = PlannedOrder { order: order.clone(), points: split_points(sample, parts) };
        // The last line of every other file lacks its line feed, which an empty line cannot.
        let end = |index: usize, lines: &[String]| {
            if index % 2 == 1 && lines.last() != Some(&String::new()) { "" } else { "\n" }
        };
        let texts: Vec<String> =
            files.iter().enumerate().map(|(index, lines)| lines.join("\n") + end(index, lines)).collect();
        let names: Vec<String> = (0..files.len()).map(|index| format!("file:///{index}")).collect();
        let inputs: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let parts = run(&Sort, &[], &inputs, |step| {
            step.order = Some(Box::new(planned));
            step.reduces = parts;
            step.sort_budget_bytes = budget;
            step.fan_in = fan_in;
        });
        parts.expect("sorted").concat()
    }

    fn orders() -> Vec<TotalOrder> {
        let fields = |options: &str| SortKey::Fields { options: options.to_owned(), separator: String::new() };
        let keys =
            [SortKey::Record, SortKey::Bytes(2), SortKey::Bytes(200), fields("-k2,2n"), fields("-k1,1r -k2,2nr")];
        let all = |key: SortKey| {
            [(false, false), (true, false), (false, true)].map(|(reverse, unique)| TotalOrder {
                key: key.clone(),
                reverse,
                unique,
            })
        };
        keys.into_iter().flat_map(all).collect()
    }

    #[test]
    fn parts_one_after_the_other_are_the_sorted_input() {
        let files = [lines(300, 1), lines(500, 2), vec!["same".to_owned(); 40], lines(3, 9)];
        for order in orders() {
            let expected = oracle(&order, &files);
            for (parts, budget, fan_in) in [(1, 1 << 20, 64), (5, 1 << 20, 64), (3, 4_096, 2), (7, 1_000, 3)] {
                let found = sorted(&order, &files, parts, budget, fan_in);
                assert!(found == expected, "{order:?}, {parts} parts, budget {budget}, fan-in {fan_in}");
            }
        }
    }

    #[test]
    fn more_than_a_thousand_runs_are_merged_in_passes() {
        let files = [lines(3_000, 5), lines(2_000, 6)];
        for order in [TotalOrder::default(), TotalOrder { key: SortKey::Bytes(3), ..TotalOrder::default() }] {
            let expected = oracle(&order, &files);
            // Two or three records to a run.
            assert!(sorted(&order, &files, 4, 128, 2) == expected, "fan-in 2");
            assert!(sorted(&order, &files, 4, 128, 64) == expected, "fan-in 64");
        }
    }

    #[test]
    fn records_of_other_formats_come_out_as_they_are_given() {
        use gristmill_common::columns::Column;
        use gristmill_common::format::{Csv, Fixed, InputFormat, KeyValue, Lines, Ndjson, Rows};
        let fields = |options: &str| SortKey::Fields { options: options.to_owned(), separator: String::new() };
        let amount = Column { numeric: true, reverse: true, ..Column::named("n") };
        let csv = Csv { header: true, ..Csv::default() };
        let cases = [
            (
                InputFormat::Lines(Lines { delimiter: "\0".to_owned() }),
                SortKey::Record,
                "b\n2\0a",
                "b\n1\0",
                "a\0b\n1\0b\n2\0",
            ),
            (InputFormat::Fixed(Fixed { bytes: 3 }), SortKey::Bytes(1), "c\n1a\n2", "b\n3a\n4", "a\n2a\n4b\n3c\n1"),
            (
                InputFormat::KeyValue(KeyValue { separator: ":".to_owned() }),
                fields("-k2,2n"),
                "a:10\nb\n",
                "c:9\n",
                "b\t\nc\t9\na\t10\n",
            ),
            (
                InputFormat::Ndjson(Ndjson {}),
                SortKey::Columns(vec![amount.clone()]),
                " {\"n\":5} \n\n{\"n\":\"x\"}",
                "{\"n\":1e1}\n",
                "{\"n\":1e1}\n{\"n\":5}\n{\"n\":\"x\"}\n",
            ),
            (
                InputFormat::Csv(csv.clone()),
                SortKey::Columns(vec![Column::named("s"), amount]),
                "n,s\n9,\"b\n\"\n10,a\n",
                "s,n\na,9\n",
                "{\"n\":\"10\",\"s\":\"a\"}\n{\"s\":\"a\",\"n\":\"9\"}\n{\"n\":\"9\",\"s\":\"b\\n\"}\n",
            ),
            (
                InputFormat::Csv(Csv { rows: Rows::Tsv, ..csv }),
                fields("-k2,2n"),
                "a,n\nx,9\n",
                "a,n\ny,8\n",
                "y\t8\nx\t9\n",
            ),
        ];
        for (format, key, first, second, expected) in cases {
            let points = split_points(vec![b"b".to_vec()], 2);
            let order = PlannedOrder { order: TotalOrder { key, ..TotalOrder::default() }, points };
            let parts = run(&Sort, &[], &[("file:///a", first), ("file:///b", second)], |step| {
                (step.order, step.input_format) = (Some(Box::new(order)), format.clone());
            });
            assert_eq!(parts.expect("sorted").concat(), expected, "{format:?}");
        }
    }

    #[test]
    fn a_step_without_an_order_says_what_is_missing() {
        let reason = run(&Sort, &[], &[("file:///a", "x")], |_| ()).expect_err("no order").to_string();
        assert!(reason.contains("`order`"), "{reason}");
        assert!(Sort.check(&["-k2".to_owned()]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_sorted_stably(
            texts in prop::collection::vec(prop::collection::vec("[a\\x00\\xff]{0,12}", 1..40), 1..4),
            which in 0..15_usize,
            parts in 1..6_u32,
        ) {
            let order = &orders()[which];
            prop_assert_eq!(sorted(order, &texts, parts, 300, 2), oracle(order, &texts));
        }
    }
}
