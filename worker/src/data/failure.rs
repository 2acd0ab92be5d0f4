//! Turns what goes wrong in the data plane into the reason that travels.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::Path;

use gristmill_common::reason::bounded;
use gristmill_common::{Fence, Place, Reason, TaskName};
use gristmill_runs::RunError;

use crate::program::ReadFailed;

/// `EIO`: the disk under a file cannot read it, and never will.
const BAD_DISK: i32 = 5;

/// The worker's own failure.
pub(super) fn worker(what: impl Display) -> Reason {
    Reason::Worker { message: bounded(what.to_string()) }
}

/// A result that nobody wants any more.
pub(super) fn cancelled() -> Reason {
    worker("the attempt was cancelled")
}

/// An error of user code at this record. One that brings its reason keeps it.
pub(super) fn user(error: &anyhow::Error, at: Option<Place>) -> Reason {
    if let Some(ReadFailed(reason)) = error.downcast_ref() {
        return reason.clone().or_at(at);
    }
    Reason::UserError { message: bounded(format!("{error:#}")), at }
}

/// An error of a mapper at this record. Where bad records may be left out, one that it calls bad is left out as any that it
/// fails at.
pub(super) fn record(error: &anyhow::Error, at: Place, takes_bad: bool) -> Reason {
    match user(error, Some(at)) {
        Reason::BadRecord { message, at } if takes_bad => Reason::UserError { message, at },
        reason => reason,
    }
}

/// A map output that cannot be read. What is gone or damaged is the map's loss, which runs again; what may not be read is
/// brought by its owner; any other failure is of this worker, and another one may read it.
pub(crate) fn map_output(map: TaskName, fence: Fence, error: &RunError) -> Reason {
    let message = bounded(error.to_string());
    let io = match error {
        RunError::Io(io) => io,
        RunError::Corrupt { .. } | RunError::TooLong { .. } | RunError::OutOfOrder { .. } => {
            return Reason::LostOutput { map, fence, message };
        }
    };
    if let Some(ReadFailed(reason)) = known(io) {
        return reason.clone();
    }
    match io.kind() {
        ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            Reason::LostOutput { map, fence, message }
        }
        _ if io.raw_os_error() == Some(BAD_DISK) => Reason::LostOutput { map, fence, message },
        ErrorKind::PermissionDenied => Reason::Unreachable { map, fence },
        _ => worker(format!("cannot read the output of {map} ({fence}): {message}")),
    }
}

fn known(error: &io::Error) -> Option<&ReadFailed> {
    error.get_ref()?.downcast_ref()
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
