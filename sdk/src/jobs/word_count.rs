//! `word-count`: counts the words of text. A word is a longest stretch of bytes other than the six of ASCII white space:
//! space, tab, line feed, vertical tab, form feed, carriage return.
//!
//! Output: `word TAB count`, sorted by word within a part.

use anyhow::Result;

use crate::typed::{BlockMapper, Emit, Job, Sum};

struct Words;

/// `true` for the bytes that end a word.
const ENDS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    table[b' ' as usize] = true;
    let mut control = b'\t';
    while control <= b'\r' {
        table[control as usize] = true;
        control += 1;
    }
    table
};

impl BlockMapper for Words {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, block: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        for word in block.split(|&byte| ENDS_WORD[usize::from(byte)]) {
            if !word.is_empty() {
                out.emit(word, &1);
            }
        }
        Ok(())
    }
}

/// Makes the job.
#[must_use]
pub fn word_count() -> Job {
    Job::map_blocks(|_| Words).combine(Sum).into()
}
