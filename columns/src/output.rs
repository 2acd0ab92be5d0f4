//! The files of an output: lines as its format has them, packed.

use std::io::{self, Write};

use gristmill_common::output::{ColumnKind, OutputColumn, OutputCompression, OutputFormat};

use crate::packer::Packer;
use crate::writer::{Field, TableWriter};

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// It does not fit the columns.
    #[error("{0}")]
    Row(String),
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file of an output. The same lines are the same bytes: levels are fixed, and nothing of the machine or the time goes in.
pub struct OutputFile<W: Write + Send>(Kind<W>);

enum Kind<W: Write + Send> {
    /// Lines of text, whatever they hold.
    Lines {
        format: OutputFormat,
        packer: Packer<W>,
        /// The line that is being made.
        line: Vec<u8>,
    },
    /// Rows of a Parquet file.
    Rows { columns: Vec<OutputColumn>, writer: Box<TableWriter<W>> },
}

impl<W: Write + Send> OutputFile<W> {
    /// Begins a file, with what stands first in it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(to: W, format: &OutputFormat, compression: OutputCompression) -> io::Result<Self> {
        if let OutputFormat::Parquet(parquet) = format {
            let writer = Box::new(TableWriter::new(to, &parquet.columns, compression)?);
            return Ok(Self(Kind::Rows { columns: parquet.columns.clone(), writer }));
        }
        let mut packer = Packer::new(compression, to)?;
        packer.write_all(&format.header())?;
        Ok(Self(Kind::Lines { format: format.clone(), packer, line: Vec::new() }))
    }

    /// Appends a line, without its line feed.
    ///
    /// # Errors
    /// If it does not fit, or the file cannot be written.
    pub fn push(&mut self, text: &[u8]) -> Result<(), RowError> {
        match &mut self.0 {
            Kind::Lines { format, packer, line } => {
                line.clear();
                push_line(format, text, line).map_err(RowError::Row)?;
                Ok(packer.write_all(line)?)
            }
            Kind::Rows { columns, writer } => {
                let fields = fields(columns, text).map_err(RowError::Row)?;
                let row = columns.iter().zip(fields).map(|(column, field)| typed(column, field));
                let row = row.collect::<Result<Vec<_>, _>>().map_err(RowError::Row)?;
                Ok(writer.push(&row)?)
            }
        }
    }

    /// Ends the file; gives back what was written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Kind::Lines { packer, .. } => packer.finish(),
            Kind::Rows { writer, .. } => writer.finish(),
        }
    }
}

/// Appends what a line, without its line feed, becomes, with its line feed.
///
/// # Errors
/// Why it does not fit.
pub fn push_line(format: &OutputFormat, line: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    match format {
        OutputFormat::Text(_) => out.extend_from_slice(line),
        OutputFormat::Csv(csv) => {
            let fields = fields(&csv.columns, line)?;
            for (column, field) in csv.columns.iter().zip(&fields) {
                typed_or_any(column, field)?;
            }
            csv.push_row(&fields, out);
            return Ok(());
        }
        OutputFormat::Ndjson(json) => push_object(&json.columns, line, out)?,
        OutputFormat::Parquet(_) => return Err("a row of Parquet is no line".to_owned()),
    }
    out.push(b'\n');
    Ok(())
}

fn push_object(columns: &[OutputColumn], line: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let fields = fields(columns, line)?;
    for (index, (column, field)) in columns.iter().zip(fields).enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, &column.name);
        out.push(b':');
        let _ = match typed(column, field)? {
            Field::String(text) => serde_json::to_writer(&mut *out, text),
            Field::Int64(number) => serde_json::to_writer(&mut *out, &number),
            Field::Double(number) if number.is_finite() => serde_json::to_writer(&mut *out, &number),
            Field::Double(number) => return Err(format!("column `{}`: {number} is no number of JSON", column.name)),
        };
    }
    out.push(b'}');
    Ok(())
}

/// Cuts a line at its tabs into a field for each column.
fn fields<'l>(columns: &[OutputColumn], line: &'l [u8]) -> Result<Vec<&'l [u8]>, String> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    if fields.len() == columns.len() {
        return Ok(fields);
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).take(20).collect();
    Err(format!(
        "the line has {} fields between tabs, the columns are {}: {}",
        fields.len(),
        columns.len(),
        names.join(", ")
    ))
}

fn typed<'l>(column: &OutputColumn, field: &'l [u8]) -> Result<Field<'l>, String> {
    let name = &column.name;
    let text = std::str::from_utf8(field).map_err(|_| format!("column `{name}`: the text is not UTF-8"))?;
    let shown = || text.chars().take(100).collect::<String>();
    match column.kind {
        ColumnKind::String => Ok(Field::String(text)),
        ColumnKind::Int64 => {
            text.parse().map(Field::Int64).map_err(|_| format!("column `{name}`: `{}` is no int64", shown()))
        }
        ColumnKind::Double => {
            let number: f64 = text.parse().map_err(|_| format!("column `{name}`: `{}` is no double", shown()))?;
            // Infinity is a word; digits that come out as it are of another number.
            if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
                return Err(format!("column `{name}`: `{}` is larger than any double", shown()));
            }
            Ok(Field::Double(number))
        }
    }
}

/// As [`typed`]; strings may be any bytes.
fn typed_or_any(column: &OutputColumn, field: &[u8]) -> Result<(), String> {
    if column.kind == ColumnKind::String { Ok(()) } else { typed(column, field).map(drop) }
}

#[cfg(test)]
mod tests {
    use gristmill_common::output::{CsvOutput, NdjsonOutput};

    use super::*;

    fn columns(names: &[&str]) -> Vec<OutputColumn> {
        names.iter().map(|name| OutputColumn::parse(name).expect("a column")).collect()
    }

    fn made(format: &OutputFormat, line: &str) -> Result<String, String> {
        let mut out = Vec::new();
        push_line(format, line.as_bytes(), &mut out).map(|()| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn lines_become_rows_of_their_columns() {
        let typed = columns(&["word", "n:int64", "share:double"]);
        let json = OutputFormat::Ndjson(NdjsonOutput { columns: typed.clone() });
        assert_eq!(
            made(&json, "say \"hi\"\t+7\t.5").expect("fits"),
            "{\"word\":\"say \\\"hi\\\"\",\"n\":7,\"share\":0.5}\n"
        );
        let csv = OutputFormat::Csv(CsvOutput { columns: typed, ..CsvOutput::default() });
        assert_eq!(made(&csv, "a,b\t+7\t.5").expect("fits"), "\"a,b\",+7,.5\n", "the text as the program wrote it");
        for (line, why) in [
            ("a\t1", "has 2 fields between tabs, the columns are 3: word, n, share"),
            ("a\tx\t1", "column `n`: `x` is no int64"),
            ("a\t1\t", "column `share`: `` is no double"),
            ("a\t1\t1e400", "column `share`: `1e400` is larger than any double"),
            ("a\t1\t-1e999", "column `share`: `-1e999` is larger than any double"),
        ] {
            for format in [&json, &csv] {
                assert!(made(format, line).expect_err("does not fit").contains(why), "{line}");
            }
        }
        assert!(made(&json, "a\t1\tinf").expect_err("no JSON").contains("no number of JSON"));
        assert_eq!(made(&OutputFormat::default(), "any\tline").expect("text"), "any\tline\n");
    }

    #[test]
    fn the_same_lines_are_the_same_bytes_and_unpack() {
        use std::io::Read as _;
        let lines: Vec<String> = (0..20_000).map(|i| format!("key {i}\t{i}")).collect();
        let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
        for compression in [
            OutputCompression::None,
            OutputCompression::Gzip,
            OutputCompression::Zstd,
            OutputCompression::Lz4,
            OutputCompression::Bzip2,
        ] {
            let write = || {
                let mut file = OutputFile::new(Vec::new(), &OutputFormat::default(), compression).expect("begun");
                lines.iter().for_each(|line| file.push(line.as_bytes()).expect("written"));
                file.finish().expect("ended")
            };
            let bytes = write();
            assert_eq!(bytes, write(), "{compression:?}");
            let twice = bytes.repeat(2);
            let mut text = String::new();
            let read = match compression {
                OutputCompression::None => (&*twice).read_to_string(&mut text),
                OutputCompression::Gzip => flate2::read::MultiGzDecoder::new(&*twice).read_to_string(&mut text),
                OutputCompression::Zstd => {
                    zstd::stream::read::Decoder::new(&*twice).expect("a decoder").read_to_string(&mut text)
                }
                OutputCompression::Bzip2 => bzip2::read::MultiBzDecoder::new(&*twice).read_to_string(&mut text),
                OutputCompression::Lz4 => lz4_flex::frame::FrameDecoder::new(&*bytes).read_to_string(&mut text),
            };
            read.expect("unpacked");
            let times = if compression == OutputCompression::Lz4 { 1 } else { 2 };
            assert_eq!(text, expected.repeat(times), "{compression:?}: files one after the other are a file");
        }
    }
}
