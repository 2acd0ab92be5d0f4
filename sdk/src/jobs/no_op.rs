//! `no-op`: reads its input and emits nothing; shows what a task costs by itself.

use anyhow::Result;

use crate::typed::{BlockMapper, Emit, Job};

struct Nothing;

impl BlockMapper for Nothing {
    type Key = [u8];
    type Value = ();

    fn map(&mut self, _: &[u8], _: &mut Emit<'_, [u8], ()>) -> Result<()> {
        Ok(())
    }
}

/// Makes the job.
#[must_use]
pub fn no_op() -> Job {
    Job::map_blocks(|_| Nothing).check(super::no_arguments).into()
}
