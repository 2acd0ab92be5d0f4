//! Records of every format in a stretch of a file, as a sort's maps are given them: what split points are chosen from.
//!
//! A stretch begins and ends anywhere. What is cut off, or is taken for a record and is none (behind a line feed inside quotes),
//! only makes parts a little less equal: every record still goes to the part that its key belongs to.

use std::iter;

use gristmill_common::csv::{Parsed, Parser, push_json};
use gristmill_common::format::{Csv, InputFormat, Rows};
use gristmill_common::limits;
use memchr::memmem;

/// Takes records out of stretches.
pub(super) struct Taker<'f> {
    format: &'f InputFormat,
    /// What the first row of the file at hand says, of csv.
    first: Option<FirstRow>,
}

#[derive(Default)]
pub(super) struct FirstRow {
    /// Names in quotes, if it names the fields and rows are given with them.
    pub(super) names: Option<Vec<String>>,
    pub(super) fields: usize,
    /// Bytes before the first row of data.
    bytes: usize,
}

impl<'f> Taker<'f> {
    pub(super) fn new(format: &'f InputFormat) -> Self {
        Self { format, first: None }
    }

    /// Whether the beginning of each file says what its records are.
    pub(super) fn needs_beginning(&self) -> bool {
        matches!(self.format, InputFormat::Csv(_))
    }

    /// Goes to another file.
    pub(super) fn begin(&mut self, beginning: &[u8]) {
        if let InputFormat::Csv(csv) = self.format {
            self.first = first_row(csv, beginning);
        }
    }

    /// Gives the records of a stretch to the function. `offset`: where it begins in the file; the first record that starts behind its
    /// first byte is the first one, unless that is the file's.
    pub(super) fn each(&self, text: &[u8], offset: u64, take: &mut dyn FnMut(&[u8])) {
        match self.format {
            InputFormat::Lines(lines) => cut(text, offset, lines.delimiter.as_bytes()).for_each(take),
            InputFormat::KeyValue(format) => cut(text, offset, b"\n").for_each(|line| {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let separator = format.separator.as_bytes();
                let key = memmem::find(line, separator).unwrap_or(line.len());
                take(&[&line[..key], b"\t", line.get(key + separator.len()..).unwrap_or_default()].concat());
            }),
            InputFormat::Ndjson(_) => {
                let lines = cut(text, offset, b"\n").map(<[u8]>::trim_ascii);
                lines.filter(|line| line.ends_with(b"}") || line.ends_with(b"]")).for_each(take);
            }
            InputFormat::Fixed(fixed) => {
                let ahead = (fixed.bytes - offset % fixed.bytes) % fixed.bytes;
                let (ahead, length) = (usize::try_from(ahead), usize::try_from(fixed.bytes));
                let (Ok(ahead), Ok(length)) = (ahead, length) else { return };
                let records = text.get(ahead..).unwrap_or_default().chunks_exact(length.max(1));
                records.take(limits::SAMPLE_RECORDS).for_each(take);
            }
            InputFormat::Csv(csv) => self.each_row(csv, text, offset, take),
            // Nobody sorts these.
            InputFormat::WholeFile(_) | InputFormat::Parquet(_) => {}
        }
    }

    fn each_row(&self, csv: &Csv, text: &[u8], offset: u64, take: &mut dyn FnMut(&[u8])) {
        let Some(first) = &self.first else { return };
        let start = if offset == 0 { Some(first.bytes) } else { memchr::memchr(b'\n', text).map(|end| end + 1) };
        let mut rest = start.and_then(|start| text.get(start..)).unwrap_or_default();
        let (mut parser, mut row) = (Parser::new(csv), Vec::new());
        for _ in 0..limits::SAMPLE_RECORDS {
            let length = match parser.parse(rest, false) {
                Parsed::Open => break,
                Parsed::Bad(length, _) => length,
                Parsed::Row(length) => {
                    row.clear();
                    let names = first.names.as_deref();
                    if parser.count() == first.fields && parser.write(rest, names, csv.rows, &mut row).is_ok() {
                        take(&row);
                    }
                    length
                }
            };
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Reads the first row of a file; `None` if it does not end in these bytes.
pub(super) fn first_row(csv: &Csv, beginning: &[u8]) -> Option<FirstRow> {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
    let (mut parser, mut at) = (Parser::new(csv), 0);
    loop {
        let Parsed::Row(length) = parser.parse(text.get(at..)?, false) else { return None };
        if parser.count() > 0 {
            let before = beginning.len() - text.len() + at;
            let fields = parser.count();
            if !csv.header {
                return Some(FirstRow { names: None, fields, bytes: before });
            }
            let names = parser.fields(&text[at..]).map(|name| {
                let mut quoted = Vec::new();
                push_json(&String::from_utf8_lossy(&name), &mut quoted);
                String::from_utf8(quoted).unwrap_or_default()
            });
            let names = (csv.rows == Rows::Ndjson).then(|| names.collect());
            return Some(FirstRow { names, fields, bytes: before + length });
        }
        at += length;
    }
}

/// Returns the records that start in a stretch of text; the last may be cut off.
fn cut<'t>(text: &'t [u8], offset: u64, delimiter: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
    let first = if offset == 0 { Some(0) } else { memmem::find(text, delimiter).map(|at| at + delimiter.len()) };
    let mut rest = first.and_then(|first| text.get(first..)).unwrap_or_default();
    let records = iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memmem::find(rest, delimiter).unwrap_or(rest.len());
        let record = &rest[..end];
        rest = rest.get(end + delimiter.len()..).unwrap_or_default();
        Some(record)
    });
    records.take(limits::SAMPLE_RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(format: &str, beginning: &str, text: &str, offset: u64) -> Vec<String> {
        let format = serde_json::from_str(format).expect(format);
        let mut taker = Taker::new(&format);
        taker.begin(beginning.as_bytes());
        let mut all = Vec::new();
        taker.each(text.as_bytes(), offset, &mut |record| all.push(String::from_utf8_lossy(record).into_owned()));
        all
    }

    #[test]
    fn only_whole_beginnings_of_lines_are_taken() {
        let found = |text: &str, offset| taken(r#"{"lines":{}}"#, "", text, offset);
        assert_eq!(found("a\nb\nc", 0), ["a", "b", "c"]);
        assert_eq!(found("a\nb\nc", 5), ["b", "c"]);
        assert_eq!(found("\nb\n", 5), ["b"], "a line starts behind the byte before");
        assert_eq!(found("in the middle of a long line", 5), [""; 0]);
        assert_eq!(found("a\n\nb", 0), ["a", "", "b"]);
        assert_eq!(found(&"a\n".repeat(9_999), 0).len(), limits::SAMPLE_RECORDS);
        assert_eq!(taken(r#"{"lines":{"delimiter":"||"}}"#, "", "a||b\n||c", 9), ["b\n", "c"]);
    }

    #[test]
    fn records_are_taken_as_maps_are_given_them() {
        assert_eq!(taken(r#"{"key_value":{"separator":": "}}"#, "", "x\na: 1\r\nb\n", 1), ["a\t1", "b\t"]);
        assert_eq!(taken(r#"{"ndjson":{}}"#, "", "x\n {\"a\":1} \n\n{\"a\":2}\n{\"a\"", 1), ["{\"a\":1}", "{\"a\":2}"]);
        assert_eq!(taken(r#"{"fixed":{"bytes":4}}"#, "", "xaaaabbbbc", 7), ["aaaa", "bbbb"]);
        assert_eq!(taken(r#"{"fixed":{"bytes":4}}"#, "", "aaaab", 8), ["aaaa"]);
    }

    #[test]
    fn rows_are_taken_with_the_names_of_their_file() {
        let csv = r#"{"csv":{"header":true}}"#;
        let beginning = "\u{feff}\nn,\"a\"\"b\"\n1,x\n2,\"y\n\"\n3";
        let rows = [r#"{"n":"1","a\"b":"x"}"#, r#"{"n":"2","a\"b":"y\n"}"#];
        assert_eq!(taken(csv, beginning, beginning, 0), rows);
        assert_eq!(taken(csv, beginning, "in\",z\n1,x\n1,2,3\n2,\"y\n\"\n\"open\n", 900), rows);
        assert_eq!(taken(csv, "no end of the header", "1,x\n2,y\n", 0), [""; 0]);
        assert_eq!(taken(r#"{"csv":{"rows":"tsv"}}"#, "1,x\n", "1,x\n2,y\n", 0), ["1\tx", "2\ty"]);
        assert_eq!(taken(r#"{"csv":{}}"#, "1,x\n", "1,x\n2,y\n", 0), [r#"["1","x"]"#, r#"["2","y"]"#]);
    }
}
