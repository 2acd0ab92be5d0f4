//! What input files hold: how their bytes are cut into records, and what user code is given of each.
//!
//! It is part of the spec and, unchanged, of the plan's first step. `docs/formats.md` says it for users.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::problem::Problem;

/// How the files of a job are cut into records; lines when a spec does not say.
///
/// ```json
/// { "csv": { "delimiter": ";", "header": true } }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputFormat {
    /// Text that ends at a delimiter.
    Lines(Lines),
    /// Each file is one record.
    WholeFile(WholeFile),
    /// Records of one length.
    Fixed(Fixed),
    /// Lines of key, separator, value: user code is given key, tab, value.
    KeyValue(KeyValue),
    /// Lines that are JSON texts; what is no JSON is a bad record, an empty line is none.
    Ndjson(Ndjson),
    /// Rows of fields, as RFC 4180 has them.
    Csv(Csv),
    /// Rows of Parquet files.
    Parquet(Parquet),
}

/// Text that ends at a delimiter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lines {
    /// What ends a record; not part of it.
    pub delimiter: String,
}

/// Each file is one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WholeFile {}

/// Records of one length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// Bytes of each.
    pub bytes: u64,
}

/// Lines of key, separator, value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyValue {
    /// Ends the key; a line without it is a key whose value is empty.
    pub separator: String,
}

/// Lines that are JSON texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ndjson {}

/// Rows of fields.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Csv {
    /// Between fields: one ASCII character.
    pub delimiter: String,
    /// Around fields that hold delimiters, line ends or quotes, which are then written twice: one ASCII character.
    pub quote: String,
    /// Whether the first row of each file names the fields.
    pub header: bool,
    /// Whether a quoted field may hold line feeds. Files are cut into splits only where it may not.
    pub multiline: bool,
    /// What user code is given of a row.
    pub rows: Rows,
}

/// Rows of Parquet files.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parquet {
    /// The columns that are read, in this order; all of the file when there are none.
    pub columns: Vec<String>,
    /// What user code is given of a row.
    pub rows: Rows,
}

/// What user code is given of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// A JSON object, named by the header or the columns; an array for CSV without a header. CSV has strings only.
    #[default]
    Ndjson,
    /// Fields with tabs between; a tab, line feed, carriage return or backslash in a field is `\t`, `\n`, `\r`, `\\`, and a
    /// column without a value `\N`.
    Tsv,
}

impl Default for InputFormat {
    fn default() -> Self {
        Self::Lines(Lines::default())
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self { delimiter: "\n".to_owned() }
    }
}

impl Default for KeyValue {
    fn default() -> Self {
        Self { separator: "\t".to_owned() }
    }
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            quote: "\"".to_owned(),
            header: false,
            multiline: true,
            rows: Rows::default(),
        }
    }
}

impl InputFormat {
    /// Says whether records are what they are when a spec does not say: lines that end at line feeds.
    #[must_use]
    pub fn is_plain_lines(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.delimiter == "\n")
    }

    /// Says whether every record ends at a line feed, so that files may be cut every so many of them.
    #[must_use]
    pub fn is_of_lines(&self) -> bool {
        match self {
            Self::Lines(_) => self.is_plain_lines(),
            Self::KeyValue(_) | Self::Ndjson(_) => true,
            Self::WholeFile(_) | Self::Fixed(_) | Self::Csv(_) | Self::Parquet(_) => false,
        }
    }

    /// Says why a file cannot be cut inside; `None` when it can.
    #[must_use]
    pub fn uncut(&self) -> Option<&'static str> {
        match self {
            Self::Lines(lines) if overlaps(lines.delimiter.as_bytes()) => {
                Some("its delimiter overlaps itself, so that where records begin is known only from the file's start")
            }
            Self::WholeFile(_) => Some("each file is one record"),
            Self::Csv(csv) if csv.multiline => {
                Some("quoted fields may hold line feeds; if none does, say `\"multiline\": false` (--no-multiline)")
            }
            Self::Lines(_) | Self::Fixed(_) | Self::KeyValue(_) | Self::Ndjson(_) | Self::Csv(_) | Self::Parquet(_) => {
                None
            }
        }
    }

    /// Says whether commands are given records one after the other as they are, without a line feed behind each.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::WholeFile(_) | Self::Fixed(_))
    }

    /// Says whether programs are given records that are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        match self {
            Self::Ndjson(_) => true,
            Self::Csv(csv) => csv.rows == Rows::Ndjson,
            Self::Parquet(parquet) => parquet.rows == Rows::Ndjson,
            Self::Lines(_) | Self::WholeFile(_) | Self::Fixed(_) | Self::KeyValue(_) => false,
        }
    }

    /// Returns what stands behind each record of a sorted output: what ended it, or a line feed where records are written anew.
    #[must_use]
    pub fn sorted_end(&self) -> &[u8] {
        match self {
            Self::Lines(lines) => lines.delimiter.as_bytes(),
            Self::Fixed(_) | Self::WholeFile(_) => b"",
            Self::KeyValue(_) | Self::Ndjson(_) | Self::Csv(_) | Self::Parquet(_) => b"\n",
        }
    }

    /// Returns the word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Lines(_) => "lines",
            Self::WholeFile(_) => "whole_file",
            Self::Fixed(_) => "fixed",
            Self::KeyValue(_) => "key_value",
            Self::Ndjson(_) => "ndjson",
            Self::Csv(_) => "csv",
            Self::Parquet(_) => "parquet",
        }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the first wrong place.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Lines(lines) => check_separator("/input_format/lines/delimiter", &lines.delimiter),
            Self::KeyValue(KeyValue { separator }) => {
                let at = "/input_format/key_value/separator";
                check_separator(at, separator)?;
                if separator.contains('\n') {
                    return Err(Problem::at(at, "lines end at line feeds: none can be in a separator"));
                }
                Ok(())
            }
            Self::Fixed(Fixed { bytes }) => {
                if *bytes == 0 || *bytes > limits::LINE_BYTES as u64 {
                    let detail = format!("{bytes} is not allowed: 1 to {} is", limits::LINE_BYTES);
                    return Err(Problem::at("/input_format/fixed/bytes", detail));
                }
                Ok(())
            }
            Self::Csv(csv) => csv.check(),
            Self::Parquet(parquet) => parquet.check(),
            Self::WholeFile(_) | Self::Ndjson(_) => Ok(()),
        }
    }
}

impl Csv {
    fn check(&self) -> Result<(), Problem> {
        for (name, character) in [("delimiter", &self.delimiter), ("quote", &self.quote)] {
            let is_one = matches!(character.as_bytes(), [byte] if byte.is_ascii() && !b"\n\r\0".contains(byte));
            if !is_one {
                let detail = "one ASCII character is expected, no line end";
                return Err(Problem::at(format!("/input_format/csv/{name}"), detail));
            }
        }
        if self.delimiter == self.quote {
            return Err(Problem::at("/input_format/csv/quote", "it is the delimiter too"));
        }
        Ok(())
    }
}

impl Parquet {
    fn check(&self) -> Result<(), Problem> {
        let at = "/input_format/parquet/columns";
        if self.columns.len() > limits::COLUMNS {
            return Err(Problem::at(at, format!("at most {} are allowed", limits::COLUMNS)));
        }
        let mut seen = std::collections::BTreeSet::new();
        match self.columns.iter().find(|name| !seen.insert(name.as_str())) {
            Some(name) => Err(Problem::at(at, format!("`{name}` is named twice"))),
            None => Ok(()),
        }
    }
}

fn check_separator(at: &str, separator: &str) -> Result<(), Problem> {
    if separator.is_empty() || separator.len() > limits::SEPARATOR_BYTES {
        return Err(Problem::at(at, format!("1 to {} bytes are allowed", limits::SEPARATOR_BYTES)));
    }
    Ok(())
}

/// Says whether the text can begin inside itself: `aa` and `abab` can, `\r\n` cannot.
fn overlaps(text: &[u8]) -> bool {
    (1..text.len()).any(|length| text[..length] == text[text.len() - length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_with_their_defaults() {
        let read = |text: &str| serde_json::from_str::<InputFormat>(text).expect(text);
        assert_eq!(read(r#"{"lines":{}}"#), InputFormat::default());
        assert!(read(r#"{"lines":{"delimiter":"\n"}}"#).is_plain_lines());
        assert_eq!(read(r#"{"csv":{"header":true}}"#), InputFormat::Csv(Csv { header: true, ..Csv::default() }));
        assert_eq!(read(r#"{"fixed":{"bytes":100}}"#), InputFormat::Fixed(Fixed { bytes: 100 }));
        assert_eq!(read(r#"{"ndjson":{}}"#), InputFormat::Ndjson(Ndjson {}));
    }

    #[test]
    fn only_delimiters_that_cannot_overlap_are_looked_for_anywhere() {
        let uncut = |delimiter: &str| InputFormat::Lines(Lines { delimiter: delimiter.to_owned() }).uncut().is_some();
        assert!(uncut("aa") && uncut("abab") && uncut("--x--"));
        assert!(!uncut("\n") && !uncut("\r\n") && !uncut("ab") && !uncut("||x"));
    }
}
