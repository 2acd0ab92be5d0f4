//! What the typed layer plugs into the data plane: functions over bytes, compiled in by generics.
//!
//! Errors of user code are `anyhow` errors; the data plane adds where they happened.

use anyhow::Result;

use super::collect::Collector;
use super::lines::Lines;

/// What a mapper is given at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// One record without its line feed. A carriage return before it belongs to the record.
    Record,
    /// Many whole records, each with its line feed but perhaps the last one of a file.
    Block,
}

/// Where a mapper starts to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start<'a> {
    /// URL of the file, or a name of what else is read.
    pub name: &'a str,
    /// Byte offset of the range, or the first number of generated records.
    pub offset: u64,
    /// The tag of the input that the file is of.
    pub tag: Option<&'a str>,
}

/// The map function of a program.
pub trait MapFunction {
    /// What [`MapFunction::map`] is given.
    const UNIT: Unit;

    /// Called before the first record of each range of a file.
    ///
    /// # Errors
    /// What user code says.
    fn start(&mut self, start: &Start<'_>, out: &mut Collector) -> Result<()>;

    /// Called for each unit of input.
    ///
    /// # Errors
    /// What user code says.
    fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()>;

    /// Called after the last record of the task.
    ///
    /// # Errors
    /// What user code says.
    fn finish(&mut self, out: &mut Collector) -> Result<()>;
}

impl<M: MapFunction> MapFunction for &mut M {
    const UNIT: Unit = M::UNIT;

    fn start(&mut self, start: &Start<'_>, out: &mut Collector) -> Result<()> {
        (**self).start(start, out)
    }

    #[inline]
    fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()> {
        (**self).map(bytes, out)
    }

    fn finish(&mut self, out: &mut Collector) -> Result<()> {
        (**self).finish(out)
    }
}

/// A combiner: folds values into accumulators, and accumulators into each other.
pub trait Accumulate: Send + Sync + 'static {
    /// What values are folded into.
    type Acc: Send;
    /// Bytes that every accumulator is reckoned at; `None` when they grow with the values added.
    const FIXED_BYTES: Option<u64>;

    /// Makes the accumulator of no value. Must be cheap.
    fn zero(&self) -> Self::Acc;

    /// Adds an encoded value.
    ///
    /// # Errors
    /// When the value cannot be read.
    fn add(&self, acc: &mut Self::Acc, value: &[u8]) -> Result<()>;

    /// Adds what another accumulator has; its values come after those of `acc`.
    fn merge(&self, acc: &mut Self::Acc, later: Self::Acc);

    /// Encodes an accumulator.
    fn store(&self, acc: &Self::Acc, out: &mut Vec<u8>);

    /// Decodes an accumulator.
    ///
    /// # Errors
    /// When the bytes are no accumulator.
    fn load(&self, bytes: &[u8]) -> Result<Self::Acc>;

    /// Encodes the one value that the reducer gets.
    fn finish(&self, acc: Self::Acc, out: &mut Vec<u8>);
}

/// The combiner of a program that has none.
#[derive(Clone, Copy, Debug)]
pub enum NoCombiner {}

impl Accumulate for NoCombiner {
    type Acc = ();
    const FIXED_BYTES: Option<u64> = None;

    fn zero(&self) {
        match *self {}
    }

    fn add(&self, (): &mut (), _: &[u8]) -> Result<()> {
        match *self {}
    }

    fn merge(&self, (): &mut (), (): ()) {
        match *self {}
    }

    fn store(&self, (): &(), _: &mut Vec<u8>) {
        match *self {}
    }

    fn load(&self, _: &[u8]) -> Result<()> {
        match *self {}
    }

    fn finish(&self, (): (), _: &mut Vec<u8>) {
        match *self {}
    }
}

/// The values of one key, in order.
pub trait Group {
    /// Returns the next encoded value; `None` at the end, and when reading failed, which ends the attempt.
    fn next_value(&mut self) -> Option<&[u8]>;

    /// As [`Group::next_value`]; what its key has behind the group's, and the value.
    fn next_record(&mut self) -> Option<(&[u8], &[u8])> {
        Some((&[], self.next_value()?))
    }
}

/// The reduce function of a program.
pub trait ReduceFunction {
    /// How many bytes of a key say which group its record is of; `None`: all of them. No such beginning may be the beginning
    /// of another, and without a combiner only.
    const GROUP: Option<fn(&[u8]) -> usize> = None;

    /// Called once for each key, in key order. Values that it does not take are skipped.
    ///
    /// # Errors
    /// What user code says.
    fn reduce(&mut self, key: &[u8], values: &mut dyn Group, out: &mut Lines) -> Result<()>;

    /// Called after the last key of the task.
    ///
    /// # Errors
    /// What user code says.
    fn finish(&mut self, out: &mut Lines) -> Result<()>;
}

/// Writes an encoded record as a line of text, without its line feed; for map-only steps.
pub type Text = fn(key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<()>;
