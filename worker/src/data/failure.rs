//! Turns what goes wrong in the data plane into the reason that travels.

use std::fmt::Display;
use std::path::Path;

use gristmill_common::reason::bounded;
use gristmill_common::{Place, Reason};
use gristmill_runs::RunError;

/// The worker's own failure.
pub(super) fn worker(what: impl Display) -> Reason {
    Reason::Worker { message: bounded(what.to_string()) }
}

/// A result that nobody wants any more.
pub(super) fn cancelled() -> Reason {
    worker("the attempt was cancelled")
}

/// An error of user code at this record.
pub(super) fn user(error: &anyhow::Error, at: Option<Place>) -> Reason {
    Reason::UserError { message: bounded(format!("{error:#}")), at }
}

/// A failure of a file of the worker's own. A record that is too long for it is user code's.
pub(super) fn own_file(path: &Path, error: &RunError) -> Reason {
    match error {
        RunError::TooLong { .. } => Reason::Limit { message: bounded(error.to_string()), at: None },
        RunError::Io(_) | RunError::Corrupt { .. } | RunError::OutOfOrder { .. } => {
            worker(format!("{}: {error}", path.display()))
        }
    }
}
