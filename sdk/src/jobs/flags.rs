//! The flags of ready-made jobs, as users of `sort`, `cut` and `join` know them.

use clap::{Args, Command};
use gristmill_common::format::InputFormat;
use gristmill_common::order::{SortKey, TotalOrder};
use gristmill_common::spec::{SORT, StepSpec};

use super::distinct::{CountFlags, DistinctFlags};
use super::join::JoinFlags;
use super::named;
use super::top_k::TopFlags;
use crate::app::ready::Ready;

/// All jobs with flags.
pub(crate) static READY: &[Ready] = &[
    Ready::of::<SortFlags>(),
    Ready::of::<JoinFlags>(),
    Ready::of::<DistinctFlags>(),
    Ready::of::<CountFlags>(),
    Ready::of::<TopFlags>(),
];

/// The flags of one job.
pub(crate) trait Flags: Args {
    const NAME: &'static str;
    const ABOUT: &'static str;
    const EXAMPLES: &'static str;
    /// What stands behind the name, where that is not seen from the flags.
    const USAGE: Option<&'static str> = None;

    /// Makes the steps that they ask for, of inputs of this format.
    fn steps(&self, format: &InputFormat) -> Result<Vec<StepSpec>, String>;

    /// Returns what the inputs are joined with, of a job that reads two.
    fn right(&self) -> &[String] {
        &[]
    }
}

/// Reads the arguments of a program that takes these flags.
pub(super) fn read<F: Args>(args: &[String]) -> anyhow::Result<F> {
    let command = F::augment_args(Command::new("arguments").no_binary_name(true).disable_help_flag(true));
    Ok(F::from_arg_matches(&command.try_get_matches_from(args)?)?)
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Order")]
pub(crate) struct SortFlags {
    /// Sort by fields, as sort -k: `2`, `2,2`, `2.1,2.4`, with `n` (numeric) and `r` (descending) behind; of csv and ndjson by
    /// columns: `NAME`, `NAME:nr`, `2nr`; may be repeated
    #[arg(short = 'k', long = "key", value_name = "FIELDS", id = "sort_key", conflicts_with = "sort_key_bytes")]
    key: Vec<String>,

    /// Sort by the first N bytes
    #[arg(long = "key-bytes", value_name = "N", id = "sort_key_bytes", value_parser = clap::value_parser!(u32).range(1..))]
    key_bytes: Option<u32>,

    /// Between fields; `\t` is a tab [default: a tab]
    #[arg(short = 't', long = "field-separator", short_alias = 'd', value_name = "TEXT", id = "sort_delimiter")]
    delimiter: Option<String>,

    /// Compare as numbers: a minus, digits, a point, digits
    #[arg(short = 'n', long = "numeric", id = "sort_numeric", conflicts_with = "sort_key_bytes")]
    numeric: bool,

    /// The largest first
    #[arg(short = 'r', long = "reverse", id = "sort_reverse")]
    reverse: bool,

    /// Keep only the first record of each key
    #[arg(short = 'u', long = "unique", id = "sort_unique")]
    unique: bool,
}

impl Flags for SortFlags {
    const NAME: &'static str = SORT;
    const ABOUT: &'static str =
        "Sort the lines of the inputs, or their records of another format, all of them into one order";
    const EXAMPLES: &'static str = "\
Examples:
  gristmill run sort big.txt -o sorted.txt                 by whole lines, as bytes (as LC_ALL=C sort)
  gristmill run sort -t , -k3,3nr -k1,1 sales.csv -o by-amount.csv
                                                           by the third field, largest number first, then by the first
  gristmill run sort --key-bytes 10 records.dat -o parts/  by the first ten bytes; part-00000 comes before part-00001
  gristmill run sort -u 'lists/*.gz'                       every line once, to stdout
  gristmill run sort --input-format csv --header -k country -k amount:nr sales.csv
                                                           rows by the column `country`, then by `amount`, largest first
  gristmill run sort --records-of 100 --key-bytes 10 big.dat -o sorted.dat
                                                           binary records, as they are

Equal keys stay in the order of the input (as sort --stable). `2` means from field 2 to the end, `2,2` that field alone.
The parts of -o DIR/ follow each other: one after the other they are the sorted input. How the input is cut into them is
found from a small sample before the job starts. In a job spec: {\"native\": \"sort\", \"order\": {\"key\": {\"bytes\": 10}}}.";

    fn steps(&self, format: &InputFormat) -> Result<Vec<StepSpec>, String> {
        let key = if let Some(count) = self.key_bytes {
            SortKey::Bytes(count)
        } else if format.is_json() {
            self.columns()?
        } else if self.key.is_empty() && !self.numeric {
            SortKey::Record
        } else {
            let mut options: Vec<String> = self.key.iter().map(|key| format!("-k{key}")).collect();
            options.extend(self.numeric.then(|| "-n".to_owned()));
            SortKey::Fields {
                options: options.join(" "),
                separator: self.delimiter.as_deref().unwrap_or("").replace("\\t", "\t"),
            }
        };
        // `-k NAME` is for records that have names.
        let named = self.key.iter().find(|key| !key.trim_start().starts_with(|c: char| c.is_ascii_digit()));
        if let (Some(named), SortKey::Fields { .. }) = (named, &key) {
            let hint = "csv with --header has names, unless --rows is tsv, and ndjson; a field of text has a number";
            return Err(format!("`-k {named}`: no field of this input has a name: {hint}"));
        }
        let order = TotalOrder { key, reverse: self.reverse, unique: self.unique };
        order.check("").map_err(|problem| problem.detail)?;
        Ok(vec![StepSpec { order: Some(Box::new(order)), ..StepSpec::native(SORT) }])
    }
}

impl SortFlags {
    /// The key of records that are JSON.
    fn columns(&self) -> Result<SortKey, String> {
        if self.delimiter.is_some() {
            return Err("-t is for fields of text: csv has --delimiter, and ndjson none".to_owned());
        }
        let mut columns = Vec::new();
        for key in &self.key {
            columns.extend(named::sorted(key)?);
        }
        if columns.is_empty() {
            let record = if self.numeric { None } else { Some(SortKey::Record) };
            return record.ok_or_else(|| "-n needs to know which column: -k NAME -n".to_owned());
        }
        for column in columns.iter_mut().filter(|column| !column.numeric && !column.reverse) {
            column.numeric = self.numeric;
        }
        Ok(SortKey::Columns(columns))
    }
}
