//! Ready-made jobs: `word-count`, `grep`, `sort`, `join`, `distinct`, `count-by-field`, `top-k` and `no-op`, in every `gristmill` worker.

mod columns;
mod distinct;
pub(crate) mod flags;
mod grep;
mod join;
mod named;
mod no_op;
mod sort;
mod top_k;
mod word_count;

use std::sync::Arc;

use gristmill_common::spec::{JOIN, SORT};
use gristmill_worker::program::Programs;

pub use distinct::{count_by_field, distinct};
pub use grep::grep;
pub use join::join;
pub use no_op::no_op;
pub use sort::Sort;
pub use top_k::top_k;
pub use word_count::word_count;

/// Refuses arguments that would be ignored.
fn no_arguments(args: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(args.is_empty(), "no arguments are taken; {} were given", args.len());
    Ok(())
}

/// Returns all ready-made jobs under their names.
#[must_use]
pub fn all() -> Programs {
    Programs::default()
        .with("word-count", Arc::new(word_count()))
        .with("grep", Arc::new(grep()))
        .with("no-op", Arc::new(no_op()))
        .with(SORT, Arc::new(Sort))
        .with(JOIN, Arc::new(join()))
        .with("distinct", Arc::new(distinct()))
        .with("count-by-field", Arc::new(count_by_field()))
        .with("top-k", Arc::new(top_k()))
}
