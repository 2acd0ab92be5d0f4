//! Groups the records of a source by key, and folds the accumulators of a group into one.

use std::sync::Arc;

use gristmill_runs::{RunError, Source};

use super::function::{Accumulate, Group};
use crate::position::Position;

/// How often reading shows that it is alive, in records.
const TICK_RECORDS: u64 = 4_096;

/// Why folding stopped.
pub(super) enum FoldError {
    /// The source failed.
    Source(RunError),
    /// A value could not be read by user code's types.
    Value(anyhow::Error),
}

impl From<RunError> for FoldError {
    fn from(error: RunError) -> Self {
        Self::Source(error)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing was read yet, or the group before has been taken whole: the source is on the next record, if any.
    Boundary,
    /// On a record of the group that was not handed out.
    Fresh,
    /// On a record of the group that was handed out.
    Taken,
    /// Behind the last record.
    End,
}

/// A source, seen as groups of equal keys.
pub(super) struct Groups<S> {
    source: S,
    key: Vec<u8>,
    at: At,
    started: bool,
    records: u64,
    failed: Option<RunError>,
    position: Arc<Position>,
    /// How many bytes of a key are the group's; all when absent.
    group: Option<fn(&[u8]) -> usize>,
}

impl<S: Source> Groups<S> {
    pub(super) fn new(source: S, position: Arc<Position>) -> Self {
        let (key, at) = (Vec::new(), At::Boundary);
        Self { source, key, at, started: false, records: 0, failed: None, position, group: None }
    }

    /// Groups by the beginnings of keys.
    pub(super) fn by(self, group: Option<fn(&[u8]) -> usize>) -> Self {
        Self { group, ..self }
    }

    /// Returns the records read so far.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn source(&self) -> &S {
        &self.source
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Copies the key of the group, for those who read values while they hold it.
    pub(super) fn copy_key(&self, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(&self.key);
    }

    /// Moves to the next group, skipping what is left of this one; `false` when there is none.
    pub(super) fn next_group(&mut self) -> Result<bool, RunError> {
        if !self.started {
            self.started = true;
            self.step()?;
        }
        while matches!(self.at, At::Fresh | At::Taken) {
            self.at = At::Taken;
            self.move_on();
        }
        self.check()?;
        if self.at == At::End {
            return Ok(false);
        }
        self.key.clear();
        let key = self.source.key();
        let length = self.group.map_or(key.len(), |group| group(key).min(key.len()));
        self.key.extend_from_slice(&key[..length]);
        self.at = At::Fresh;
        Ok(true)
    }

    /// Returns the failure that ended the values early, if one did.
    pub(super) fn check(&mut self) -> Result<(), RunError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn step(&mut self) -> Result<(), RunError> {
        if self.source.advance()? {
            self.records += 1;
            // A group of any size shows that it is alive.
            if self.records.is_multiple_of(TICK_RECORDS) {
                self.position.tick();
            }
        } else {
            self.at = At::End;
        }
        Ok(())
    }

    /// Leaves a record that was taken.
    #[inline]
    fn move_on(&mut self) {
        match self.step() {
            Err(error) => {
                self.failed = Some(error);
                self.at = At::End;
            }
            Ok(()) if self.at == At::End => {}
            Ok(()) => self.at = if self.is_same() { At::Fresh } else { At::Boundary },
        }
    }

    #[inline]
    fn is_same(&self) -> bool {
        let key = self.source.key();
        if self.group.is_some() { key.starts_with(&self.key) } else { key == self.key }
    }

    /// Folds all accumulators of the group into one.
    pub(super) fn fold<C: Accumulate>(&mut self, combiner: &C) -> Result<C::Acc, FoldError> {
        self.fold_from(combiner, None)
    }

    /// Adds all raw values of the group to one accumulator.
    pub(super) fn add_all<C: Accumulate>(&mut self, combiner: &C) -> Result<C::Acc, FoldError> {
        self.fold_from(combiner, Some(combiner.zero()))
    }

    fn fold_from<C: Accumulate>(&mut self, combiner: &C, zero: Option<C::Acc>) -> Result<C::Acc, FoldError> {
        let raw = zero.is_some();
        let mut folded = zero;
        while let Some(value) = self.next_value() {
            match &mut folded {
                Some(acc) if raw => combiner.add(acc, value).map_err(FoldError::Value)?,
                Some(acc) => combiner.merge(acc, combiner.load(value).map_err(FoldError::Value)?),
                None => folded = Some(combiner.load(value).map_err(FoldError::Value)?),
            }
        }
        self.check()?;
        Ok(folded.unwrap_or_else(|| combiner.zero()))
    }
}

impl<S: Source> Group for Groups<S> {
    fn next_value(&mut self) -> Option<&[u8]> {
        if self.at == At::Taken {
            self.move_on();
        }
        if self.at != At::Fresh {
            return None;
        }
        self.at = At::Taken;
        Some(self.source.value())
    }

    fn next_record(&mut self) -> Option<(&[u8], &[u8])> {
        self.next_value()?;
        Some((self.source.key().get(self.key.len()..).unwrap_or_default(), self.source.value()))
    }
}
