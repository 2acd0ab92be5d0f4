//! The sort buffer of a step without a combiner: records in an arena, sorted by what stands beside their offsets.
//!
//! It spills when the records it holds would cost more than the plan's logical budget, which is the same everywhere.

use std::cmp::Ordering;

use gristmill_common::{Reason, limits};
use gristmill_runs::{RunSummary, key_prefix};

use super::collect::{Batch, Sink};
use super::function::NoCombiner;
use super::output::RunOutput;
use super::spill::{Layout, Spills};

/// Bytes of a key in its prefix.
const PREFIX_BYTES: usize = size_of::<u64>();

#[derive(Clone, Copy)]
struct Record {
    prefix: u64,
    offset: u64,
    partition: u32,
    key_len: u32,
    value_len: u32,
}

impl Record {
    fn key(self, arena: &[u8]) -> &[u8] {
        let start = self.offset as usize;
        &arena[start..start + self.key_len as usize]
    }

    /// Compares the keys of equal prefixes. Keys that the prefix holds whole differ in length only: no look at the arena.
    #[inline]
    fn rest_cmp(&self, other: &Self, arena: &[u8]) -> Ordering {
        if self.key_len.min(other.key_len) as usize <= PREFIX_BYTES {
            return self.key_len.cmp(&other.key_len);
        }
        self.key(arena)[PREFIX_BYTES..].cmp(&other.key(arena)[PREFIX_BYTES..])
    }

    fn value(self, arena: &[u8]) -> &[u8] {
        let start = self.offset as usize + self.key_len as usize;
        &arena[start..start + self.value_len as usize]
    }
}

/// The records held in memory.
#[derive(Default)]
pub(super) struct Buffer {
    arena: Vec<u8>,
    records: Vec<Record>,
    pub(super) used_bytes: u64,
}

impl Buffer {
    pub(super) fn push(&mut self, partition: u32, key: &[u8], value: &[u8], cost: u64) {
        self.records.push(Record {
            prefix: key_prefix(key),
            offset: self.arena.len() as u64,
            partition,
            key_len: key.len() as u32,
            value_len: value.len() as u32,
        });
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        self.used_bytes += cost;
    }

    /// Sorts the records by partition, key, and the order they came in.
    fn sort(&mut self) {
        let arena = &self.arena;
        self.records.sort_unstable_by(|a, b| {
            let first = (a.partition, a.prefix).cmp(&(b.partition, b.prefix));
            first.then_with(|| a.rest_cmp(b, arena)).then(a.offset.cmp(&b.offset))
        });
    }

    /// Writes the sorted records and forgets them.
    pub(super) fn drain(&mut self, run: &mut RunOutput) -> Result<(), Reason> {
        self.sort();
        let arena = &self.arena;
        for record in &self.records {
            run.push(record.partition, record.key(arena), record.value(arena))?;
        }
        self.clear();
        Ok(())
    }

    /// Gives the sorted records of each partition that has some to the function, and forgets them.
    pub(super) fn drain_partitions(
        &mut self,
        mut take: impl FnMut(u32, &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.sort();
        let arena = &self.arena;
        for same in self.records.chunk_by(|a, b| a.partition == b.partition) {
            let mut records = same.iter().map(|record| (record.key(arena), record.value(arena)));
            take(same[0].partition, &mut records)?;
        }
        self.clear();
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn clear(&mut self) {
        self.records.clear();
        self.arena.clear();
        self.used_bytes = 0;
    }
}

/// The sink.
pub(super) struct SortSink {
    layout: Layout,
    buffer: Buffer,
    spills: Spills,
}

impl SortSink {
    pub(super) fn new(layout: Layout) -> Self {
        let spills = Spills::new(layout.clone());
        Self { layout, buffer: Buffer::default(), spills }
    }
}

impl Sink for SortSink {
    fn take(&mut self, batch: &Batch) -> Result<(), Reason> {
        let mut start = 0;
        for span in &batch.spans {
            let (key_end, end) = (span.key_end as usize, span.end as usize);
            let cost = (end - start) as u64 + limits::RECORD_OVERHEAD_BYTES;
            if self.buffer.used_bytes + cost > self.layout.budget_bytes && self.buffer.used_bytes > 0 {
                self.spills.add(|run| self.buffer.drain(run))?;
            }
            let (key, value) = (&batch.bytes[start..key_end], &batch.bytes[key_end..end]);
            let partition = self.layout.partitioner.of(key, value, self.layout.partitions);
            self.buffer.push(partition, key, value, cost);
            start = end;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<RunSummary, Reason> {
        if self.spills.is_empty() {
            let mut output = self.layout.final_run();
            self.buffer.drain(&mut output)?;
            return output.finish();
        }
        self.spills.add(|run| self.buffer.drain(run))?;
        self.spills.merge::<NoCombiner>(None)
    }
}
