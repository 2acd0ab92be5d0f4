//! Finds the record that a module failed at, among the many that it was given at once.
//!
//! A second instance is given the same records one by one; the one at which it fails is named. A module whose failure
//! depends on what came before may fail elsewhere or not at all: then the first record of the block is named.

use std::sync::Arc;

use memchr::memchr;

use super::guest::{Failure, Recipe};
use super::host::Stop;
use crate::position::Position;

/// Where the blocks that a mapper is given come from.
pub(super) struct Locate {
    /// The offset of the block that is mapped.
    pub(super) position: Arc<Position>,
    /// Records are numbered, not placed by their bytes.
    pub(super) numbered: bool,
}

/// Moves the position to the record that the module failed at.
pub(super) fn name_record(recipe: &Recipe, locate: &Locate, error: &wasmtime::Error, block: &[u8]) {
    let found = match error.downcast_ref::<Stop>() {
        Some(Stop::Record { index, .. }) => nth_line(block, *index),
        Some(Stop::Cancelled) => None,
        _ => replay(recipe, block),
    };
    if let Some((index, offset)) = found {
        let moved = if locate.numbered { index } else { offset as u64 };
        locate.position.at(locate.position.offset().saturating_add(moved));
    }
}

fn lines(block: &[u8]) -> impl Iterator<Item = (u64, usize, &[u8])> {
    let mut start = 0;
    let mut index = 0;
    std::iter::from_fn(move || {
        let rest = block.get(start..).filter(|rest| !rest.is_empty())?;
        let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = (index, start, &rest[..end]);
        start += end;
        index += 1;
        Some(line)
    })
}

fn nth_line(block: &[u8], index: u32) -> Option<(u64, usize)> {
    lines(block).nth(index as usize).map(|(index, offset, _)| (index, offset))
}

fn replay(recipe: &Recipe, block: &[u8]) -> Option<(u64, usize)> {
    // What it writes was written before.
    let quiet = Recipe { log: crate::log::AttemptLog::default(), ..recipe.clone() };
    let mut guest = quiet.start().ok()?;
    for (index, offset, line) in lines(block) {
        match guest.give(line, &mut |_| Ok(())) {
            Ok(()) => {}
            Err(Failure::Guest(error)) if !matches!(error.downcast_ref(), Some(Stop::Cancelled)) => {
                return Some((index, offset));
            }
            Err(_) => return None,
        }
    }
    None
}
