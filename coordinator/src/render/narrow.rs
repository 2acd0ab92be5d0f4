//! Keeps a merge narrow: of more parts than are merged at a time, neighbours are merged into temporary runs first.
//!
//! Each open part costs a descriptor and a block of memory, and an output may have ten thousand. Neighbours only, so
//! that equal keys stay in the order of the parts.

use gristmill_common::{Fence, limits};
use gristmill_runs::{Merge, PartWriter, RunError, RunFile, Source as _, part_text};
use gristmill_storage::StorageError;

use super::source::{PartSource, RenderError};
use crate::store::{Store, StoreError};

/// A run with the index of its first part.
type Indexed = (u32, RunFile);

/// Opens the parts that have records, as at most `FAN_IN` runs.
pub(super) fn open(store: &Store, parts: &[PartSource]) -> Result<Vec<Indexed>, RenderError> {
    open_narrow(store, parts, limits::FAN_IN as usize)
}

pub(super) fn open_narrow(store: &Store, parts: &[PartSource], width: usize) -> Result<Vec<Indexed>, RenderError> {
    if parts.len() <= width {
        return open_all(store, parts);
    }
    let mut runs = Vec::with_capacity(parts.len().div_ceil(width));
    for neighbours in parts.chunks(width) {
        let opened = open_all(store, neighbours)?;
        if let Some((first, _)) = opened.first() {
            runs.push((*first, merge(store, &opened)?));
        }
    }
    while runs.len() > width {
        let merged = runs.chunks(width).map(|neighbours| Ok((neighbours[0].0, merge(store, neighbours)?)));
        runs = merged.collect::<Result<_, RenderError>>()?;
    }
    Ok(runs)
}

fn open_all(store: &Store, parts: &[PartSource]) -> Result<Vec<Indexed>, RenderError> {
    let opened = parts.iter().filter_map(|part| part.open(store).map(|run| Some((part.index, run?))).transpose());
    opened.collect()
}

/// Merges runs into a temporary one, which has no name any more when this returns.
fn merge(store: &Store, runs: &[Indexed]) -> Result<RunFile, RenderError> {
    let staged = store.stage().map_err(|error| match error {
        StoreError::Storage(error) => error,
        error => StorageError::io("merge in", "store/tmp".as_ref(), std::io::Error::other(error)),
    })?;
    let failed = |error: RunError| match error {
        RunError::Io(error) => StorageError::io("write", staged.path(), error),
        error => StorageError::io("merge into", staged.path(), std::io::Error::other(error)),
    };
    let out = staged.try_clone().map_err(|error| failed(error.into()))?;
    let mut out = PartWriter::new(out, Fence(0), true).map_err(failed)?;
    let mut merge = Merge::new(runs.iter().map(|(_, run)| run.reader(0)).collect());
    let mut text = Vec::new();
    loop {
        let part = |merge: &Merge<_>| runs.get(merge.source_index()).map_or(0, |(index, _)| *index);
        let more = merge.advance().map_err(|error| RenderError::run(part(&merge), &error))?;
        if !more {
            break;
        }
        let halves = part_text(merge.key(), merge.value());
        let (head, tail) = halves.map_err(|error| RenderError::run(part(&merge), &error))?;
        text.clear();
        text.extend_from_slice(head);
        text.extend_from_slice(tail);
        out.push(merge.key(), &text).map_err(failed)?;
    }
    out.finish().map_err(failed)?;
    let written = staged.try_clone().map_err(|error| failed(error.into()))?;
    Ok(RunFile::open(written).map_err(failed)?)
}
