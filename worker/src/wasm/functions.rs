//! Modules of the batched interface as the functions of the data plane: records are gathered for a call.

use anyhow::Result;
use gristmill_common::Reason;

use super::batch::{self, BATCH_BYTES};
use super::guest::Guest;
use crate::data::{Collector, Group, Lines, MapFunction, ReduceFunction, Start, Unit};
use crate::program::ReadFailed;
use crate::streaming::Peer;

/// Maps with a batched module.
pub(super) struct BatchMap {
    guest: Guest,
    /// Of a map-only step: records become lines.
    separator: Option<Vec<u8>>,
    lines: Vec<u8>,
}

impl BatchMap {
    pub(super) fn new(guest: Guest, separator: Option<Vec<u8>>) -> Self {
        Self { guest, separator, lines: Vec::new() }
    }
}

fn emit(printed: &[u8], separator: Option<&[u8]>, out: &mut Collector) -> Result<(), Reason> {
    let parsed = batch::each(printed, |key, value| match separator {
        None => out.emit(|to| to.extend_from_slice(key), |to| to.extend_from_slice(value.unwrap_or_default())),
        Some(separator) => out.emit(|to| push_line(to, key, separator, value), |_| ()),
    });
    parsed.map_err(|message| Reason::UserError { message, at: None })
}

fn push_line(to: &mut Vec<u8>, key: &[u8], separator: &[u8], value: Option<&[u8]>) {
    to.extend_from_slice(key);
    if let Some(value) = value {
        to.extend_from_slice(separator);
        to.extend_from_slice(value);
    }
}

impl MapFunction for BatchMap {
    const UNIT: Unit = Unit::Block;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Collector) -> Result<()> {
        let Self { guest, separator, lines } = self;
        let mut take = |printed: &[u8]| emit(printed, separator.as_deref(), out);
        if block.last() == Some(&b'\n') {
            return Ok(guest.feed(block, &mut take).map_err(ReadFailed)?);
        }
        // Every line of a batch has its line feed.
        lines.clear();
        lines.extend_from_slice(block);
        lines.push(b'\n');
        Ok(guest.feed(lines, &mut take).map_err(ReadFailed)?)
    }

    fn finish(&mut self, out: &mut Collector) -> Result<()> {
        let Self { guest, separator, .. } = self;
        guest.finish(&mut |printed| emit(printed, separator.as_deref(), out)).map_err(ReadFailed)?;
        for (name, amount) in guest.counters() {
            out.count(&name, amount);
        }
        Ok(())
    }
}

/// Reduces with a batched module.
pub(super) struct BatchReduce {
    guest: Guest,
    separator: Vec<u8>,
    batch: Vec<u8>,
    /// Of the line before: a key that is smaller takes its place, so that parts can be merged.
    last_key: Vec<u8>,
}

impl BatchReduce {
    pub(super) fn new(guest: Guest, separator: Vec<u8>) -> Self {
        Self { guest, separator, batch: Vec::new(), last_key: Vec::new() }
    }

    fn call(&mut self, lines: &mut Lines, is_last: bool) -> Result<()> {
        let Self { guest, separator, batch, last_key } = self;
        let mut line = Vec::new();
        let mut take = |printed: &[u8]| {
            let parsed = batch::each(printed, |key, value| {
                if key > last_key.as_slice() {
                    last_key.clear();
                    last_key.extend_from_slice(key);
                }
                line.clear();
                push_line(&mut line, key, separator, value);
                lines.keyed_line(last_key, &line);
            });
            parsed.map_err(|message| Reason::UserError { message, at: None })
        };
        guest.feed(batch, &mut take).map_err(ReadFailed)?;
        if is_last {
            guest.finish(&mut take).map_err(ReadFailed)?;
        }
        batch.clear();
        Ok(())
    }
}

impl ReduceFunction for BatchReduce {
    fn reduce(&mut self, key: &[u8], values: &mut dyn Group, lines: &mut Lines) -> Result<()> {
        let mut key = Some(key);
        while let Some(value) = values.next_value() {
            batch::push(&mut self.batch, key.take(), value);
            if self.batch.len() >= BATCH_BYTES {
                self.call(lines, false)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, lines: &mut Lines) -> Result<()> {
        self.call(lines, true)?;
        for (name, amount) in self.guest.counters() {
            lines.count(&name, amount);
        }
        Ok(())
    }
}
