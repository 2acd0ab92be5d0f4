//! What the inputs hold, on the command line of `run` and `submit`.

use clap::{Args, ValueEnum};
use gristmill_common::format::{Csv, Fixed, InputFormat, KeyValue, Lines, Ndjson, Parquet, Rows, WholeFile};

use super::exit::Usage;

/// The format of the inputs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the inputs hold")]
pub struct FormatArgs {
    /// What a record is [default: a line]. Files packed with gzip, bzip2, zstd or lz4 are known by their content
    #[arg(long, value_name = "FORMAT", conflicts_with = "generate")]
    pub input_format: Option<Kind>,

    /// What ends a record (lines), or stands between fields (csv) or key and value (key-value); \\t, \\n, \\r and \\0 are known
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub delimiter: Option<String>,

    /// The first row of each csv file names its fields
    #[arg(long)]
    pub header: bool,

    /// No csv field holds a line feed: large files can then be cut into splits
    #[arg(long)]
    pub no_multiline: bool,

    /// Columns of Parquet files that are read, with commas between [default: all]
    #[arg(long = "input-columns", value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// What programs are given of a row of csv or Parquet: a JSON text, or fields with tabs between
    #[arg(long, value_name = "FORM")]
    pub rows: Option<RowForm>,

    /// Records of so many bytes each
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["generate", "delimiter"])]
    pub records_of: Option<u64>,
}

/// A format by its word.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text up to a delimiter
    Lines,
    /// A line: key, delimiter (a tab), value
    KeyValue,
    /// A line that is a JSON text
    Ndjson,
    /// A row of fields
    Csv,
    /// A row of a Parquet file
    Parquet,
    /// All of a file, which is a task
    WholeFile,
}

/// What programs are given of a row.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowForm {
    /// A JSON object with the header's names, or an array
    Ndjson,
    /// Fields with tabs between
    Tsv,
}

impl FormatArgs {
    /// Says whether anything of it is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.input_format.is_some()
            || self.delimiter.is_some()
            || self.records_of.is_some()
            || self.is_of_csv()
            || self.rows.is_some()
            || !self.columns.is_empty()
    }

    fn is_of_csv(&self) -> bool {
        self.header || self.no_multiline
    }

    /// Returns the format; what the values may be is checked with the spec.
    ///
    /// # Errors
    /// If flags are given that do not go together.
    pub fn format(&self) -> Result<InputFormat, Usage> {
        let kind = self.input_format;
        if self.is_of_csv() && kind != Some(Kind::Csv) {
            return Err(Usage("--header and --no-multiline are for --input-format csv".to_owned()));
        }
        if self.rows.is_some() && !matches!(kind, Some(Kind::Csv | Kind::Parquet)) {
            return Err(Usage("--rows is for --input-format csv and parquet".to_owned()));
        }
        if !self.columns.is_empty() && kind != Some(Kind::Parquet) {
            return Err(Usage("--input-columns is for --input-format parquet".to_owned()));
        }
        let delimiter = self.delimiter.as_deref().map(unescaped);
        if let Some(bytes) = self.records_of {
            return match kind {
                None => Ok(InputFormat::Fixed(Fixed { bytes })),
                Some(_) => Err(Usage("--records-of is a format of its own: leave out --input-format".to_owned())),
            };
        }
        Ok(match (kind, delimiter) {
            (None | Some(Kind::Lines), None) => InputFormat::default(),
            (None | Some(Kind::Lines), Some(delimiter)) => InputFormat::Lines(Lines { delimiter }),
            (Some(Kind::KeyValue), separator) => {
                InputFormat::KeyValue(separator.map_or_else(KeyValue::default, |separator| KeyValue { separator }))
            }
            (Some(Kind::Csv), delimiter) => InputFormat::Csv(self.csv(delimiter)),
            (Some(Kind::Ndjson), None) => InputFormat::Ndjson(Ndjson {}),
            (Some(Kind::WholeFile), None) => InputFormat::WholeFile(WholeFile {}),
            (Some(Kind::Parquet), None) => {
                InputFormat::Parquet(Parquet { columns: self.columns.clone(), rows: self.row_form() })
            }
            (Some(Kind::Ndjson | Kind::WholeFile | Kind::Parquet), Some(_)) => {
                return Err(Usage("--delimiter is for lines, key-value and csv".to_owned()));
            }
        })
    }

    fn row_form(&self) -> Rows {
        match self.rows {
            None | Some(RowForm::Ndjson) => Rows::Ndjson,
            Some(RowForm::Tsv) => Rows::Tsv,
        }
    }

    fn csv(&self, delimiter: Option<String>) -> Csv {
        let rows = self.row_form();
        let plain = Csv { header: self.header, multiline: !self.no_multiline, rows, ..Csv::default() };
        match delimiter {
            None => plain,
            Some(delimiter) => Csv { delimiter, ..plain },
        }
    }
}

/// Returns the text with the characters that are hard to type.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('0')) => out.push('\0'),
            ('\\', Some('\\')) => out.push('\\'),
            _ => {
                out.push(character);
                continue;
            }
        }
        characters.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_formats() {
        let none = FormatArgs::default;
        assert!(none().format().expect("lines").is_plain_lines());
        let lines = FormatArgs { delimiter: Some("\\r\\n\\\\;".to_owned()), ..none() };
        assert_eq!(lines.format().expect("lines"), InputFormat::Lines(Lines { delimiter: "\r\n\\;".to_owned() }));
        let fixed = FormatArgs { records_of: Some(100), ..none() };
        assert_eq!(fixed.format().expect("fixed"), InputFormat::Fixed(Fixed { bytes: 100 }));
        let csv = FormatArgs { input_format: Some(Kind::Csv), header: true, delimiter: Some(";".to_owned()), ..none() };
        let expected = Csv { header: true, delimiter: ";".to_owned(), ..Csv::default() };
        assert_eq!(csv.format().expect("csv"), InputFormat::Csv(expected));
        let parquet = FormatArgs { input_format: Some(Kind::Parquet), columns: vec!["a".to_owned()], ..none() };
        let expected = Parquet { columns: vec!["a".to_owned()], ..Parquet::default() };
        assert_eq!(parquet.format().expect("parquet"), InputFormat::Parquet(expected));
        assert!(FormatArgs { columns: vec!["a".to_owned()], ..none() }.format().is_err());
        assert!(FormatArgs { rows: Some(RowForm::Tsv), ..none() }.format().is_err());
        assert!(FormatArgs { header: true, ..none() }.format().is_err());
        assert!(
            FormatArgs { input_format: Some(Kind::Ndjson), delimiter: Some(";".into()), ..none() }.format().is_err()
        );
    }
}
