//! `distinct` and `count-by-field`: each value of some fields once, or with how often it occurs.
//!
//! Output: `value`, or `value TAB count`, sorted by value within a part.

use anyhow::Result;
use clap::Args;
use gristmill_common::format::InputFormat;
use gristmill_common::limits;
use gristmill_common::spec::StepSpec;

use super::columns::{ColumnFlags, Columns};
use super::flags::{Flags, read};
use super::top_k::TopFlags;
use crate::typed::{Emit, Job, Lines, Mapper, Reducer, Sum, Values};

struct Fields {
    columns: Columns,
    joined: Vec<u8>,
}

impl Fields {
    fn new(args: &[String]) -> Result<Self> {
        Ok(Self { columns: read::<ColumnFlags>(args)?.columns()?, joined: Vec::new() })
    }
}

impl Mapper for Fields {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        out.emit(self.columns.of(line, &mut self.joined), &1);
        Ok(())
    }
}

/// Prints each key alone.
struct Keys;

impl Reducer for Keys {
    type Key = [u8];
    type Value = u64;

    fn reduce(&mut self, key: &[u8], _: &mut Values<'_, u64>, out: &mut Lines<'_>) -> Result<()> {
        out.line(key);
        Ok(())
    }
}

/// Makes `distinct`.
#[must_use]
pub fn distinct() -> Job {
    Job::try_map(Fields::new).combine(Sum).reduce(|_| Keys).into()
}

/// Makes `count-by-field`.
#[must_use]
pub fn count_by_field() -> Job {
    Job::try_map(Fields::new).combine(Sum).into()
}

#[derive(Args, Debug)]
pub(super) struct DistinctFlags {
    #[command(flatten)]
    columns: ColumnFlags,
}

impl Flags for DistinctFlags {
    const NAME: &'static str = "distinct";
    const ABOUT: &'static str = "Print every line, or every value of some fields, once";
    const EXAMPLES: &'static str = "\
Examples:
  gristmill run distinct 'lists/*.txt' -o all.txt          every line once (as sort -u)
  gristmill run distinct -t , -f 2 sales.csv               every value of the second field (as cut -d, -f2 | sort -u)

The result is sorted. In a job spec: {\"native\": \"distinct\", \"args\": [\"--fields=2\", \"--field-separator=,\"]}.";

    fn steps(&self, format: &InputFormat) -> Result<Vec<StepSpec>, String> {
        step(Self::NAME, &self.columns, format).map(|step| vec![step])
    }
}

#[derive(Args, Debug)]
pub(super) struct CountFlags {
    #[command(flatten)]
    columns: ColumnFlags,

    /// Only the N most frequent, most frequent first
    #[arg(long, value_name = "N", id = "count_top", value_parser = clap::value_parser!(u64).range(1..=limits::TOP_LINES))]
    top: Option<u64>,
}

impl Flags for CountFlags {
    const NAME: &'static str = "count-by-field";
    const ABOUT: &'static str = "Count how often each line, or each value of some fields, occurs";
    const EXAMPLES: &'static str = "\
Examples:
  gristmill run count-by-field -f 9 -t ' ' 'logs/*.gz' -o status.tsv
                                                           as cut -d' ' -f9 | sort | uniq -c
  gristmill run count-by-field -f 1 -t ' ' --top 10 access.log
                                                           as … | sort -rn | head
  gristmill run count-by-field --input-format csv --header -f country,city people.csv
                                                           by columns; so of --input-format ndjson
  gristmill run count-by-field names.txt                   whole lines

Output: value TAB count, sorted by value; with --top by count, ties in the order of their values within a part.
In a job spec: {\"native\": \"count-by-field\", \"args\": [\"--fields=9\", \"--field-separator= \"]}.";

    fn steps(&self, format: &InputFormat) -> Result<Vec<StepSpec>, String> {
        let mut steps = vec![step(Self::NAME, &self.columns, format)?];
        if let Some(count) = self.top {
            steps.push(TopFlags::of_last_field(count).step());
        }
        Ok(steps)
    }
}

fn step(name: &str, columns: &ColumnFlags, format: &InputFormat) -> Result<StepSpec, String> {
    let args = columns.args(format)?;
    read::<ColumnFlags>(&args).and_then(|columns| columns.columns()).map_err(|error| error.to_string())?;
    Ok(StepSpec { args, columns: columns.of_json(format)?, ..StepSpec::native(name) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::typed::tests::run;

    #[test]
    fn values_come_once_and_are_counted_as_an_oracle_does() {
        let line = |i: u32| format!("{},x{},{i}\n", i % 17, i.wrapping_mul(2_654_435_761) % 5);
        let texts: Vec<String> = [0..300, 300..301, 301..900].map(|range| range.map(line).collect()).to_vec();
        let files: Vec<(&str, &str)> =
            ["file:///a", "file:///b", "file:///c"].into_iter().zip(texts.iter().map(String::as_str)).collect();
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for line in texts.iter().flat_map(|text| text.lines()) {
            *counts.entry(line.split(',').nth(1).unwrap_or_default()).or_default() += 1;
        }
        let sorted = |parts: Vec<String>| {
            let text = parts.concat();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let args = ["--fields=2", "--field-separator=,"];
        let found = sorted(run(&count_by_field(), &args, &files, |_| ()).expect("counted"));
        assert_eq!(found, counts.iter().map(|(value, count)| format!("{value}\t{count}")).collect::<Vec<_>>());
        let found = sorted(run(&distinct(), &args, &files, |step| step.combine = false).expect("found"));
        assert_eq!(found, counts.keys().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        assert_eq!(sorted(run(&distinct(), &[], &files, |_| ()).expect("found")).len(), 900, "whole lines");
    }

    #[test]
    fn columns_of_rows_are_counted() {
        let format: InputFormat = serde_json::from_str(r#"{"csv":{"header":true}}"#).expect("a format");
        let files = [("file:///a", "city,country\n\"a,b\",x\nc,x\n"), ("file:///b", "country,city\nx,c\n")];
        let columns = ColumnFlags { fields: Some("country,city".to_owned()), ..ColumnFlags::default() };
        let args = columns.args(&format).expect("arguments");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let counted = run(&count_by_field(), &args, &files, |step| (step.input_format, step.reduces) = (format, 1));
        assert_eq!(counted.expect("counted"), ["x\ta,b\t1\nx\tc\t2\n"]);
    }
}
