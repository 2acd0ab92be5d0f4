//! The streaming contract (`docs/streaming.md`): records become lines for a program, and its lines become records.
//!
//! What is here knows bytes and the spec's [`gristmill_common::program::Streaming`], not how a program is run: that is a
//! [`Peer`]. Without one, records pass as they are. Nothing is copied per record where the input needs no rewriting.

mod aggregate;
mod combine;
mod counts;
mod input;
mod lines;
mod map;
mod record;
mod reduce;
mod reporter;
#[cfg(test)]
mod tests;

use gristmill_common::Reason;

pub(crate) use aggregate::Aggregate;
pub(crate) use combine::{PeerOfRun, StreamCombine};
pub(crate) use counts::Counts;
pub(crate) use map::{StreamMap, write_line};
pub(crate) use record::shuffle_partitioner;
pub(crate) use reduce::StreamReduce;
pub(crate) use reporter::{Reporter, Said};

/// Takes what a program prints, in blocks that are cut anywhere.
pub(crate) type Take<'a> = dyn FnMut(&[u8]) -> Result<(), Reason> + 'a;

/// A running program that reads lines and prints lines.
pub(crate) trait Peer {
    /// Hands bytes to it, and gives what it prints meanwhile to `take`. One that reads no more is no error here.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn feed(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<(), Reason>;

    /// Ends its input, gives the rest of what it prints to `take`, and waits for its end.
    ///
    /// # Errors
    /// Why the attempt failed: an exit code, a signal, a limit.
    fn finish(&mut self, take: &mut Take<'_>) -> Result<(), Reason>;

    /// Returns what it counted; asked once, after its end.
    fn counters(&mut self) -> Vec<(String, i64)>;
}
