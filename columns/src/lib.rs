//! Parquet files as rows of text, and lines of text as the files of an output.
//!
//! The crate `parquet` decodes footers and the values of pages; finding pages, checking every size that a file claims before
//! memory is taken for it, and unpacking them is done here, so that a hostile file is an error and no more. Files are read by a
//! function that the caller gives. Columns of plain values only: nested ones are refused by name.

mod decoded;
mod error;
mod footer;
mod output;
mod packer;
mod pages;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod thrift;
mod unpack;
mod writer;

pub use error::Error;
pub use footer::{Footer, Group, TAIL_BYTES, footer_bytes};
pub use output::{OutputFile, RowError, push_line};
pub use rows::{Form, Row, Rows};
pub use schema::{Column, difference};

/// Reads so many bytes of the file at an offset, no fewer.
pub type Fetch<'f> = dyn FnMut(u64, usize) -> std::io::Result<Vec<u8>> + 'f;
