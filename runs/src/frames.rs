//! Several sections in one stream: each preceded by its length as 8 bytes little-endian, [`NOT_THERE`] for one that is missing.
//!
//! What the coordinator's store and a worker's listener answer to a fetch. A step of it reads at most 256 KiB, so that whoever
//! sends it holds that much, whatever the sections weigh.

use std::io::{self, Read as _};

use crate::file::{RunFile, SectionBytes};

/// The length that says that a section is not there.
pub const NOT_THERE: u64 = u64::MAX;
/// Bytes of one chunk.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// One partition of several run files, not all of it sent yet.
pub struct SectionFrames<F> {
    partition: u32,
    open: F,
    left: std::ops::Range<usize>,
    current: Option<SectionBytes>,
}

impl<F: FnMut(usize) -> Option<RunFile>> SectionFrames<F> {
    /// Frames the partition of `count` files; `open` returns the one of a number, or nothing where it is missing.
    pub fn new(partition: u32, count: usize, open: F) -> Self {
        Self { partition, open, left: 0..count, current: None }
    }

    /// Reads the next chunk: the rest of a large section, or many small ones; empty at the end.
    ///
    /// # Errors
    /// When a file that was opened cannot be read.
    pub fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES {
            if let Some(section) = &mut self.current {
                let room = (CHUNK_BYTES - chunk.len()) as u64;
                if section.by_ref().take(room).read_to_end(&mut chunk)? < usize::try_from(room).unwrap_or(usize::MAX) {
                    self.current = None;
                }
                continue;
            }
            let Some(number) = self.left.next() else { break };
            let run = (self.open)(number).filter(|run| self.partition < run.partitions());
            self.current = run.map(|run| run.section_bytes(self.partition));
            let length = self.current.as_ref().map_or(NOT_THERE, SectionBytes::len);
            chunk.extend_from_slice(&length.to_le_bytes());
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::Fence;

    use super::*;
    use crate::{RunHeader, RunWriter};

    fn run(fence: u64, records: u32) -> RunFile {
        let mut bytes = Vec::new();
        let header = RunHeader { fence: Fence(fence), partitions: 2, compress: false };
        let mut writer = RunWriter::new(&mut bytes, header).expect("writes");
        for key in 0..records {
            writer.push(1, &key.to_be_bytes(), &[7; 100]).expect("writes");
        }
        writer.finish().expect("writes");
        RunFile::from_bytes(bytes).expect("a run")
    }

    #[test]
    fn sections_come_whole_in_order_and_missing_ones_say_so() {
        let sizes = [10_000, 0, 3];
        let mut frames = SectionFrames::new(1, 4, |number| sizes.get(number).map(|&size| run(9, size)));
        let mut all = Vec::new();
        loop {
            let chunk = frames.next_chunk().expect("reads");
            assert!(chunk.len() <= CHUNK_BYTES + 8);
            if chunk.is_empty() {
                break;
            }
            all.extend(chunk);
        }
        let mut rest = all.as_slice();
        let mut lengths = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length);
            lengths.push(length);
            rest = if length == NOT_THERE { after } else { &after[usize::try_from(length).expect("small")..] };
        }
        let expected: Vec<u64> =
            sizes.map(|size| run(9, size).section_bytes(1).len()).into_iter().chain([NOT_THERE]).collect();
        assert_eq!((lengths, rest.len()), (expected, 0));
    }
}
