//! What the output is written as, on the command line of `run` and `submit`.

use clap::{Args, ValueEnum};
use gristmill_common::output::{CsvOutput, NdjsonOutput, OutputColumn, OutputCompression, OutputFormat, ParquetOutput};

use super::exit::Usage;

/// The format of the output.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the output is written as")]
pub struct OutputArgs {
    /// What each line of the output becomes, its fields the text between tabs [default: the line]
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<OutputKind>,

    /// Names of the fields, with types: word,count:int64,share:double [default: key,value]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = OutputColumn::parse, requires = "output_format")]
    pub output_columns: Vec<OutputColumn>,

    /// Between the fields of a csv row, instead of a comma
    #[arg(long, value_name = "CHARACTER", requires = "output_format")]
    pub output_delimiter: Option<String>,

    /// A first row in each csv file that names the fields
    #[arg(long, requires = "output_format")]
    pub output_header: bool,

    /// Pack the files of the output: of a directory, or one file that is not merged by key
    #[arg(long, value_name = "HOW", requires = "output")]
    pub compress: Option<Compress>,
}

/// A format by its word.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputKind {
    /// The line as it is
    Text,
    /// A JSON object
    Ndjson,
    /// A row of fields
    Csv,
    /// A row of a Parquet file
    Parquet,
}

/// How files are packed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compress {
    /// Not at all
    None,
    /// gzip
    Gzip,
    /// Zstandard
    Zstd,
    /// LZ4 frames
    Lz4,
    /// bzip2
    Bzip2,
}

impl OutputArgs {
    /// Says whether anything of it is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.output_format.is_some() || self.compress.is_some()
    }

    /// Returns the format; what the values may be is checked with the spec.
    ///
    /// # Errors
    /// If flags are given that do not go together.
    pub fn format(&self) -> Result<OutputFormat, Usage> {
        let kind = self.output_format.unwrap_or(OutputKind::Text);
        if kind != OutputKind::Csv && (self.output_header || self.output_delimiter.is_some()) {
            return Err(Usage("--output-header and --output-delimiter are for --output-format csv".to_owned()));
        }
        let columns = self.output_columns.clone();
        let given = !columns.is_empty();
        Ok(match kind {
            OutputKind::Text if given => {
                return Err(Usage("--output-columns is for --output-format ndjson, csv and parquet".to_owned()));
            }
            OutputKind::Text => OutputFormat::default(),
            OutputKind::Ndjson if given => OutputFormat::Ndjson(NdjsonOutput { columns }),
            OutputKind::Ndjson => OutputFormat::Ndjson(NdjsonOutput::default()),
            OutputKind::Csv => {
                let plain = CsvOutput { header: self.output_header, ..CsvOutput::default() };
                let delimiter = self.output_delimiter.clone().unwrap_or(plain.delimiter);
                let columns = if given { columns } else { plain.columns };
                OutputFormat::Csv(CsvOutput { columns, delimiter, header: plain.header })
            }
            OutputKind::Parquet if given => OutputFormat::Parquet(ParquetOutput { columns }),
            OutputKind::Parquet => OutputFormat::Parquet(ParquetOutput::default()),
        })
    }

    /// Returns how files are packed.
    #[must_use]
    pub fn compression(&self) -> OutputCompression {
        match self.compress {
            None | Some(Compress::None) => OutputCompression::None,
            Some(Compress::Gzip) => OutputCompression::Gzip,
            Some(Compress::Zstd) => OutputCompression::Zstd,
            Some(Compress::Lz4) => OutputCompression::Lz4,
            Some(Compress::Bzip2) => OutputCompression::Bzip2,
        }
    }
}
