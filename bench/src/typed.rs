//! Word count as a user writes it: the job of the README, without the tricks of the ready-made one.

use std::sync::Arc;

use gristmill_sdk::prelude::*;
use gristmill_worker::program::Program;

/// Name of the program.
pub(crate) const NAME: &str = "typed-word-count";

struct Words;

impl Mapper for Words {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        for word in line.split(|byte| b" \t\n\x0b\x0c\r".contains(byte)).filter(|word| !word.is_empty()) {
            out.emit(word, &1);
        }
        Ok(())
    }
}

pub(crate) fn program() -> Arc<dyn Program> {
    Arc::new(Job::from(Job::map(|_| Words).combine(Sum)))
}
