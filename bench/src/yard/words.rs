//! Counts words between ASCII white space: boundaries by vector compares, hashes of a block first, then their slots.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;

use super::table::{Table, Word};

/// Slots of a fresh table.
const SLOTS: usize = 1 << 16;
/// Bytes looked at together: one bit each.
const BLOCK: usize = 64;

/// Writes `word TAB count` in any order.
pub(super) fn count(text: &[u8], output: &Path) -> Result<()> {
    let half = text.len() / 2;
    let middle = text[half..].iter().position(|&byte| is_white(byte)).map_or(text.len(), |at| half + at);
    let texts: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let first = scope.spawn(|| count_range(text, 0, middle));
        let [low, high] = count_range(text, middle, text.len());
        let Ok([first_low, first_high]) = first.join() else { return Vec::new() };
        let other = scope.spawn(move || print(text, first_low, &low));
        let highs = print(text, first_high, &high);
        other.join().map(|lows| vec![lows, highs]).unwrap_or_default()
    });
    let mut file = File::create(output)?;
    for text in texts {
        file.write_all(&text)?;
    }
    Ok(())
}

fn is_white(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

/// Counts the words of a range that starts and ends between words; two tables, by the highest bit of the hash.
fn count_range(text: &[u8], from: usize, to: usize) -> [Table; 2] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { vector::count_range(text, from, to) };
    }
    count_with(text, from, to, mask_of)
}

/// One bit for each byte of a block that is not white; bytes past the end are white.
fn mask_of(block: &[u8]) -> u64 {
    block.iter().enumerate().fold(0, |mask, (at, &byte)| mask | u64::from(!is_white(byte)) << at)
}

#[inline(always)]
fn count_with(text: &[u8], from: usize, to: usize, mask_of: impl Fn(&[u8]) -> u64) -> [Table; 2] {
    let mut tables = [Table::new(SLOTS), Table::new(SLOTS)];
    let mut queue: Vec<(u64, Word)> = Vec::with_capacity(BLOCK);
    let (mut start, mut before) = (None, 0);
    for block in (from..to).step_by(BLOCK) {
        let mask = mask_of(&text[block..to.min(block + BLOCK)]);
        let mut edges = mask ^ (mask << 1 | before);
        before = mask >> 63;
        while edges != 0 {
            let at = block + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            match start.take() {
                None => start = Some(at),
                Some(start) => {
                    let word = Word::at(text, start, at - start);
                    let hash = word.hash();
                    prefetch(tables[(hash >> 63) as usize].slot(hash));
                    queue.push((hash, word));
                }
            }
        }
        for (hash, word) in queue.drain(..) {
            tables[(hash >> 63) as usize].add(text, hash, word);
        }
    }
    if let Some(start) = start {
        let word = Word::at(text, start, to - start);
        let hash = word.hash();
        tables[(hash >> 63) as usize].add(text, hash, word);
    }
    tables
}

#[inline(always)]
fn prefetch(slot: *const Word) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address does nothing that a program can see.
    unsafe {
        std::arch::x86_64::_mm_prefetch(slot.cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slot;
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8, _mm256_sub_epi8,
    };

    use super::{BLOCK, Table, count_with};

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    pub(super) fn count_range(text: &[u8], from: usize, to: usize) -> [Table; 2] {
        count_with(text, from, to, |block| {
            if block.len() < BLOCK {
                return super::mask_of(block);
            }
            // SAFETY: both halves of a full block are readable.
            let halves = unsafe {
                let at = block.as_ptr().cast::<__m256i>();
                [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))]
            };
            let [low, high] = halves.map(|half| {
                let spaces = _mm256_cmpeq_epi8(half, _mm256_set1_epi8(b' ' as i8));
                let from_tab = _mm256_sub_epi8(half, _mm256_set1_epi8(9));
                let controls = _mm256_cmpeq_epi8(_mm256_min_epu8(from_tab, _mm256_set1_epi8(4)), from_tab);
                !(_mm256_movemask_epi8(_mm256_or_si256(spaces, controls)) as u32)
            });
            u64::from(low) | u64::from(high) << 32
        })
    }
}

fn print(text: &[u8], mut table: Table, other: &Table) -> Vec<u8> {
    table.merge(text, other);
    let mut out = Vec::with_capacity(table.used * 14);
    for word in table.words() {
        out.extend_from_slice(word.text(text));
        // Writing into a Vec cannot fail.
        let _ = writeln!(out, "\t{}", word.count);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn words_of_every_length_at_every_place_are_counted() {
        let mut text = Vec::new();
        for i in 0..3_000_usize {
            text.extend(std::iter::repeat_n(b'a' + (i % 7) as u8, 1 + i % 23));
            text.push(b" \n\t\r\x0b\x0c"[i % 6]);
        }
        text.extend_from_slice(b"end");
        let mut oracle: BTreeMap<&[u8], u32> = BTreeMap::new();
        for word in text.split(|&byte| is_white(byte)).filter(|word| !word.is_empty()) {
            *oracle.entry(word).or_default() += 1;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let output = dir.path().join("counts");
        count(&text, &output).expect("counted");
        let counted = std::fs::read_to_string(output).expect("written");
        let mut lines: Vec<&str> = counted.lines().collect();
        lines.sort_unstable();
        let expected: Vec<String> =
            oracle.iter().map(|(word, count)| format!("{}\t{count}", String::from_utf8_lossy(word))).collect();
        assert_eq!(lines, expected);
    }
}
