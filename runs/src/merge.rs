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

/// Bits of an entrant below the prefix of its key: the number of its source.
const SOURCE_BITS: u32 = 32;
/// The bit of an entrant whose source is exhausted: behind every key.
const EXHAUSTED: u128 = 1 << (64 + SOURCE_BITS);

/// Who plays a match, as a number that compares as they do but for keys that are equal in their first 8 bytes: whether its
/// source is exhausted, the prefix of its key, its number.
type Entrant = u128;

fn entrant(source: usize, prefix: Option<u64>) -> Entrant {
    let prefix = prefix.map_or(EXHAUSTED, |prefix| u128::from(prefix) << SOURCE_BITS);
    // A merge has far fewer sources.
    prefix | u128::from(source as u32)
}

fn source_of(entrant: Entrant) -> usize {
    entrant as u32 as usize
}

/// Merges sources. It is itself a source.
pub struct Merge<S: Source> {
    sources: Vec<S>,
    winner: Entrant,
    /// The loser of the match at each inner node, from 1.
    losers: Vec<Entrant>,
    primed: bool,
}

impl<S: Source> Merge<S> {
    /// Takes the sources; reads nothing yet.
    pub fn new(sources: Vec<S>) -> Self {
        let losers = vec![0; sources.len().max(1)];
        Self { sources, winner: 0, losers, primed: false }
    }

    /// Returns the index of the source of the current record; after an error, of the source that failed.
    #[must_use]
    pub fn source_index(&self) -> usize {
        source_of(self.winner)
    }

    /// Says whether entrant `a` comes before entrant `b`.
    #[inline(always)]
    fn before(&self, a: Entrant, b: Entrant) -> bool {
        if a >> SOURCE_BITS == b >> SOURCE_BITS { self.before_by_key(a, b) } else { a < b }
    }

    fn before_by_key(&self, a: Entrant, b: Entrant) -> bool {
        if a & EXHAUSTED != 0 {
            return a < b;
        }
        let key = |entrant| self.sources[source_of(entrant)].key();
        key(a).cmp(key(b)).then(a.cmp(&b)) == Ordering::Less
    }

    #[inline]
    fn step(&mut self, index: usize) -> Result<Entrant, RunError> {
        let source = &mut self.sources[index];
        let prefix = if source.advance()? { Some(key_prefix(source.key())) } else { None };
        Ok(entrant(index, prefix))
    }

    /// Reads the first record of each source and plays all matches.
    fn prime(&mut self) -> Result<(), RunError> {
        let count = self.sources.len();
        // Leaves are nodes count..2*count, their parents n / 2; winners move up, losers stay.
        let mut winners = vec![0; count * 2];
        for (index, winner) in winners[count..].iter_mut().enumerate() {
            self.winner = entrant(index, None);
            *winner = self.step(index)?;
        }
        for node in (1..count).rev() {
            let (left, right) = (winners[node * 2], winners[node * 2 + 1]);
            let (winner, loser) = if self.before(left, right) { (left, right) } else { (right, left) };
            winners[node] = winner;
            self.losers[node] = loser;
        }
        self.winner = winners[1];
        self.primed = true;
        Ok(())
    }

    /// Moves the winner on and replays its matches up to the root.
    #[inline]
    fn replay(&mut self) -> Result<(), RunError> {
        let index = source_of(self.winner);
        let mut winner = self.step(index)?;
        let mut node = (index + self.sources.len()) / 2;
        while node > 0 {
            let loser = self.losers[node];
            if self.before(loser, winner) {
                self.losers[node] = winner;
                winner = loser;
            }
            node /= 2;
        }
        self.winner = winner;
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
        } else if self.winner & EXHAUSTED == 0 {
            self.replay()?;
        }
        Ok(self.winner & EXHAUSTED == 0)
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.sources[source_of(self.winner)].key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.sources[source_of(self.winner)].value()
    }

    #[inline]
    fn joined(&self) -> &[u8] {
        self.sources[source_of(self.winner)].joined()
    }
}
