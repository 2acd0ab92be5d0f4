//! The inputs: made once from seeds, kept under the data directory, named by what they are.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::random::Random;

/// Bytes of a sort record: 10 key, 2 spaces, 32 hex digits of its number, 2 spaces, 53 filler, line feed.
pub(crate) const RECORD_BYTES: u64 = 100;
/// Distinct words of the Zipf text.
const ZIPF_WORDS: usize = 5_000_000;
/// Letters of the English alphabet to the fifth: the first five letters of a Zipf word are one of as many.
const FIVE_LETTERS: u64 = 26 * 26 * 26 * 26 * 26;

/// Makes inputs, or finds those that are there.
pub(crate) struct Data {
    /// Where they are kept.
    pub(crate) directory: PathBuf,
    /// Texts whose lines the English text is made of.
    pub(crate) texts: PathBuf,
}

impl Data {
    /// English text: the lines of the given texts in a random order, pass after pass. Tabs, VT, FF, CR are spaces.
    pub(crate) fn english(&self, bytes: u64) -> Result<PathBuf> {
        self.make(&format!("english-{bytes}.txt"), |out| english(&mut lines_of(&self.texts)?, bytes, out))
    }

    /// Words whose rank `k` has weight `1/k`, twelve to a line.
    pub(crate) fn zipf(&self, bytes: u64) -> Result<PathBuf> {
        self.make(&format!("zipf-{bytes}.txt"), |out| zipf(bytes, out))
    }

    /// Records of 100 bytes with random keys.
    pub(crate) fn records(&self, bytes: u64) -> Result<PathBuf> {
        self.make(&format!("records-{bytes}.dat"), |out| records(bytes / RECORD_BYTES, out))
    }

    fn make(&self, name: &str, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.exists() {
            return Ok(path);
        }
        fs::create_dir_all(&self.directory)?;
        let part = path.with_extension("part");
        let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.flush()?;
        fs::rename(&part, &path)?;
        Ok(path)
    }
}

fn lines_of(texts: &Path) -> Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(texts).with_context(|| format!("cannot list {}: give --texts", texts.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        for line in fs::read(&file)?.split(|&byte| byte == b'\n') {
            let blank = |byte: &u8| if matches!(byte, b'\t' | 0x0B | 0x0C | b'\r') { b' ' } else { *byte };
            let mut line: Vec<u8> = line.iter().map(blank).collect();
            line.truncate(line.trim_ascii_end().len());
            line.push(b'\n');
            lines.push(line);
        }
    }
    if lines.is_empty() {
        bail!("no .txt files in {}: give --texts", texts.display());
    }
    Ok(lines)
}

fn english(lines: &mut [Vec<u8>], bytes: u64, out: &mut impl Write) -> Result<()> {
    let mut random = Random(42);
    let mut written = 0;
    loop {
        for i in (1..lines.len()).rev() {
            lines.swap(i, random.below(i as u64 + 1) as usize);
        }
        for line in &*lines {
            if written + line.len() as u64 > bytes {
                return Ok(());
            }
            out.write_all(line)?;
            written += line.len() as u64;
        }
    }
}

/// Draws ranks by the alias method (Walker, 1977): one table of probabilities, one of aliases.
fn zipf(bytes: u64, out: &mut impl Write) -> Result<()> {
    let (keep, alias) = aliases(ZIPF_WORDS);
    let mut random = Random(7);
    let (mut line, mut written) = (Vec::new(), 0);
    loop {
        line.clear();
        for column in 0..12 {
            let rank = random.below(ZIPF_WORDS as u64) as usize;
            let rank = if random.unit() < keep[rank] { rank } else { alias[rank] };
            push_word(rank as u64, &mut line);
            line.push(if column == 11 { b'\n' } else { b' ' });
        }
        if written + line.len() as u64 > bytes {
            return Ok(());
        }
        out.write_all(&line)?;
        written += line.len() as u64;
    }
}

fn aliases(count: usize) -> (Vec<f64>, Vec<usize>) {
    let sum: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
    let mut keep: Vec<f64> = (1..=count).map(|rank| count as f64 / (rank as f64 * sum)).collect();
    let mut alias: Vec<usize> = (0..count).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|&rank| keep[rank] < 1.0);
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        alias[poor] = rich;
        keep[rich] -= 1.0 - keep[poor];
        if keep[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    (keep, alias)
}

/// Five letters that no other rank has, and up to six more.
fn push_word(rank: u64, line: &mut Vec<u8>) {
    let mut code = (rank * 7_368_787 + 12_345) % FIVE_LETTERS;
    for _ in 0..5 {
        line.push(b'a' + (code % 26) as u8);
        code /= 26;
    }
    let mut bits = Random(rank).bits();
    let more = bits % 7;
    bits /= 7;
    for _ in 0..more {
        line.push(b'a' + (bits % 26) as u8);
        bits /= 26;
    }
}

fn records(count: u64, out: &mut impl Write) -> Result<()> {
    let mut random = Random(11);
    for number in 0..count {
        let mut record = [b' '; RECORD_BYTES as usize];
        for byte in &mut record[..10] {
            *byte = b'!' + random.below(94) as u8;
        }
        record[12..44].copy_from_slice(format!("{number:032X}").as_bytes());
        let filler = random.bits();
        for (at, byte) in record[46..99].iter_mut().enumerate() {
            *byte = b'A' + ((filler >> (at % 13 * 4)) & 15) as u8;
        }
        record[99] = b'\n';
        out.write_all(&record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_data_is_the_same_on_every_machine() {
        let mut out = Vec::new();
        zipf(4_000, &mut out).expect("written");
        records(20, &mut out).expect("written");
        let mut lines = vec![b"one two\n".to_vec(), b"three\n".to_vec(), b"\n".to_vec()];
        english(&mut lines, 300, &mut out).expect("written");
        assert_eq!(gristmill_common::Digest::of(&out).to_string(), GOLDEN);
    }

    const GOLDEN: &str = "3f092f41fa685b861af3900f0405860e6a6187d9e8350ba62e27d1ef75c3a958";
}
