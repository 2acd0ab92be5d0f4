//! What a user writes: a [`Mapper`], perhaps a [`Combiner`] and a [`Reducer`], joined into a [`Job`].
//!
//! Types are erased once per task, never per record: the whole map loop is compiled for the user's functions.

mod combine;
mod job;
mod map;
mod program;
mod reduce;

pub use combine::{Combiner, Max, Min, Sum};
pub use gristmill_worker::data::Start;
pub use job::{Folded, Job, Print, Records, Reduced, Stages, Uncombined, WholeBlocks};
pub use map::{BlockMapper, Emit, Mapper};
pub use reduce::{Lines, Reducer, Values};

#[cfg(test)]
pub(crate) mod tests;
