//! Fields of a line, chosen as `cut` does: `2`, `1,3`, `2-4`, `3-`; or columns of a record that is JSON.

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use gristmill_common::columns::{self, Column};
use gristmill_common::format::InputFormat;

use super::named;

/// The flags that choose fields.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ColumnFlags {
    /// Fields, as cut -f: `2`, `1,3`, `2-4`, `3-`, in the order given; of csv and ndjson names too: `country,city`
    /// [default: the whole line]
    #[arg(short = 'f', long = "fields", value_name = "LIST", id = "column_fields")]
    pub(crate) fields: Option<String>,

    /// Between fields; `\t` is a tab [default: a tab]
    #[arg(short = 't', long = "field-separator", short_alias = 'd', value_name = "TEXT", id = "column_delimiter")]
    pub(crate) delimiter: Option<String>,

    /// Columns of records that are JSON, as JSON; what the command line makes of --fields.
    #[arg(long = "columns", value_name = "JSON", id = "column_columns", hide = true, conflicts_with = "column_fields")]
    pub(crate) columns: Option<String>,
}

impl ColumnFlags {
    /// Returns the columns of records that are JSON which the fields are; none of other records.
    pub(crate) fn of_json(&self, format: &InputFormat) -> Result<Vec<Column>, String> {
        self.fields.as_deref().filter(|_| format.is_json()).map_or(Ok(Vec::new()), named::listed)
    }

    /// Writes them as arguments of a program that is given records of this format.
    pub(crate) fn args(&self, format: &InputFormat) -> Result<Vec<String>, String> {
        let flag = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
        let columns = self.of_json(format)?;
        let fields = if columns.is_empty() {
            flag("--fields", &self.fields)
        } else {
            Some(format!("--columns={}", serde_json::json!(columns)))
        };
        Ok(fields.into_iter().chain(flag("--field-separator", &self.delimiter)).collect())
    }

    pub(crate) fn columns(&self) -> Result<Columns> {
        let delimiter = separator(self.delimiter.as_deref());
        ensure!(!delimiter.is_empty(), "an empty delimiter is between no fields");
        let ranges = self.fields.as_deref().map(|list| list.split(',').map(range).collect::<Result<_>>());
        let columns = self.columns.as_deref().map(|json| -> Result<Vec<Column>> {
            let columns: Vec<Column> = serde_json::from_str(json).context("--columns is a JSON list of columns")?;
            columns::check(&columns, "--columns").map_err(|problem| anyhow!("{}", problem.detail))?;
            Ok(columns)
        });
        Ok(Columns { ranges: ranges.transpose()?, columns: columns.transpose()?, delimiter })
    }
}

/// Reads a separator: `\t` is a tab, and so is none.
pub(crate) fn separator(text: Option<&str>) -> Vec<u8> {
    text.unwrap_or("\t").replace("\\t", "\t").into_bytes()
}

/// First and last field, from 0.
type Range = (usize, usize);

fn range(text: &str) -> Result<Range> {
    let bad = || format!("`{text}` is no field: 2, 2-4 and 3- are, counted from 1");
    let number = |text: &str| text.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).with_context(bad);
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, "")) => (number(first)?, usize::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    ensure!(first <= last, bad());
    Ok((first, last))
}

/// Chooses fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Columns {
    ranges: Option<Vec<Range>>,
    /// Of records that are JSON.
    columns: Option<Vec<Column>>,
    delimiter: Vec<u8>,
}

impl Columns {
    /// Returns the chosen fields with the delimiter between them; one that is missing is empty, a range ends where the line does.
    pub(crate) fn of<'a>(&self, line: &'a [u8], joined: &'a mut Vec<u8>) -> &'a [u8] {
        if let Some(columns) = &self.columns {
            self.push_columns(columns, line, joined);
            return joined;
        }
        let Some(ranges) = &self.ranges else { return line };
        if let [(first, last)] = ranges[..]
            && first == last
        {
            return split(line, &self.delimiter).nth(first).unwrap_or_default();
        }
        joined.clear();
        for (index, &(first, last)) in ranges.iter().enumerate() {
            if index > 0 {
                joined.extend_from_slice(&self.delimiter);
            }
            let fields = split(line, &self.delimiter).skip(first).take((last - first).saturating_add(1));
            for (index, field) in fields.enumerate() {
                if index > 0 {
                    joined.extend_from_slice(&self.delimiter);
                }
                joined.extend_from_slice(field);
            }
        }
        joined
    }
}

/// Writes out what would end a line or a field.
fn push_value(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match b"\t\n\r\\".iter().position(|special| *special == byte) {
            Some(index) => out.extend_from_slice(&[b'\\', b"tnr\\"[index]]),
            None => out.push(byte),
        }
    }
}

impl Columns {
    /// Writes the values as text; what would end a line or a field is written out, as in rows of tabs.
    fn push_columns(&self, columns: &[Column], record: &[u8], joined: &mut Vec<u8>) {
        joined.clear();
        let found = columns::find(columns, record);
        for index in 0..columns.len() {
            if index > 0 {
                joined.extend_from_slice(&self.delimiter);
            }
            if let Some(value) = found.get(index).copied().flatten() {
                push_value(&columns::text(value), joined);
            }
        }
    }
}

/// Cuts a line at each delimiter.
pub(crate) fn split<'a>(line: &'a [u8], delimiter: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        match memchr::memmem::find(line, delimiter) {
            Some(at) => {
                rest = Some(&line[at + delimiter.len()..]);
                Some(&line[..at])
            }
            None => rest.take(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: Option<&str>, delimiter: &str, line: &str) -> String {
        let (fields, delimiter) = (fields.map(str::to_owned), Some(delimiter.to_owned()));
        let flags = ColumnFlags { fields, delimiter, columns: None };
        let columns = flags.columns().expect("fields");
        String::from_utf8(columns.of(line.as_bytes(), &mut Vec::new()).to_vec()).expect("UTF-8")
    }

    #[test]
    fn fields_are_those_of_cut() {
        assert_eq!(of(None, ",", "a,b"), "a,b");
        assert_eq!(of(Some("2"), ",", "a,b,c"), "b");
        assert_eq!(of(Some("3,1"), ",", "a,b,c"), "c,a", "in the order given");
        assert_eq!(of(Some("2-3"), ", ", "a, b, c, d"), "b, c");
        assert_eq!(of(Some("2-"), "\\t", "a\tb\tc"), "b\tc");
        assert_eq!(of(Some("9"), ",", "a,b"), "");
        assert_eq!(of(Some("1,9"), ",", "a,b"), "a,");
        assert_eq!(of(Some("1"), ",", ""), "");
        for bad in ["0", "", "x", "3-2", "-2", "1,,2"] {
            let flags = ColumnFlags { fields: Some(bad.to_owned()), ..ColumnFlags::default() };
            assert!(flags.columns().is_err(), "{bad}");
        }
        assert!(ColumnFlags { delimiter: Some(String::new()), ..ColumnFlags::default() }.columns().is_err());
    }

    #[test]
    fn columns_of_json_are_chosen_by_name_and_number() {
        let flags = ColumnFlags { fields: Some("b,1".to_owned()), ..ColumnFlags::default() };
        let format: InputFormat = serde_json::from_str(r#"{"ndjson":{}}"#).expect("a format");
        let args = flags.args(&format).expect("arguments");
        assert_eq!(args, [r#"--columns=[{"name":"b"},{"number":1}]"#]);
        assert_eq!(flags.args(&InputFormat::default()).expect("arguments"), ["--fields=b,1"]);
        let columns =
            super::super::flags::read::<ColumnFlags>(&args).and_then(|flags| flags.columns()).expect("columns");
        let of =
            |record: &str| String::from_utf8(columns.of(record.as_bytes(), &mut Vec::new()).to_vec()).expect("UTF-8");
        assert_eq!(of(r#"{"a":7,"b":"x\ty\\"}"#), "x\\ty\\\\\t7");
        assert_eq!(of(r#"{"a":null}"#), "\t");
        let bad = ColumnFlags { columns: Some("[{}]".to_owned()), ..ColumnFlags::default() };
        assert!(bad.columns().is_err());
    }
}
