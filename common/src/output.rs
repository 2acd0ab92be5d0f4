//! What a job's output is written as: the lines of the program, or rows of named columns, packed or not.
//!
//! A row is a line of the program, its fields the text between tabs. It is part of the spec and, unchanged, of the plan's last step:
//! workers write rows, so a row that does not fit fails the task that made it. `docs/formats.md` says it for users.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::problem::Problem;

/// What each line of the output becomes.
///
/// ```json
/// { "csv": { "columns": [{ "name": "word" }, { "name": "count", "type": "int64" }], "header": true } }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OutputFormat {
    /// The line as it is.
    Text(TextOutput),
    /// A JSON object on a line.
    Ndjson(NdjsonOutput),
    /// A row as RFC 4180 has it, but ended by LF.
    Csv(CsvOutput),
    /// A row of a Parquet file.
    Parquet(ParquetOutput),
}

/// The line as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextOutput {}

/// A JSON object on a line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NdjsonOutput {
    /// The fields of a line, in order.
    pub columns: Vec<OutputColumn>,
}

/// A row of fields.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CsvOutput {
    /// The fields of a line, in order.
    pub columns: Vec<OutputColumn>,
    /// Between fields: one ASCII character.
    pub delimiter: String,
    /// Whether a row with the columns' names stands first in each file.
    pub header: bool,
}

/// A row of a Parquet file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetOutput {
    /// The fields of a line, in order.
    pub columns: Vec<OutputColumn>,
}

/// A field of each line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// What its text has to be.
    #[serde(rename = "type", default)]
    pub kind: ColumnKind,
}

/// What the text of a field has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Any text; UTF-8 in JSON and Parquet.
    #[default]
    String,
    /// A decimal number of 64 bits.
    Int64,
    /// A number of 64 bits, finite in JSON.
    Double,
}

/// How the files of an output are packed; the pages inside of Parquet files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputCompression {
    /// Not at all.
    #[default]
    None,
    /// gzip, level 6.
    Gzip,
    /// Zstandard, level 3.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// bzip2, level 9.
    Bzip2,
}

impl Default for OutputFormat {
    fn default() -> Self {
        Self::Text(TextOutput {})
    }
}

fn key_and_value() -> Vec<OutputColumn> {
    ["key", "value"].map(|name| OutputColumn { name: name.to_owned(), kind: ColumnKind::String }).to_vec()
}

impl Default for NdjsonOutput {
    fn default() -> Self {
        Self { columns: key_and_value() }
    }
}

impl Default for CsvOutput {
    fn default() -> Self {
        Self { columns: key_and_value(), delimiter: ",".to_owned(), header: false }
    }
}

impl Default for ParquetOutput {
    fn default() -> Self {
        Self { columns: key_and_value() }
    }
}

impl OutputColumn {
    /// Reads `NAME` or `NAME:TYPE`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, kind) = match text.rsplit_once(':') {
            None => (text, ColumnKind::String),
            Some((name, "string")) => (name, ColumnKind::String),
            Some((name, "int64")) => (name, ColumnKind::Int64),
            Some((name, "double")) => (name, ColumnKind::Double),
            Some((_, other)) => return Err(format!("`{other}` is no type: string, int64 and double are")),
        };
        Ok(Self { name: name.to_owned(), kind })
    }
}

impl OutputFormat {
    /// Returns the columns; none of lines.
    #[must_use]
    pub fn columns(&self) -> &[OutputColumn] {
        match self {
            Self::Text(_) => &[],
            Self::Ndjson(NdjsonOutput { columns })
            | Self::Csv(CsvOutput { columns, .. })
            | Self::Parquet(ParquetOutput { columns }) => columns,
        }
    }

    /// Returns what stands first in each file that it is the format of.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Self::Csv(csv) = self
            && csv.header
        {
            let names: Vec<&[u8]> = csv.columns.iter().map(|column| column.name.as_bytes()).collect();
            csv.push_row(&names, &mut out);
        }
        out
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the first wrong place.
    pub fn check(&self) -> Result<(), Problem> {
        let word = match self {
            Self::Text(_) => return Ok(()),
            Self::Ndjson(_) => "ndjson",
            Self::Csv(csv) => {
                let is_one =
                    matches!(csv.delimiter.as_bytes(), [byte] if byte.is_ascii() && !b"\n\r\0\"".contains(byte));
                if !is_one {
                    let detail = "one ASCII character is expected, no quote and no line end";
                    return Err(Problem::at("/output/format/csv/delimiter", detail));
                }
                "csv"
            }
            Self::Parquet(_) => "parquet",
        };
        let at = format!("/output/format/{word}/columns");
        let columns = self.columns();
        if columns.is_empty() || columns.len() > limits::COLUMNS {
            return Err(Problem::at(at, format!("1 to {} are allowed", limits::COLUMNS)));
        }
        let mut seen = std::collections::BTreeSet::new();
        for column in columns {
            if column.name.is_empty() {
                return Err(Problem::at(at, "a column has no name"));
            }
            if !seen.insert(column.name.as_str()) {
                return Err(Problem::at(at, format!("`{}` is named twice", column.name)));
            }
        }
        Ok(())
    }
}

impl CsvOutput {
    /// Appends a row. Fields with a delimiter, quote or line end in them are quoted.
    pub fn push_row(&self, fields: &[&[u8]], out: &mut Vec<u8>) {
        let delimiter = self.delimiter.bytes().next().unwrap_or(b',');
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                out.push(delimiter);
            }
            let is_special = |byte: &u8| *byte == delimiter || b"\"\r\n".contains(byte);
            // A row of one empty field would be an empty line, which is none.
            if field.iter().any(is_special) || field.is_empty() && fields.len() == 1 {
                out.push(b'"');
                for byte in *field {
                    if *byte == b'"' {
                        out.push(b'"');
                    }
                    out.push(*byte);
                }
                out.push(b'"');
            } else {
                out.extend_from_slice(field);
            }
        }
        out.push(b'\n');
    }
}

impl OutputCompression {
    /// Returns what the names of files end in.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Lz4 => ".lz4",
            Self::Bzip2 => ".bz2",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_with_their_defaults_and_check_their_columns() {
        let read = |text: &str| serde_json::from_str::<OutputFormat>(text).expect(text);
        let csv = read(r#"{"csv":{"columns":[{"name":"word"},{"name":"n","type":"int64"}],"header":true}}"#);
        assert_eq!(csv.header(), b"word,n\n");
        assert_eq!(csv.columns()[1], OutputColumn::parse("n:int64").expect("a column"));
        assert_eq!(read(r#"{"parquet":{}}"#).columns().len(), 2);
        assert_eq!(read(r#"{"text":{}}"#), OutputFormat::default());
        for wrong in [
            r#"{"csv":{"columns":[]}}"#,
            r#"{"ndjson":{"columns":[{"name":"a"},{"name":"a"}]}}"#,
            r#"{"parquet":{"columns":[{"name":""}]}}"#,
            r#"{"csv":{"delimiter":"\""}}"#,
            r#"{"csv":{"delimiter":";;"}}"#,
        ] {
            assert!(read(wrong).check().is_err(), "{wrong}");
        }
        assert!(OutputColumn::parse("n:int32").is_err());
    }

    #[test]
    fn fields_that_need_quotes_have_them() {
        let mut out = Vec::new();
        let csv = CsvOutput { delimiter: ";".to_owned(), ..CsvOutput::default() };
        csv.push_row(&[b"a;b", b"say \"x\"", b"", b"a,b"], &mut out);
        csv.push_row(&[b""], &mut out);
        assert_eq!(out, b"\"a;b\";\"say \"\"x\"\"\";;a,b\n\"\"\n");
    }
}
