//! `word-count`: counts the words of text. A word is a longest stretch of bytes other than the six of ASCII white space:
//! space, tab, line feed, vertical tab, form feed, carriage return.
//!
//! Output: `word TAB count`, sorted by word within a part.

use std::ops::Range;

use anyhow::Result;
use wide::u8x16;

use crate::typed::{BlockMapper, Emit, Job, Sum};

struct Words;

/// Calls the function with the place of each word.
fn each_word(text: &[u8], mut take: impl FnMut(Range<usize>)) {
    let mut start = None;
    let mut before = 0_u64;
    for (index, chunk) in text.chunks(64).enumerate() {
        let letters = match chunk.as_array() {
            Some(chunk) => letters_of(chunk),
            None => {
                let mut padded = [b' '; 64];
                padded[..chunk.len()].copy_from_slice(chunk);
                letters_of(&padded)
            }
        };
        // A bit where a word starts, and one behind its last byte.
        let mut edges = letters ^ (letters << 1 | before);
        before = letters >> 63;
        while edges != 0 {
            let at = index * 64 + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            match start.take() {
                None => start = Some(at),
                Some(first) => take(first..at),
            }
        }
    }
    if let Some(first) = start {
        take(first..text.len());
    }
}

/// Returns a bit for each byte that is not white space, the lowest for the first.
#[inline]
fn letters_of(chunk: &[u8; 64]) -> u64 {
    let (quarters, _) = chunk.as_chunks::<16>();
    quarters.iter().enumerate().fold(0, |all, (index, quarter)| {
        let bytes = u8x16::new(*quarter);
        // Tab to carriage return are five bytes in a row: at most 4 behind the tab.
        let behind_tab = bytes - u8x16::splat(b'\t');
        let controls = behind_tab.min(u8x16::splat(4)).simd_eq(behind_tab);
        let white = (bytes.simd_eq(u8x16::splat(b' ')) | controls).to_bitmask();
        all | u64::from(!white as u16) << (16 * index)
    })
}

impl BlockMapper for Words {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, block: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        let mut words = out.stretches(block, &1);
        each_word(block, |word| words.push(word));
        Ok(())
    }
}

/// Makes the job.
#[must_use]
pub fn word_count() -> Job {
    Job::map_blocks(|_| Words).combine(Sum).check(super::no_arguments).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_word(byte: u8) -> bool {
        matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
    }

    fn check(text: &[u8]) {
        let mut found = Vec::new();
        each_word(text, |word| found.push(&text[word]));
        let expected: Vec<_> = text.split(|&byte| ends_word(byte)).filter(|word| !word.is_empty()).collect();
        assert_eq!(found, expected, "{:?}", text.escape_ascii().to_string());
    }

    #[test]
    fn every_byte_is_told_right_beside_every_other() {
        for left in 0..=255 {
            for right in 0..=255 {
                let mut chunk = [b' '; 64];
                chunk[20..28].copy_from_slice(&[left, right, left, b' ', right, right, left, left]);
                let expected = chunk.iter().map(|&byte| !ends_word(byte));
                let letters = letters_of(&chunk);
                assert!((0..64).map(|bit| letters >> bit & 1 == 1).eq(expected), "{left} {right}");
            }
        }
    }

    #[test]
    fn words_are_found_at_all_places_and_across_chunks() {
        for length in [0, 1, 2, 63, 64, 65, 130] {
            for gap in [1, 2, 3, 7, 64] {
                let text: Vec<u8> = (0..200)
                    .map(|at| if at % (length + gap) < length { b'a' } else { b"\t \r\n\x0b\x0c"[at % 6] })
                    .collect();
                (0..text.len()).for_each(|cut| check(&text[..cut]));
            }
        }
        check(b"\xc2\xa0no-break\x00nul \x85");
    }
}
