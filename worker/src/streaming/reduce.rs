//! The reducer's side: a line for each value goes to a program in large blocks, and its lines become the part.
//!
//! Parts are merged by key. The key of a line is what its separator ends, but never less than that of the line before: a
//! reducer that prints sorted keys gets a merge of its keys, any other one its lines in the order it printed them.

use anyhow::Result;
use gristmill_common::Reason;
use gristmill_common::program::Streaming;

use super::lines::LineCutter;
use super::record::{KeyOrder, Separator};
use super::{Peer, Take};
use crate::data::{Group, Lines, ReduceFunction};
use crate::program::ReadFailed;

/// Bytes of lines that are gathered for the program.
const BLOCK_BYTES: usize = 256 << 10;

/// Reduces with a program, or passes records as they are.
pub(crate) struct StreamReduce<P> {
    peer: Option<P>,
    order: KeyOrder,
    separator: Vec<u8>,
    stdin: Vec<u8>,
    cutter: LineCutter,
    printed: Printed,
    /// Whether a record came: what is printed without one is dropped.
    any: bool,
}

/// Makes the part's lines of what is printed.
struct Printed {
    separator: Separator,
    order: KeyOrder,
    output_separator: Vec<u8>,
    strict: bool,
    last_key: Vec<u8>,
    key: Vec<u8>,
    line: Vec<u8>,
}

impl<P: Peer> StreamReduce<P> {
    /// Makes the reducer of a step.
    ///
    /// # Errors
    /// When the spec's options cannot be read.
    pub(crate) fn new(peer: Option<P>, streaming: &Streaming) -> Result<Self, Reason> {
        let printed = Printed {
            separator: Separator::new(&streaming.reduce_output_separator, streaming.reduce_output_key_fields),
            order: KeyOrder::of(streaming)?,
            output_separator: streaming.output_separator.clone().into_bytes(),
            strict: streaming.strict,
            last_key: Vec::new(),
            key: Vec::new(),
            line: Vec::new(),
        };
        Ok(Self {
            peer,
            order: KeyOrder::of(streaming)?,
            separator: streaming.reduce_input_separator.clone().into_bytes(),
            stdin: Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 8),
            cutter: LineCutter::default(),
            printed,
            any: false,
        })
    }

    fn feed(&mut self, lines: &mut Lines) -> Result<()> {
        let Self { peer, cutter, printed, stdin, .. } = self;
        if let Some(peer) = peer {
            let fed = peer.feed(stdin, &mut |block| cutter.cut(block, |line| printed.line(line, lines)));
            fed.map_err(ReadFailed)?;
        }
        stdin.clear();
        Ok(())
    }
}

impl Printed {
    fn line(&mut self, line: &[u8], lines: &mut Lines) {
        let (key, value) = self.separator.split(line);
        self.key.clear();
        self.order.push_key(key, &mut self.key);
        if self.key > self.last_key {
            std::mem::swap(&mut self.key, &mut self.last_key);
        }
        if self.strict {
            self.line.clear();
            self.line.extend_from_slice(key);
            self.line.extend_from_slice(&self.output_separator);
            self.line.extend_from_slice(value.unwrap_or_default());
            lines.keyed_line(&self.last_key, &self.line);
        } else {
            lines.keyed_line(&self.last_key, line);
        }
    }

    /// A record that no program saw: key, separator, value, as the identity reducer's output is written.
    fn record(&mut self, sort_key: &[u8], key: &[u8], value: &[u8], lines: &mut Lines) {
        self.line.clear();
        self.line.extend_from_slice(key);
        self.line.extend_from_slice(&self.output_separator);
        self.line.extend_from_slice(value);
        lines.keyed_line(sort_key, &self.line);
    }
}

impl<P: Peer> ReduceFunction for StreamReduce<P> {
    fn reduce(&mut self, sort_key: &[u8], values: &mut dyn Group, lines: &mut Lines) -> Result<()> {
        self.any = true;
        while let Some(value) = values.next_value() {
            let (key, value) = self.order.printed(sort_key, value);
            if self.peer.is_none() {
                self.printed.record(sort_key, key, value, lines);
                continue;
            }
            self.stdin.extend_from_slice(key);
            self.stdin.extend_from_slice(&self.separator);
            self.stdin.extend_from_slice(value);
            self.stdin.push(b'\n');
            if self.stdin.len() >= BLOCK_BYTES {
                self.feed(lines)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, lines: &mut Lines) -> Result<()> {
        self.feed(lines)?;
        let Self { peer, cutter, printed, any, .. } = self;
        let Some(peer) = peer else { return Ok(()) };
        let mut print = |block: &[u8]| cutter.cut(block, |line| printed.line(line, lines));
        let mut drop_all = |_: &[u8]| Ok(());
        let take: &mut Take<'_> = if *any { &mut print } else { &mut drop_all };
        peer.finish(take).map_err(ReadFailed)?;
        if *any {
            cutter.finish(|line| printed.line(line, lines));
        }
        for (name, amount) in peer.counters() {
            lines.count(&name, amount);
        }
        Ok(())
    }
}
