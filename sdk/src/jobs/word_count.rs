//! `word-count`: counts the words of text. A word is a longest stretch of bytes other than the six of ASCII white space:
//! space, tab, line feed, vertical tab, form feed, carriage return.
//!
//! Output: `word TAB count`, sorted by word within a part.

use std::ops::Range;

use anyhow::Result;

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
    let (words, _) = chunk.as_chunks::<8>();
    let masks = words.iter().enumerate().map(|(index, word)| letters_in(u64::from_le_bytes(*word)) << (8 * index));
    masks.fold(0, |all, mask| all | mask)
}

/// The same for 8 bytes at once. Sums of 7-bit bytes never carry into the next byte, so the tests are exact.
#[inline]
fn letters_in(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES * 0x80;
    let low = word & !HIGH;
    let at_least_tab = low + ONES * (0x80 - b'\t' as u64);
    let above_return = low + ONES * (0x80 - b'\r' as u64 - 1);
    let not_space = (low ^ (ONES * b' ' as u64)) + ONES * 0x7f;
    let letters = (word | (not_space & (!at_least_tab | above_return))) & HIGH;
    // Gathers the top bits: each lands at another place of the product's top byte.
    (letters >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

impl BlockMapper for Words {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, block: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        each_word(block, |word| out.emit_from(block, word, &1));
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
                let word = u64::from_le_bytes([left, right, left, b' ', right, right, left, left]);
                let expected = word.to_le_bytes().map(|byte| !ends_word(byte));
                let bits = (0..8).map(|bit| letters_in(word) >> bit & 1 == 1);
                assert!(bits.eq(expected), "{left} {right}");
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
