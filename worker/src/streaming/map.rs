//! The mapper's side: blocks of the input go to a program, and its lines become records.

use anyhow::Result;
use gristmill_common::Reason;
use gristmill_common::format::InputFormat;
use gristmill_common::program::Streaming;

use super::Peer;
use super::input::Form;
use super::lines::LineCutter;
use super::record::{KeyOrder, Separator};
use crate::data::{Collector, MapFunction, Start, Unit};
use crate::program::ReadFailed;

/// Maps with a program, or passes records as they are.
pub(crate) struct StreamMap<P> {
    peer: Option<P>,
    form: Form,
    cutter: LineCutter,
    records: Records,
    numbered: bool,
}

/// Makes records of lines.
struct Records {
    separator: Separator,
    order: KeyOrder,
    /// Of a map-only step: the line is the record.
    text: Option<MapOnly>,
}

enum MapOnly {
    Printed,
    Rejoined(Vec<u8>),
}

impl<P: Peer> StreamMap<P> {
    /// Makes the mapper of a step. `map_only`: its lines are the output.
    ///
    /// # Errors
    /// When the spec's options cannot be read.
    pub(crate) fn new(peer: Option<P>, streaming: &Streaming, map_only: bool, numbered: bool) -> Result<Self, Reason> {
        let text = match () {
            () if !map_only => None,
            () if streaming.strict => Some(MapOnly::Rejoined(streaming.output_separator.clone().into_bytes())),
            () => Some(MapOnly::Printed),
        };
        let records = Records {
            separator: Separator::new(&streaming.map_output_separator, streaming.map_output_key_fields),
            order: KeyOrder::of(streaming)?,
            text,
        };
        Ok(Self { peer, form: Form::of(streaming), cutter: LineCutter::default(), records, numbered })
    }
}

impl<P> StreamMap<P> {
    /// The same for records of this format, which come as a program is given them unless they are lines.
    #[must_use]
    pub(crate) fn reading(mut self, format: &InputFormat) -> Self {
        self.form.is_raw = !format.is_plain_lines();
        self
    }
}

impl Records {
    #[inline]
    fn emit(&self, line: &[u8], out: &mut Collector) {
        match &self.text {
            None => {
                let (key, value) = self.separator.split(line);
                let value = value.unwrap_or_default();
                let order = &self.order;
                out.emit(|bytes| order.push_key(key, bytes), |bytes| order.push_value(key, value, bytes));
            }
            Some(MapOnly::Printed) => out.emit(|bytes| bytes.extend_from_slice(line), |_| ()),
            Some(MapOnly::Rejoined(separator)) => {
                let (key, value) = self.separator.split(line);
                let write = |bytes: &mut Vec<u8>| {
                    bytes.extend_from_slice(key);
                    bytes.extend_from_slice(separator);
                    bytes.extend_from_slice(value.unwrap_or_default());
                };
                out.emit(write, |_| ());
            }
        }
    }
}

impl<P: Peer> MapFunction for StreamMap<P> {
    const UNIT: Unit = Unit::Block;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Collector) -> Result<()> {
        let Self { peer, form, cutter, records, numbered } = self;
        let lines = form.rewrite(block, out.offset(), *numbered);
        let mut take = |printed: &[u8]| cutter.cut(printed, |line| records.emit(line, out));
        let fed = match peer {
            Some(peer) => peer.feed(&lines, &mut take),
            None => take(&lines),
        };
        Ok(fed.map_err(ReadFailed)?)
    }

    fn finish(&mut self, out: &mut Collector) -> Result<()> {
        let Self { peer, cutter, records, .. } = self;
        if let Some(peer) = peer {
            let ended = peer.finish(&mut |printed| cutter.cut(printed, |line| records.emit(line, out)));
            ended.map_err(ReadFailed)?;
            for (name, amount) in peer.counters() {
                out.count(&name, amount);
            }
        }
        cutter.finish(|line| records.emit(line, out));
        Ok(())
    }
}

/// Writes a record of a map-only step, which is its line.
///
/// # Errors
/// Never.
pub(crate) fn write_line(key: &[u8], _: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(key);
    Ok(())
}
