//! The sequential answer that every run is compared with.

use std::collections::BTreeMap;

/// Counts words as the ready-made job does: split at space, TAB, LF, VT, FF and CR; `word TAB count LF`, by word.
#[must_use]
pub fn word_count(texts: &[&[u8]]) -> Vec<u8> {
    let mut counts: BTreeMap<&[u8], u64> = BTreeMap::new();
    for text in texts {
        let words = text.split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r'));
        for word in words.filter(|word| !word.is_empty()) {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut output = Vec::new();
    for (word, count) in counts {
        output.extend_from_slice(word);
        output.extend_from_slice(format!("\t{count}\n").as_bytes());
    }
    output
}
