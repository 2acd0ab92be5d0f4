//! The combiner's side: a program is started for the records of one partition of a sorted run.

use gristmill_common::Reason;
use gristmill_common::program::Streaming;

use super::Peer;
use super::lines::LineCutter;
use super::record::{KeyOrder, Separator};
use crate::data::{CombineRun, Combined};

/// Bytes of lines that are gathered for the program.
const BLOCK_BYTES: usize = 256 << 10;

/// Starts the program of a combiner.
pub(crate) trait PeerOfRun: Send {
    /// The program.
    type Peer: Peer;

    /// Starts it.
    ///
    /// # Errors
    /// Why it could not be started.
    fn start(&mut self) -> Result<Self::Peer, Reason>;

    /// Takes what one counted that ended.
    fn count(&mut self, name: String, amount: i64);
}

/// Combines with programs: lines as a reducer reads them, and its output's settings.
pub(crate) struct StreamCombine<S> {
    peers: S,
    order: KeyOrder,
    input_separator: Vec<u8>,
    output_separator: Separator,
}

impl<S: PeerOfRun> StreamCombine<S> {
    /// Makes the combiner of a step.
    ///
    /// # Errors
    /// When the spec's options cannot be read.
    pub(crate) fn new(peers: S, streaming: &Streaming) -> Result<Self, Reason> {
        Ok(Self {
            peers,
            order: KeyOrder::of(streaming)?,
            input_separator: streaming.reduce_input_separator.clone().into_bytes(),
            output_separator: Separator::new(&streaming.reduce_output_separator, streaming.reduce_output_key_fields),
        })
    }
}

impl<S: PeerOfRun> CombineRun for StreamCombine<S> {
    fn combine(
        &mut self,
        records: &mut dyn Iterator<Item = (&[u8], &[u8])>,
        out: &mut Combined<'_>,
    ) -> Result<(), Reason> {
        let Self { peers, order, input_separator, output_separator } = self;
        let mut peer = peers.start()?;
        let (mut cutter, mut failed) = (LineCutter::default(), Ok(()));
        let (mut run_key, mut run_value) = (Vec::new(), Vec::new());
        let mut emit = |line: &[u8]| {
            let (key, value) = output_separator.split(line);
            run_key.clear();
            order.push_key(key, &mut run_key);
            run_value.clear();
            order.push_value(key, value.unwrap_or_default(), &mut run_value);
            if failed.is_ok() {
                failed = out(&run_key, &run_value);
            }
        };
        let mut stdin = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 8);
        for (key, value) in records {
            let (key, value) = order.printed(key, value);
            stdin.extend_from_slice(key);
            stdin.extend_from_slice(input_separator);
            stdin.extend_from_slice(value);
            stdin.push(b'\n');
            if stdin.len() >= BLOCK_BYTES {
                peer.feed(&stdin, &mut |block| cutter.cut(block, &mut emit))?;
                stdin.clear();
            }
        }
        peer.feed(&stdin, &mut |block| cutter.cut(block, &mut emit))?;
        peer.finish(&mut |block| cutter.cut(block, &mut emit))?;
        cutter.finish(&mut emit);
        for (name, amount) in peer.counters() {
            peers.count(name, amount);
        }
        failed
    }
}
