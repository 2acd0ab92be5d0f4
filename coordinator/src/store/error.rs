//! Why a blob could not be written or read.

use gristmill_common::{Code, Problem};
use gristmill_runs::RunError;
use gristmill_storage::StorageError;

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no blob of that name.
    #[error("the store has no {what}")]
    NotFound {
        /// Which blob.
        what: String,
    },
    /// The name is not one of a map output or part.
    #[error("`{name}` is not the name of an output")]
    BadName {
        /// The name.
        name: String,
    },
    /// The bytes are not what was written, or not what was announced.
    #[error("{what} in the store is damaged: {why}")]
    Damaged {
        /// Which blob.
        what: String,
        /// What does not fit.
        why: String,
    },
    /// The job's share of the store is used up.
    #[error("no room to write `{what}`: {why}")]
    Quota {
        /// Which blob.
        what: String,
        /// What the share is, and how to raise it.
        why: String,
    },
    /// It is larger than one may be.
    #[error("{what} is larger than the {limit} bytes that one may have")]
    TooLarge {
        /// Which blob.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The body broke off, there is no room, or the disk or the system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl StoreError {
    /// Says that a run under this name cannot be used.
    pub(crate) fn run(name: &str, error: RunError) -> Self {
        match error {
            RunError::Io(error) => Self::Storage(StorageError::io("read", name.as_ref(), error)),
            error => Self::Damaged { what: name.to_owned(), why: error.to_string() },
        }
    }

    /// Returns the problem with which an API answers this error.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::BadName { .. } => Code::Invalid,
            Self::Damaged { .. } => Code::Internal,
            Self::Quota { .. } => Code::StorageFull,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Storage(error) => error.code(),
        };
        Problem::new(code, self.to_string())
    }
}
