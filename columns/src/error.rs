//! Why a Parquet file, or a row of it, cannot be read.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a Parquet file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not what it has to be.
    #[error("{why}")]
    Damaged {
        /// Offset in the file of what is wrong, or of what it is in.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// It is in order, and not built.
    #[error("{0}")]
    Unsupported(String),
    /// The columns are not those that were asked for.
    #[error("{0}")]
    Columns(String),
    /// The caller's function failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) fn damaged<T>(at: u64, why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Damaged { at, why: why.into() })
}

/// Calls the decoder, which checks its input but not all of it: a panic in there is a damaged file.
pub(crate) fn decoded<T>(at: u64, what: &str, call: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => damaged(at, format!("{what} cannot be decoded: {error}")),
        Err(_) => damaged(at, format!("{what} cannot be decoded: the decoder gave up")),
    }
}
