//! Where an attempt is: words of memory that an executor writes before each record and its supervisor reads.
//!
//! The words live in a small mapped file, so that they outlast an abort, a stack overflow or a kill of the executor.
//! Writing the place of a record is one relaxed store; nothing waits, locks or allocates. A reader may see words of
//! neighbouring records side by side, which is good enough for a place named to a person, never for a decision about data.

#![expect(unsafe_code, reason = "the one module of the worker that shares memory with another process")]

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use gristmill_common::{Fence, Place, limits};
use memmap2::MmapRaw;

/// Words of the text by which user code says what it does.
const TEXT_WORDS: usize = limits::STATUS_BYTES / 8;
const WORDS: usize = TEXT + TEXT_WORDS;
/// Bytes of the mapped file.
const FILE_BYTES: usize = WORDS * 8;

const FENCE: usize = 0;
const SPOT: usize = 1;
const OFFSET: usize = 2;
const DONE: usize = 3;
const TOTAL: usize = 4;
const TICKS: usize = 5;
const SPAN_START: usize = 6;
const SPAN: usize = 7;
/// Odd while the text is being written.
const TEXT_VERSION: usize = 8;
/// Bytes of the text.
const TEXT_LENGTH: usize = 9;
const TEXT: usize = 10;

/// What an attempt reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spot {
    /// Nothing yet, or nothing any more.
    Nowhere,
    /// The plan's file of this index; the offset is the record's first byte.
    File(u32),
    /// Generated records; the offset is the number.
    Generated,
    /// The text of this part of the step before; the offset is the record's first byte.
    Part(u32),
    /// This partition; the offset is the number of the record in it.
    Partition(u32),
    /// What the reduce of this partition writes, as the map of the next step reads it in the same task; the offset is the
    /// record's first byte.
    Fed(u32),
}

impl Spot {
    fn to_word(self) -> u64 {
        let (kind, index) = match self {
            Self::Nowhere => (0, 0),
            Self::File(index) => (1, index),
            Self::Generated => (2, 0),
            Self::Part(index) => (3, index),
            Self::Partition(index) => (4, index),
            Self::Fed(index) => (5, index),
        };
        kind << 32 | u64::from(index)
    }

    fn from_word(word: u64) -> Self {
        let index = word as u32;
        match word >> 32 {
            1 => Self::File(index),
            2 => Self::Generated,
            3 => Self::Part(index),
            4 => Self::Partition(index),
            5 => Self::Fed(index),
            _ => Self::Nowhere,
        }
    }

    /// Names what is read, for people; files are named by their number.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Nowhere => "nowhere".to_owned(),
            Self::File(index) => format!("input file {index}"),
            Self::Generated => "generated records".to_owned(),
            Self::Part(index) => format!("part {index} of the step before"),
            Self::Partition(index) => format!("partition {index}"),
            Self::Fed(index) => format!("part {index} for the next step"),
        }
    }
}

/// Where an attempt was before it turned to what another part of it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    spot: u64,
    offset: u64,
    span: (u64, u64),
}

/// What the words said at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The attempt that wrote them; another one than expected means that the attempt has not begun.
    pub fence: Fence,
    /// What it read.
    pub spot: Spot,
    /// Where in it.
    pub offset: u64,
    /// Thousandths of the input read.
    pub permille: u16,
    /// Rises while the attempt reads, writes or merges; together with `offset` the sign of progress.
    pub ticks: u64,
}

impl Snapshot {
    /// Names the record for people; `file_url` gives the URL of a file of the plan.
    #[must_use]
    pub fn place(&self, file_url: impl FnOnce(u32) -> String) -> Option<Place> {
        let file = match self.spot {
            Spot::Nowhere => return None,
            Spot::File(index) => file_url(index),
            spot => spot.name(),
        };
        Some(Place { file, offset: self.offset })
    }
}

enum Words {
    /// Shared with another process. The mapping is exactly `FILE_BYTES` long and page-aligned.
    Mapped(MmapRaw),
    /// Of this process alone.
    Owned(Box<[AtomicU64; WORDS]>),
}

/// The words.
pub struct Position {
    words: Words,
}

impl Position {
    /// Makes words that only this process sees, for executors that are threads.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { words: Words::Owned(Box::new([const { AtomicU64::new(0) }; WORDS])) }
    }

    /// Creates or reuses the file and maps it; both sides call this.
    ///
    /// # Errors
    /// When the file cannot be made or mapped.
    pub fn at_path(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(FILE_BYTES as u64)?;
        Self::map(&file)
    }

    fn map(file: &File) -> io::Result<Self> {
        let map = memmap2::MmapOptions::new().len(FILE_BYTES).map_raw(file)?;
        Ok(Self { words: Words::Mapped(map) })
    }

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        match &self.words {
            Words::Mapped(map) => {
                assert!(index < WORDS);
                // SAFETY: the mapping is page-aligned, WORDS words long and lives as long as `self`; all access, in
                // this and in other processes, is through atomics of the same width. A file that is cut by someone
                // else while mapped kills the process with SIGBUS; it lies in the worker's private directory.
                unsafe { AtomicU64::from_ptr(map.as_mut_ptr().cast::<u64>().add(index)) }
            }
            Words::Owned(words) => &words[index],
        }
    }

    /// Starts an attempt that reads this many bytes or records in all.
    pub fn begin(&self, fence: Fence, total: u64) {
        self.enter(Spot::Nowhere, 0);
        self.say("");
        self.word(DONE).store(0, Ordering::Relaxed);
        self.word(TOTAL).store(total, Ordering::Relaxed);
        self.tick();
        self.word(FENCE).store(fence.0, Ordering::Release);
    }

    /// Says what is read from now on.
    pub fn enter(&self, spot: Spot, offset: u64) {
        self.enter_span(spot, offset, 0);
    }

    /// As [`Position::enter`], for a range of the total in which every record moves the progress on by its offset: a task
    /// of a few slow records is then seen to move.
    pub fn enter_span(&self, spot: Spot, offset: u64, length: u64) {
        self.word(SPAN).store(length, Ordering::Relaxed);
        self.word(SPAN_START).store(offset, Ordering::Relaxed);
        self.word(OFFSET).store(offset, Ordering::Relaxed);
        self.word(SPOT).store(spot.to_word(), Ordering::Relaxed);
    }

    /// Turns to what another part of the attempt reads.
    pub(crate) fn visit(&self, spot: Spot, offset: u64) -> Before {
        let word = |index| self.word(index).load(Ordering::Relaxed);
        let before = Before { spot: word(SPOT), offset: word(OFFSET), span: (word(SPAN_START), word(SPAN)) };
        self.enter(spot, offset);
        before
    }

    /// Goes on where the attempt was.
    pub(crate) fn come_back(&self, before: Before) {
        self.enter_span(Spot::from_word(before.spot), before.span.0, before.span.1);
        self.at(before.offset);
    }

    /// Says which record user code is given next.
    #[inline]
    pub fn at(&self, offset: u64) {
        self.word(OFFSET).store(offset, Ordering::Relaxed);
    }

    /// Returns what [`Position::at`] was told last.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.word(OFFSET).load(Ordering::Relaxed)
    }

    /// Says how much of the total was read, and leaves the range that was entered.
    pub fn advance(&self, done: u64) {
        self.word(SPAN).store(0, Ordering::Relaxed);
        self.word(DONE).store(done, Ordering::Relaxed);
        self.tick();
    }

    /// Shows that the attempt is alive.
    pub fn tick(&self) {
        let ticks = self.word(TICKS);
        // One writer: no read-modify-write is needed.
        ticks.store(ticks.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Says in words what user code does; what is longer than a status may be is cut.
    pub fn say(&self, status: &str) {
        let bytes = &status.as_bytes()[..status.floor_char_boundary(limits::STATUS_BYTES)];
        if bytes.is_empty() && self.word(TEXT_LENGTH).load(Ordering::Relaxed) == 0 {
            return;
        }
        let version = self.word(TEXT_VERSION).load(Ordering::Relaxed) | 1;
        self.word(TEXT_VERSION).store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        self.word(TEXT_LENGTH).store(bytes.len() as u64, Ordering::Relaxed);
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(TEXT + index).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.word(TEXT_VERSION).store(version.wrapping_add(1), Ordering::Release);
        self.tick();
    }

    /// Returns what was said last; `None` when nothing was, or when it is being said just now.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        let version = self.word(TEXT_VERSION).load(Ordering::Acquire);
        let length = self.word(TEXT_LENGTH).load(Ordering::Relaxed).min(limits::STATUS_BYTES as u64) as usize;
        let words = (0..length.div_ceil(8)).map(|index| self.word(TEXT + index).load(Ordering::Relaxed));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.truncate(length);
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.word(TEXT_VERSION).load(Ordering::Relaxed) == version;
        // User code may write whatever it wants into its own executor's memory.
        (is_whole && length > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads the words.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let fence = Fence(self.word(FENCE).load(Ordering::Acquire));
        let read = |index| self.word(index).load(Ordering::Relaxed);
        let (total, offset) = (read(TOTAL), read(OFFSET));
        let done = read(DONE).saturating_add(offset.saturating_sub(read(SPAN_START)).min(read(SPAN)));
        let permille = (u128::from(done) * 1_000).checked_div(u128::from(total)).unwrap_or(0).min(1_000) as u16;
        Snapshot {
            fence,
            spot: Spot::from_word(self.word(SPOT).load(Ordering::Relaxed)),
            offset,
            permille,
            ticks: self.word(TICKS).load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mapping_of_the_file_sees_the_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("position");
        let executor = Position::at_path(&path).expect("mapped");
        let supervisor = Position::at_path(&path).expect("mapped");
        executor.begin(Fence(7), 200);
        assert_eq!(supervisor.snapshot().place(|_| unreachable!()), None);
        executor.enter(Spot::File(3), 10);
        executor.at(25);
        executor.advance(50);
        executor.enter_span(Spot::File(3), 25, 100);
        assert_eq!(supervisor.snapshot().permille, 250);
        executor.at(75);
        assert_eq!(supervisor.snapshot().permille, 500, "records move the progress on");
        executor.at(1_000);
        assert_eq!(supervisor.snapshot().permille, 750, "but not out of their range");
        executor.advance(50);
        executor.at(25);
        drop(executor);
        let seen = supervisor.snapshot();
        assert_eq!((seen.fence, seen.spot, seen.offset, seen.permille), (Fence(7), Spot::File(3), 25, 250));
        let place = seen.place(|index| format!("file {index}")).expect("somewhere");
        assert_eq!(place.to_string(), "file 3:25");
    }

    #[test]
    fn what_is_said_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("position");
        let (executor, supervisor) =
            (Position::at_path(&path).expect("mapped"), Position::at_path(&path).expect("mapped"));
        assert_eq!(supervisor.said(), None);
        executor.say("half way");
        assert_eq!(supervisor.said().as_deref(), Some("half way"));
        executor.say(&"ä".repeat(limits::STATUS_BYTES));
        assert_eq!(supervisor.said(), Some("ä".repeat(limits::STATUS_BYTES / 2)));
        executor.begin(Fence(8), 1);
        assert_eq!(supervisor.said(), None, "another attempt says what it does itself");
        let texts = ["a".repeat(200), "b".repeat(9), String::new()];
        std::thread::scope(|scope| {
            scope.spawn(|| (0..30_000).for_each(|turn| executor.say(&texts[turn % 3])));
            for _ in 0..30_000 {
                let said = supervisor.said();
                assert!(said.is_none_or(|said| texts.contains(&said)));
            }
        });
    }

    #[test]
    fn spots_read_back() {
        for spot in
            [Spot::Nowhere, Spot::File(u32::MAX), Spot::Generated, Spot::Part(1), Spot::Partition(9), Spot::Fed(2)]
        {
            assert_eq!(Spot::from_word(spot.to_word()), spot);
        }
        assert_eq!(Spot::from_word(u64::MAX), Spot::Nowhere);
    }

    #[test]
    fn progress_never_passes_the_whole() {
        let position = Position::in_memory();
        position.begin(Fence(1), 0);
        position.advance(10);
        assert_eq!(position.snapshot().permille, 0);
        position.begin(Fence(1), 5);
        position.advance(u64::MAX);
        assert_eq!(position.snapshot().permille, 1_000);
    }
}
