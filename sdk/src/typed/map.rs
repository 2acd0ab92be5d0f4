//! Map functions: a record at a time, or a block of records at a time.

use std::marker::PhantomData;

use anyhow::Result;
use gristmill_worker::data::{Collector, Start, Stretches};

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

    /// Says what the attempt is doing, for people who look at it while it runs: up to 512 bytes, in `job tasks` and `job show`.
    pub fn status(&self, text: &str) {
        self.out.status(text);
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
    /// Takes stretches of the text as keys of records that all have this value. Much quicker than [`Emit::emit`] for each:
    /// nothing is copied.
    ///
    /// # Panics
    /// If the text is longer than 4 GiB, which no block is.
    pub fn stretches<'a>(&'a mut self, text: &'a [u8], value: &V) -> Stretches<'a> {
        self.out.stretches(text, |out| value.encode(out))
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
