//! Rows of comma-separated values, as RFC 4180 has them: where a row ends, and what its fields are.
//!
//! A field that begins with a quote goes to the quote that is not written twice; any other goes to the next delimiter or
//! line end, and a quote in it is a character like others. Rows end at LF or CRLF.

use crate::format::{Csv, Rows};
use memchr::{memchr, memchr2};

/// What was found at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A row of so many bytes, its line end included. An empty line is one without fields.
    Row(usize),
    /// No row; the next one begins behind so many bytes.
    Bad(usize, &'static str),
    /// The row does not end here.
    Open,
}

/// Takes rows apart.
#[derive(Clone, Debug)]
pub struct Parser {
    delimiter: u8,
    quote: u8,
    multiline: bool,
    fields: Vec<Field>,
}

/// A field of the row that was found last.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    end: usize,
    /// There are doubled quotes in it.
    is_escaped: bool,
}

impl Parser {
    /// Makes the parser of a format that was checked.
    #[must_use]
    pub fn new(csv: &Csv) -> Self {
        let one = |text: &str, other| text.bytes().next().unwrap_or(other);
        let (delimiter, quote) = (one(&csv.delimiter, b','), one(&csv.quote, b'"'));
        Self { delimiter, quote, multiline: csv.multiline, fields: Vec::new() }
    }

    /// Looks for the row at the beginning of the bytes.
    pub fn parse(&mut self, bytes: &[u8], at_end: bool) -> Parsed {
        self.fields.clear();
        match bytes {
            [] => return Parsed::Open,
            [b'\n', ..] => return Parsed::Row(1),
            [b'\r', b'\n', ..] => return Parsed::Row(2),
            [b'\r'] if !at_end => return Parsed::Open,
            _ => {}
        }
        let mut at = 0;
        loop {
            let found = if bytes.get(at) == Some(&self.quote) {
                self.quoted(bytes, at, at_end)
            } else {
                self.bare(bytes, at, at_end)
            };
            match found {
                Ok((next, true)) => return Parsed::Row(next),
                Ok((next, false)) => at = next,
                Err(parsed) => return parsed,
            }
        }
    }

    /// Returns where the next field or row begins, and whether it is a row.
    fn bare(&mut self, bytes: &[u8], start: usize, at_end: bool) -> Result<(usize, bool), Parsed> {
        let rest = bytes.get(start..).unwrap_or_default();
        let (end, next, is_row) = match memchr2(self.delimiter, b'\n', rest) {
            Some(at) if rest[at] == b'\n' => {
                let end = if at > 0 && rest[at - 1] == b'\r' { at - 1 } else { at };
                (end, at + 1, true)
            }
            Some(at) => (at, at + 1, false),
            None if at_end => (rest.len(), rest.len(), true),
            None => return Err(Parsed::Open),
        };
        self.fields.push(Field { start, end: start + end, is_escaped: false });
        Ok((start + next, is_row))
    }

    fn quoted(&mut self, bytes: &[u8], start: usize, at_end: bool) -> Result<(usize, bool), Parsed> {
        let (mut at, mut is_escaped) = (start + 1, false);
        let end = loop {
            let Some(found) = memchr(self.quote, &bytes[at..]) else {
                return Err(self.unclosed(bytes, start, at_end));
            };
            let quote = at + found;
            match bytes.get(quote + 1) {
                Some(next) if *next == self.quote => (at, is_escaped) = (quote + 2, true),
                None if !at_end => return Err(Parsed::Open),
                _ => break quote,
            }
        };
        if !self.multiline && memchr(b'\n', &bytes[start..end]).is_some() {
            return Err(self.unclosed(bytes, start, at_end));
        }
        self.fields.push(Field { start: start + 1, end, is_escaped });
        match bytes.get(end + 1..).unwrap_or_default() {
            [] => Ok((end + 1, true)),
            [b'\n', ..] => Ok((end + 2, true)),
            [b'\r', b'\n', ..] => Ok((end + 3, true)),
            [b'\r'] if !at_end => Err(Parsed::Open),
            [next, ..] if *next == self.delimiter => Ok((end + 2, false)),
            rest => match memchr(b'\n', rest) {
                Some(line) => Err(Parsed::Bad(end + 1 + line + 1, "there is text behind a closing quote")),
                None if at_end => Err(Parsed::Bad(bytes.len(), "there is text behind a closing quote")),
                None => Err(Parsed::Open),
            },
        }
    }

    /// A quote that is not closed: on its line, or in the rest of the file.
    fn unclosed(&self, bytes: &[u8], start: usize, at_end: bool) -> Parsed {
        let line = if self.multiline { None } else { memchr(b'\n', &bytes[start..]) };
        match line {
            Some(line) => Parsed::Bad(start + line + 1, "a quote is not closed on its line"),
            None if at_end => Parsed::Bad(bytes.len(), "a quote is not closed"),
            None => Parsed::Open,
        }
    }

    /// How many fields the row has that was found last.
    #[must_use]
    pub fn count(&self) -> usize {
        self.fields.len()
    }

    /// The fields of the row that was found last in these bytes.
    pub fn fields<'p>(&'p self, row: &'p [u8]) -> impl Iterator<Item = Vec<u8>> + 'p {
        self.fields.iter().map(|field| {
            let text = &row[field.start..field.end];
            if !field.is_escaped {
                return text.to_vec();
            }
            let mut out = Vec::with_capacity(text.len());
            let mut rest = text;
            while let Some(at) = memchr(self.quote, rest) {
                out.extend_from_slice(&rest[..=at]);
                rest = rest.get(at + 2..).unwrap_or_default();
            }
            out.extend_from_slice(rest);
            out
        })
    }

    /// Appends the row as user code is given it. `names`: keys in JSON, one for each field.
    ///
    /// # Errors
    /// When it cannot be written so.
    pub fn write(&self, row: &[u8], names: Option<&[String]>, rows: Rows, out: &mut Vec<u8>) -> Result<(), String> {
        match rows {
            Rows::Ndjson => self.write_json(row, names, out),
            Rows::Tsv => {
                for (index, field) in self.fields(row).enumerate() {
                    if index > 0 {
                        out.push(b'\t');
                    }
                    push_escaped(&field, out);
                }
                Ok(())
            }
        }
    }

    fn write_json(&self, row: &[u8], names: Option<&[String]>, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(if names.is_some() { b'{' } else { b'[' });
        for (index, field) in self.fields(row).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if let Some(name) = names.and_then(|names| names.get(index)) {
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
            }
            let text = std::str::from_utf8(&field).map_err(|_| format!("field {} is not UTF-8", index + 1))?;
            push_json(text, out);
        }
        out.push(if names.is_some() { b'}' } else { b']' });
        Ok(())
    }
}

/// Appends a JSON string.
pub fn push_json(text: &str, out: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends a field of a TSV row.
pub fn push_escaped(field: &[u8], out: &mut Vec<u8>) {
    for &byte in field {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => out.push(byte),
        }
    }
}
