//! Merges sorted sources by key with a loser tree; equal keys come in the order of their sources.
//!
//! Each match compares 8-byte prefixes first and touches the keys only when those are equal.

use std::cmp::Ordering;

use crate::error::RunError;
use crate::section::Source;

/// Returns the first 8 bytes of a key as a number that compares as they do; shorter keys are filled with zeros.
#[inline]
#[must_use]
pub fn key_prefix(key: &[u8]) -> u64 {
    if let Some(first) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut bytes = [0; 8];
    bytes[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(bytes)
}

/// Merges sources. It is itself a source.
pub struct Merge<S: Source> {
    sources: Vec<S>,
    /// Prefix of each source's key; `None` when the source is exhausted.
    heads: Vec<Option<u64>>,
    /// `losers[0]` is the winner; `losers[n]` is the loser of the match at inner node `n`.
    losers: Vec<usize>,
    primed: bool,
}

impl<S: Source> Merge<S> {
    /// Takes the sources; reads nothing yet.
    pub fn new(sources: Vec<S>) -> Self {
        let heads = vec![None; sources.len()];
        let losers = vec![0; sources.len().max(1)];
        Self { sources, heads, losers, primed: false }
    }

    /// Returns the index of the source of the current record; after an error, of the source that failed.
    #[must_use]
    pub fn source_index(&self) -> usize {
        self.losers[0]
    }

    /// Says whether source `a` comes before source `b`.
    #[inline]
    fn before(&self, a: usize, b: usize) -> bool {
        let order = match (self.heads[a], self.heads[b]) {
            (Some(left), Some(right)) if left != right => left.cmp(&right),
            (Some(_), Some(_)) => self.sources[a].key().cmp(self.sources[b].key()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        order.then(a.cmp(&b)) == Ordering::Less
    }

    #[inline]
    fn step(&mut self, index: usize) -> Result<(), RunError> {
        let source = &mut self.sources[index];
        self.heads[index] = if source.advance()? { Some(key_prefix(source.key())) } else { None };
        Ok(())
    }

    /// Reads the first record of each source and plays all matches.
    fn prime(&mut self) -> Result<(), RunError> {
        let count = self.sources.len();
        for index in 0..count {
            self.losers[0] = index;
            self.step(index)?;
        }
        // Leaves are nodes count..2*count, their parents n / 2; winners move up, losers stay.
        let mut winners = vec![0; count * 2];
        for (index, winner) in winners[count..].iter_mut().enumerate() {
            *winner = index;
        }
        for node in (1..count).rev() {
            let (left, right) = (winners[node * 2], winners[node * 2 + 1]);
            let (winner, loser) = if self.before(left, right) { (left, right) } else { (right, left) };
            winners[node] = winner;
            self.losers[node] = loser;
        }
        self.losers[0] = if count > 1 { winners[1] } else { 0 };
        self.primed = true;
        Ok(())
    }

    /// Moves the winner on and replays its matches up to the root.
    #[inline]
    fn replay(&mut self) -> Result<(), RunError> {
        let mut winner = self.losers[0];
        self.step(winner)?;
        let mut node = (winner + self.sources.len()) / 2;
        while node > 0 {
            let loser = self.losers[node];
            if self.before(loser, winner) {
                self.losers[node] = winner;
                winner = loser;
            }
            node /= 2;
        }
        self.losers[0] = winner;
        Ok(())
    }
}

impl<S: Source> Source for Merge<S> {
    #[inline]
    fn advance(&mut self) -> Result<bool, RunError> {
        if self.sources.is_empty() {
            return Ok(false);
        }
        if !self.primed {
            self.prime()?;
        } else if self.heads[self.losers[0]].is_some() {
            self.replay()?;
        }
        Ok(self.heads[self.losers[0]].is_some())
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.sources[self.losers[0]].key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.sources[self.losers[0]].value()
    }
}
