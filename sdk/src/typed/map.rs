//! Map functions: a record at a time, or a block of records at a time.

use std::marker::PhantomData;
use std::ops::Range;

use anyhow::Result;
use gristmill_worker::data::{Collector, Start};

use crate::codec::{Key, Value};

/// Takes the records that a mapper makes. Whatever cannot be stored ends the attempt with the place of the input.
pub struct Emit<'a, K: ?Sized, V: ?Sized> {
    out: &'a mut Collector,
    types: PhantomData<fn(&K, &V)>,
}

impl<'a, K: ?Sized, V: ?Sized> Emit<'a, K, V> {
    pub(super) fn new(out: &'a mut Collector) -> Self {
        Self { out, types: PhantomData }
    }

    /// Returns the offset of the record or block in its file, or the number of a generated record.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.out.offset()
    }

    /// Says which record of a block is worked on, by its offset in the file. A crash then names it, not the block.
    pub fn at(&self, offset: u64) {
        self.out.at(offset);
    }

    /// Adds to a counter of the job.
    pub fn count(&mut self, counter: &str, delta: i64) {
        self.out.count(counter, delta);
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> Emit<'_, K, V> {
    /// Emits a record.
    #[inline]
    pub fn emit(&mut self, key: &K, value: &V) {
        self.out.emit(|out| key.encode(out), |out| value.encode(out));
    }
}

impl<V: Value + ?Sized> Emit<'_, [u8], V> {
    /// Emits a record whose key is a stretch of the text. Quicker than [`Emit::emit`] for short keys inside long texts:
    /// bytes around the key may be read, so that it is copied in one piece.
    ///
    /// # Panics
    /// If the range is not inside the text.
    #[inline]
    pub fn emit_from(&mut self, text: &[u8], range: Range<usize>, value: &V) {
        const PIECE: usize = 16;
        let write_key = |out: &mut Vec<u8>| match text[range.start..].first_chunk::<PIECE>() {
            Some(piece) if range.len() <= PIECE => {
                let end = out.len() + range.len();
                out.extend_from_slice(piece);
                out.truncate(end);
            }
            _ => out.extend_from_slice(&text[range.clone()]),
        };
        self.out.emit(write_key, |out| value.encode(out));
    }
}

/// Maps a record at a time: a line without its line feed, or the decimal text of a generated record.
pub trait Mapper {
    /// Key of what it emits.
    type Key: Key + ?Sized;
    /// Value of what it emits.
    type Value: Value + ?Sized;

    /// Called before the first record of each file, or of each range of a large file.
    ///
    /// # Errors
    /// Ends the attempt.
    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// Called for each record. A carriage return at its end is part of it.
    ///
    /// # Errors
    /// Ends the attempt; the error travels with the record's file and offset.
    fn map(&mut self, record: &[u8], out: &mut Emit<'_, Self::Key, Self::Value>) -> Result<()>;

    /// Called after the last record of the task.
    ///
    /// # Errors
    /// Ends the attempt.
    fn finish(&mut self, out: &mut Emit<'_, Self::Key, Self::Value>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}

/// Maps many records at a time, for code that is faster on long stretches of text.
///
/// A crash names the first record of the block unless the mapper tells where it is ([`Emit::at`]).
pub trait BlockMapper {
    /// Key of what it emits.
    type Key: Key + ?Sized;
    /// Value of what it emits.
    type Value: Value + ?Sized;

    /// Called before the first block of each file, or of each range of a large file.
    ///
    /// # Errors
    /// Ends the attempt.
    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// Called with whole records, each with its line feed but perhaps the last one of a file. Where blocks end must not
    /// matter to the result: it depends on the reader.
    ///
    /// # Errors
    /// Ends the attempt; the error travels with the block's file and offset.
    fn map(&mut self, block: &[u8], out: &mut Emit<'_, Self::Key, Self::Value>) -> Result<()>;

    /// Called after the last block of the task.
    ///
    /// # Errors
    /// Ends the attempt.
    fn finish(&mut self, out: &mut Emit<'_, Self::Key, Self::Value>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}
