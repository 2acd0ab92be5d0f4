//! Reduce functions: one call per key with its values in order, lines of text out.

use std::marker::PhantomData;

use anyhow::Result;
use gristmill_worker::data;

use crate::codec::text::write_pair;
use crate::codec::{BadEncoding, Key, Owned, Text, Value};

/// The values of one key, in the order of the input; an iterator where values are owned.
pub struct Values<'a, V: ?Sized> {
    group: &'a mut dyn data::Group,
    failed: Option<BadEncoding>,
    types: PhantomData<fn(&V)>,
}

impl<'a, V: Value + ?Sized> Values<'a, V> {
    pub(super) fn new(group: &'a mut dyn data::Group) -> Self {
        Self { group, failed: None, types: PhantomData }
    }

    /// Returns the next value, which borrows from the reader; `None` at the end.
    pub fn next_ref(&mut self) -> Option<V::Decoded<'_>> {
        let bytes = self.group.next_value()?;
        match V::decode(bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }

    /// As [`Values::next_ref`], of a job whose keys are [`Grouped`](crate::codec::Grouped): the second half of the value's key
    /// too.
    pub fn next_ordered<S: Key + ?Sized>(&mut self) -> Option<(S::Decoded<'_>, V::Decoded<'_>)> {
        let (order, value) = self.group.next_record()?;
        match S::decode(order).and_then(|order| Ok((order, V::decode(value)?))) {
            Ok(record) => Some(record),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), BadEncoding> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl<V: Owned> Iterator for Values<'_, V> {
    type Item = V;

    fn next(&mut self) -> Option<V> {
        self.next_ref()
    }
}

/// Takes the lines of the output.
pub struct Lines<'a> {
    out: &'a mut data::Lines,
}

impl<'a> Lines<'a> {
    pub(super) fn new(out: &'a mut data::Lines) -> Self {
        Self { out }
    }

    /// Writes a line: key TAB value.
    #[inline]
    pub fn emit(&mut self, key: impl Text, value: impl Text) {
        self.out.line(|out| write_pair(&key, &value, out));
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl Text) {
        self.out.line(|out| text.write_text(out));
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

/// Reduces the values of each key, in key order.
pub trait Reducer {
    /// The mapper's key.
    type Key: Key + ?Sized;
    /// The mapper's value, or the combiner's output.
    type Value: Value + ?Sized;

    /// Called once for each key. Values that it does not take are skipped.
    ///
    /// # Errors
    /// Ends the attempt.
    fn reduce(
        &mut self,
        key: <Self::Key as Key>::Decoded<'_>,
        values: &mut Values<'_, Self::Value>,
        out: &mut Lines<'_>,
    ) -> Result<()>;

    /// Called after the last key of the task.
    ///
    /// # Errors
    /// Ends the attempt.
    fn finish(&mut self, out: &mut Lines<'_>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}
