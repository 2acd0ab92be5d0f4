//! Fields of a line, chosen as `cut` does: `2`, `1,3`, `2-4`, `3-`.

use anyhow::{Context, Result, ensure};
use clap::Args;

/// The flags that choose fields.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ColumnFlags {
    /// Fields, as cut -f: `2`, `1,3`, `2-4`, `3-`, in the order given [default: the whole line]
    #[arg(short = 'f', long = "fields", value_name = "LIST", id = "column_fields")]
    pub(crate) fields: Option<String>,

    /// Between fields; `\t` is a tab [default: a tab]
    #[arg(short = 'd', long = "field-separator", short_alias = 't', value_name = "TEXT", id = "column_delimiter")]
    pub(crate) delimiter: Option<String>,
}

impl ColumnFlags {
    /// Writes them as arguments of a program.
    pub(crate) fn args(&self) -> Vec<String> {
        let flag = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
        flag("--fields", &self.fields).into_iter().chain(flag("--field-separator", &self.delimiter)).collect()
    }

    pub(crate) fn columns(&self) -> Result<Columns> {
        let delimiter = separator(self.delimiter.as_deref());
        ensure!(!delimiter.is_empty(), "an empty delimiter is between no fields");
        let ranges = self.fields.as_deref().map(|list| list.split(',').map(range).collect::<Result<_>>());
        Ok(Columns { ranges: ranges.transpose()?, delimiter })
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
    delimiter: Vec<u8>,
}

impl Columns {
    /// Returns the chosen fields with the delimiter between them; one that is missing is empty, a range ends where the line does.
    pub(crate) fn of<'a>(&self, line: &'a [u8], joined: &'a mut Vec<u8>) -> &'a [u8] {
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
        let flags = ColumnFlags { fields: fields.map(str::to_owned), delimiter: Some(delimiter.to_owned()) };
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
            let flags = ColumnFlags { fields: Some(bad.to_owned()), delimiter: None };
            assert!(flags.columns().is_err(), "{bad}");
        }
        assert!(ColumnFlags { fields: None, delimiter: Some(String::new()) }.columns().is_err());
    }
}
