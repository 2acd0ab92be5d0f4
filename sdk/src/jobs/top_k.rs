//! `top-k`: the lines with the largest (or smallest) value in a field, best first; ties in the order of the input.
//!
//! Each map keeps its best lines and hands on no more, so that one reduce is enough.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use gristmill_common::columns::{self, Column};
use gristmill_common::format::InputFormat;
use gristmill_common::limits;
use gristmill_common::order::{SortKey, SortRule, TotalOrder};
use gristmill_common::spec::{StepSpec, TOP_K};

use super::columns::{separator, split};
use super::flags::{Flags, read};
use super::named;
use crate::typed::{Emit, Job, Lines, Mapper, Reducer, Values};

#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub(super) struct TopFlags {
    /// How many lines
    #[arg(short = 'n', long = "count", value_name = "N", id = "top_count", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=limits::TOP_LINES))]
    count: u64,

    /// The field whose value ranks a line, counted from 1, or `last`; of csv and ndjson a name or a number
    /// [default: the whole line]
    #[arg(short = 'f', long = "field", value_name = "FIELD", id = "top_field")]
    field: Option<String>,

    /// The column of records that are JSON, as JSON; what the command line makes of --field.
    #[arg(long = "column", value_name = "JSON", id = "top_column", hide = true, conflicts_with = "top_field")]
    column: Option<String>,

    /// Between fields; `\t` is a tab [default: a tab]
    #[arg(short = 't', long = "field-separator", short_alias = 'd', value_name = "TEXT", id = "top_delimiter")]
    delimiter: Option<String>,

    /// The smallest first
    #[arg(long = "smallest", id = "top_smallest")]
    smallest: bool,

    /// Compare as text, not as numbers
    #[arg(long = "text", id = "top_text")]
    text: bool,
}

/// What ranks a record.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Field {
    Whole,
    /// From 0.
    Nth(usize),
    Last,
    /// Of a record that is JSON.
    Column([Column; 1]),
}

impl TopFlags {
    /// The most frequent of `value TAB count`.
    pub(super) fn of_last_field(count: u64) -> Self {
        Self { count, field: Some("last".to_owned()), column: None, delimiter: None, smallest: false, text: false }
    }

    pub(super) fn step(&self) -> StepSpec {
        let mut args = vec![format!("--count={}", self.count)];
        args.extend(self.field.iter().map(|field| format!("--field={field}")));
        args.extend(self.column.iter().map(|column| format!("--column={column}")));
        args.extend(self.delimiter.iter().map(|delimiter| format!("--field-separator={delimiter}")));
        args.extend(self.smallest.then(|| "--smallest".to_owned()));
        args.extend(self.text.then(|| "--text".to_owned()));
        StepSpec { args, partitions: Some(1), ..StepSpec::native(TOP_K) }
    }
}

impl TopFlags {
    fn field(&self) -> Result<Field> {
        if let Some(json) = &self.column {
            let column: Column = serde_json::from_str(json).context("--column is a column in JSON")?;
            columns::check(std::slice::from_ref(&column), "--column")
                .map_err(|problem| anyhow!("{}", problem.detail))?;
            return Ok(Field::Column([Column { numeric: !self.text, reverse: false, ..column }]));
        }
        match self.field.as_deref() {
            None => Ok(Field::Whole),
            Some("last") => Ok(Field::Last),
            Some(text) => {
                let number = text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                number.map(Field::Nth).with_context(|| format!("`{text}`: a number from 1, or `last`, is expected"))
            }
        }
    }
}

impl Flags for TopFlags {
    const NAME: &'static str = TOP_K;
    const ABOUT: &'static str = "Print the lines with the largest value in a field, the largest first";
    const EXAMPLES: &'static str = "\
Examples:
  gristmill run top-k -t , -f 3 sales.csv                  the ten lines with the largest third field (as sort -t, -k3nr | head)
  gristmill run top-k -n 100 --smallest -f 2 times.tsv     the hundred fastest
  gristmill run top-k --input-format csv --header -f amount sales.csv
                                                           the ten rows with the largest amount, as JSON
  gristmill run count-by-field -f 1 --top 10 access.log    the ten most frequent values

A line without the field ranks last, one that is no number as 0. In a job spec:
{\"native\": \"top-k\", \"args\": [\"--count=10\", \"--field=3\", \"--field-separator=,\"]}.";

    fn steps(&self, format: &InputFormat) -> Result<Vec<StepSpec>, String> {
        if self.delimiter.as_deref() == Some("") {
            return Err("an empty delimiter is between no fields".to_owned());
        }
        let (mut flags, mut columns) = (self.clone(), Vec::new());
        if let Some(text) = flags.field.take_if(|_| format.is_json()) {
            columns = named::listed(&text)?;
            let [column] = &columns[..] else { return Err(format!("`{text}`: one column ranks a record")) };
            flags.column = Some(serde_json::json!(column).to_string());
        }
        flags.field().map_err(|error| error.to_string())?;
        Ok(vec![StepSpec { columns, ..flags.step() }])
    }
}

/// Keeps the best lines of a task.
struct Best {
    count: u64,
    field: Field,
    delimiter: Vec<u8>,
    rule: SortRule,
    /// By rank and number, the best first.
    kept: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
    seen: u64,
    rank: Vec<u8>,
}

impl Best {
    fn new(args: &[String]) -> Result<Self> {
        let flags: TopFlags = read(args)?;
        let field = flags.field()?;
        let key = match &field {
            Field::Column([column]) => SortKey::Columns(vec![column.clone()]),
            Field::Whole | Field::Nth(_) | Field::Last if flags.text => SortKey::Record,
            Field::Whole | Field::Nth(_) | Field::Last => {
                SortKey::Fields { options: "-n".to_owned(), separator: String::new() }
            }
        };
        let rule = SortRule::of(&TotalOrder { key, reverse: !flags.smallest, unique: false })?;
        let delimiter = separator(flags.delimiter.as_deref());
        Ok(Self { count: flags.count, field, delimiter, rule, kept: BTreeMap::new(), seen: 0, rank: Vec::new() })
    }

    /// Writes what a line is ranked by: lines without the field come behind all others.
    fn rank(&mut self, line: &[u8]) {
        let value = match &self.field {
            Field::Whole => Some(line),
            Field::Nth(nth) => split(line, &self.delimiter).nth(*nth),
            Field::Last => split(line, &self.delimiter).last(),
            // The rule looks for the value itself.
            Field::Column(column) => columns::find(column, line).first().is_some_and(Option::is_some).then_some(line),
        };
        self.rank.clear();
        self.rank.push(u8::from(value.is_none()));
        if let Some(value) = value {
            self.rule.key(value, &mut self.rank);
        }
    }
}

impl Mapper for Best {
    type Key = [u8];
    type Value = [u8];

    fn map(&mut self, line: &[u8], _: &mut Emit<'_, [u8], [u8]>) -> Result<()> {
        self.rank(line);
        self.seen += 1;
        let is_full = self.kept.len() as u64 >= self.count;
        if is_full && self.kept.last_key_value().is_some_and(|((worst, _), _)| *worst <= self.rank) {
            return Ok(());
        }
        self.kept.insert((self.rank.clone(), self.seen), line.to_vec());
        if is_full {
            self.kept.pop_last();
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Emit<'_, [u8], [u8]>) -> Result<()> {
        for ((rank, _), line) in &self.kept {
            out.emit(rank, line);
        }
        Ok(())
    }
}

/// Prints the first lines.
struct First(u64);

impl Reducer for First {
    type Key = [u8];
    type Value = [u8];

    fn reduce(&mut self, _: &[u8], values: &mut Values<'_, [u8]>, out: &mut Lines<'_>) -> Result<()> {
        while self.0 > 0
            && let Some(line) = values.next_ref()
        {
            out.line(line);
            self.0 -= 1;
        }
        Ok(())
    }
}

/// Makes the job.
#[must_use]
pub fn top_k() -> Job {
    Job::try_map(Best::new).reduce(|args| First(read::<TopFlags>(args).map_or(0, |flags| flags.count))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed::tests::run;

    #[test]
    fn the_best_are_what_sorting_everything_finds() {
        let line = |i: u32| format!("line {i},{}\n", (i.wrapping_mul(2_654_435_761) >> 20) as i32 % 50 - 20);
        let texts: Vec<String> = [0..300, 300..310, 310..900].map(|range| range.map(line).collect()).to_vec();
        let files: Vec<(&str, &str)> =
            ["file:///a", "file:///b", "file:///c"].into_iter().zip(texts.iter().map(String::as_str)).collect();
        let number =
            |line: &&str| line.split(',').nth(1).and_then(|field| field.parse::<i32>().ok()).expect("a number");
        let all: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
        for count in [1, 7, 25, 2_000] {
            let count_arg = format!("--count={count}");
            let found = |more: &[&str]| {
                let args = [&[count_arg.as_str(), "--field-separator=,"], more].concat();
                run(&top_k(), &args, &files, |step| step.reduces = 1).expect("found").concat()
            };
            let text =
                |lines: Vec<&str>| lines.into_iter().take(count).map(|line| format!("{line}\n")).collect::<String>();
            let mut sorted = all.clone();
            sorted.sort_by_key(|line| std::cmp::Reverse(number(line)));
            assert_eq!(found(&["--field=2"]), text(sorted));
            let mut sorted = all.clone();
            sorted.sort_by_key(number);
            assert_eq!(found(&["--field=last", "--smallest"]), text(sorted));
            let mut sorted = all.clone();
            sorted.sort_by(|left, right| right.cmp(left));
            assert_eq!(found(&["--text"]), text(sorted));
        }
        let rows = [("file:///a", "{\"n\":9}\n{\"n\":\"10\"}\n"), ("file:///b", "{\"m\":99}\n{\"n\":-1}")];
        let found = |more: &[&str]| {
            let args = [&["--column={\"name\":\"n\"}", "--count=3"], more].concat();
            run(&top_k(), &args, &rows, |step| step.reduces = 1).expect("found").concat()
        };
        assert_eq!(found(&[]), "{\"n\":\"10\"}\n{\"n\":9}\n{\"n\":-1}\n");
        assert_eq!(found(&["--smallest"]), "{\"n\":-1}\n{\"n\":9}\n{\"n\":\"10\"}\n");
        let job = top_k();
        let bad = |arg: &str| gristmill_worker::program::Program::check(&job, &[arg.to_owned()]).expect_err(arg);
        assert!(bad("--field=0").contains("from 1"), "{}", bad("--field=0"));
        assert!(bad("--colour").contains("--colour"));
    }
}
