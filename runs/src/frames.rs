//! Several sections in one stream, as the coordinator's store and a worker's listener answer to a fetch: one after the other,
//! or in turns. A step of it reads at most 256 KiB, so that whoever sends it holds that much, whatever the sections weigh.

use std::io::{self, Read as _};

use crate::file::{RunFile, SectionBytes};

/// The length that says that a section is not there.
pub const NOT_THERE: u64 = u64::MAX;
/// Bytes of one chunk.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a section's turn: a block or a few, so that a merge can begin when a turn of each section has come.
pub const TURN_BYTES: u64 = 256 << 10;

/// One partition of several run files, one after the other, not all of it sent yet. Each section is preceded by its length as
/// 8 bytes little-endian, [`NOT_THERE`] for one that is missing.
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

/// A piece of a section, sent in its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Which section.
    pub number: usize,
    /// Where in the section.
    pub at: u64,
    /// Bytes.
    pub len: u64,
}

/// The order in which the pieces of sections are sent: [`TURN_BYTES`] of each section that has that many left, round by round.
#[derive(Clone, Debug)]
pub struct Turns {
    lengths: Vec<u64>,
    round: u64,
    number: usize,
    /// Whether a piece of this round was found.
    any: bool,
}

impl Turns {
    /// Orders the pieces of sections of these lengths; a missing one has none.
    #[must_use]
    pub fn new(lengths: Vec<u64>) -> Self {
        Self { lengths, round: 0, number: 0, any: false }
    }

    /// Returns the length of each section.
    #[must_use]
    pub fn lengths(&self) -> &[u64] {
        &self.lengths
    }
}

impl Iterator for Turns {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            let Some(&length) = self.lengths.get(self.number) else {
                if !std::mem::take(&mut self.any) {
                    return None;
                }
                (self.round, self.number) = (self.round + 1, 0);
                continue;
            };
            let (number, at) = (self.number, self.round.saturating_mul(TURN_BYTES));
            self.number += 1;
            if length != NOT_THERE && at < length {
                self.any = true;
                return Some(Piece { number, at, len: TURN_BYTES.min(length - at) });
            }
        }
    }
}

/// One partition of several run files in turns, not all of it sent yet: first the lengths of all sections as 8 bytes
/// little-endian each, [`NOT_THERE`] for a missing one, then their pieces in the order of [`Turns`], nothing between them.
///
/// A file is open only while a piece of it is read: a fetch may name a thousand.
pub struct SectionTurns<F> {
    partition: u32,
    open: F,
    state: State,
    /// Bytes of pieces that are left out.
    skip: u64,
}

enum State {
    Lengths { count: usize, found: Vec<u64> },
    Pieces { turns: Turns, current: Option<SectionBytes> },
}

impl<F: FnMut(usize) -> Option<RunFile>> SectionTurns<F> {
    /// Frames the partition of `count` files; `open` returns the one of a number, or nothing where it is missing. The first
    /// `from` bytes of pieces are left out: whoever asks has them.
    pub fn new(partition: u32, count: usize, from: u64, open: F) -> Self {
        Self { partition, open, state: State::Lengths { count, found: Vec::with_capacity(count) }, skip: from }
    }

    /// Reads the next chunk; empty at the end.
    ///
    /// # Errors
    /// When a file cannot be read, or is gone or another one since its length was sent.
    pub fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES {
            match &mut self.state {
                State::Lengths { count, found } if found.len() < *count => {
                    let run = (self.open)(found.len()).filter(|run| self.partition < run.partitions());
                    let length = run.map_or(NOT_THERE, |run| run.section_bytes(self.partition).len());
                    found.push(length);
                    chunk.extend_from_slice(&length.to_le_bytes());
                }
                State::Lengths { found, .. } => {
                    self.state = State::Pieces { turns: Turns::new(std::mem::take(found)), current: None };
                }
                State::Pieces { current: Some(bytes), .. } if !bytes.is_empty() => {
                    let room = (CHUNK_BYTES - chunk.len()) as u64;
                    if bytes.by_ref().take(room).read_to_end(&mut chunk)? == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a map output was cut"));
                    }
                }
                State::Pieces { turns, current } => {
                    let Some(piece) = turns.next() else { break };
                    let left_out = piece.len.min(self.skip);
                    self.skip -= left_out;
                    let range = piece.at + left_out..piece.at + piece.len;
                    *current = None;
                    if !range.is_empty() {
                        let length = turns.lengths()[piece.number];
                        let run =
                            (self.open)(piece.number).filter(|run| run.section_bytes(self.partition).len() == length);
                        let run = run.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a map output is gone"))?;
                        *current = Some(run.section_range(self.partition, range));
                    }
                }
            }
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

    fn whole(mut next: impl FnMut() -> io::Result<Vec<u8>>) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let chunk = next().expect("reads");
            assert!(chunk.len() <= CHUNK_BYTES + 8);
            if chunk.is_empty() {
                return all;
            }
            all.extend(chunk);
        }
    }

    #[test]
    fn sections_come_whole_in_order_and_missing_ones_say_so() {
        let sizes = [10_000, 0, 3];
        let mut frames = SectionFrames::new(1, 4, |number| sizes.get(number).map(|&size| run(9, size)));
        let all = whole(|| frames.next_chunk());
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

    /// Puts pieces back into sections.
    fn gathered(answer: &[u8], count: usize) -> (Vec<u64>, Vec<Vec<u8>>) {
        let (head, mut data) = answer.split_at(count * 8);
        let lengths: Vec<u64> = head.as_chunks().0.iter().map(|length| u64::from_le_bytes(*length)).collect();
        let mut sections = vec![Vec::new(); count];
        for piece in Turns::new(lengths.clone()) {
            let (bytes, rest) = data.split_at(usize::try_from(piece.len).expect("small"));
            assert_eq!(sections[piece.number].len() as u64, piece.at);
            sections[piece.number].extend_from_slice(bytes);
            data = rest;
        }
        assert!(data.is_empty());
        (lengths, sections)
    }

    #[test]
    fn sections_in_turns_are_whole_and_none_waits_for_all_of_another() {
        let sizes = [10_000, 0, 3, 6_000];
        let open = |number: usize| sizes.get(number).map(|&size| run(9, size));
        let mut turns = SectionTurns::new(1, 5, 0, open);
        let all = whole(|| turns.next_chunk());
        let (lengths, sections) = gathered(&all, 5);
        for (number, &size) in sizes.iter().enumerate() {
            let mut expected = Vec::new();
            run(9, size).section_bytes(1).read_to_end(&mut expected).expect("reads");
            assert_eq!((lengths[number], &sections[number]), (expected.len() as u64, &expected));
        }
        assert_eq!(lengths[4], NOT_THERE);
        let order: Vec<_> = Turns::new(lengths).map(|piece| piece.number).collect();
        assert_eq!(order, [0, 2, 3, 0, 3, 0, 3, 0, 0]);
    }

    #[test]
    fn what_somebody_has_is_left_out() {
        let sizes = [6_000, 3, 5_000];
        let open = |number: usize| Some(run(9, sizes[number]));
        let all = whole({
            let mut turns = SectionTurns::new(1, 3, 0, open);
            move || turns.next_chunk()
        });
        let data = all.len() as u64 - 24;
        for from in [1, TURN_BYTES - 1, TURN_BYTES, TURN_BYTES + 100, data - 1, data, data + 9] {
            let mut turns = SectionTurns::new(1, 3, from, open);
            let rest = whole(|| turns.next_chunk());
            let at = 24 + usize::try_from(from.min(data)).expect("small");
            assert!(rest[..24] == all[..24] && rest[24..] == all[at..], "from {from}");
        }
    }

    #[test]
    fn a_file_that_goes_or_changes_meanwhile_breaks_the_answer_off() {
        for later in [None, Some(5)] {
            let mut opened = 0;
            let open = move |_| {
                opened += 1;
                if opened == 1 { Some(run(9, 6_000)) } else { later.map(|size| run(9, size)) }
            };
            let mut turns = SectionTurns::new(1, 1, 0, open);
            assert!(turns.next_chunk().is_err());
        }
    }
}
