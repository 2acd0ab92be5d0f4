//! The sort buffer of a step without a combiner: records in an arena as blocks of runs hold them, sorted by entries of 16
//! bytes, copied once more into their run.
//!
//! It spills when the records it holds would cost more than the plan's logical budget, which is the same everywhere.

use gristmill_common::{Reason, limits};
use gristmill_runs::{RunSummary, decode, encode, key_prefix};

use super::collect::{Batch, Sink, Span};
use super::function::NoCombiner;
use super::output::RunOutput;
use super::spill::{Layout, Spills};

/// Bits of an entry below partition and prefix: where the record is in the arena, so that entries of one key keep their
/// order and no budget reaches the end.
const OFFSET_BITS: u32 = 50;
/// Bits of an entry below its partition.
const PREFIX_AND_OFFSET_BITS: u32 = 64 + OFFSET_BITS;
/// Records that are asked for before they are copied, so that the misses of an arena larger than the cache overlap.
const AHEAD: usize = 16;

/// A record in 16 bytes: partition, the first 8 bytes of its key, offset. Sorting them sorts the records, but for keys
/// that differ behind their first 8 bytes.
type Entry = u128;

fn entry(partition: u32, prefix: u64, offset: usize) -> Entry {
    u128::from(partition) << PREFIX_AND_OFFSET_BITS | u128::from(prefix) << OFFSET_BITS | offset as u128
}

fn partition_in(entry: Entry) -> u32 {
    (entry >> PREFIX_AND_OFFSET_BITS) as u32
}

fn offset_in(entry: Entry) -> usize {
    (entry & ((1 << OFFSET_BITS) - 1)) as usize
}

/// Returns key, value and the bytes as they are stored.
#[inline]
fn record(arena: &[u8], entry: Entry) -> (&[u8], &[u8], &[u8]) {
    let stored = &arena[offset_in(entry)..];
    // `push` is all that writes the arena.
    let (key, value, length) = decode(stored).unwrap_or_default();
    (key, value, &stored[..length])
}

/// The records held in memory, each as it lies in a block of a run.
#[derive(Default)]
pub(super) struct Buffer {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    pub(super) used_bytes: u64,
}

impl Buffer {
    #[inline]
    pub(super) fn push(&mut self, partition: u32, key: &[u8], value: &[u8], cost: u64) {
        self.entries.push(entry(partition, key_prefix(key), self.arena.len()));
        encode(&mut self.arena, key, value);
        self.used_bytes += cost;
    }

    /// Sorts the records by partition, key, and the order they came in.
    fn sort(&mut self) {
        self.entries.sort_unstable();
        let arena = &self.arena;
        let same = |a: &Entry, b: &Entry| a >> OFFSET_BITS == b >> OFFSET_BITS;
        for ties in self.entries.chunk_by_mut(same).filter(|ties| ties.len() > 1) {
            // Stable: the entries are in the order the records came in.
            ties.sort_by(|a, b| record(arena, *a).0.cmp(record(arena, *b).0));
        }
    }

    /// Writes the sorted records and forgets them.
    pub(super) fn drain(&mut self, run: &mut RunOutput) -> Result<(), Reason> {
        self.sort();
        let arena = &self.arena;
        for entries in self.entries.chunks(AHEAD) {
            let touched = entries.iter().fold(0, |all, entry| all ^ arena[offset_in(*entry)]);
            std::hint::black_box(touched);
            for &entry in entries {
                run.push_encoded(partition_in(entry), record(arena, entry).2)?;
            }
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
        for same in self.entries.chunk_by(|a, b| partition_in(*a) == partition_in(*b)) {
            let mut records = same.iter().map(|entry| {
                let (key, value, _) = record(arena, *entry);
                (key, value)
            });
            take(partition_in(same[0]), &mut records)?;
        }
        self.clear();
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.entries.clear();
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

impl SortSink {
    #[inline]
    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let cost = (key.len() + value.len()) as u64 + limits::RECORD_OVERHEAD_BYTES;
        if self.buffer.used_bytes + cost > self.layout.budget_bytes && self.buffer.used_bytes > 0 {
            self.spills.add(|run| self.buffer.drain(run))?;
        }
        let partition = self.layout.partitioner.of(key, value, self.layout.partitions);
        self.buffer.push(partition, key, value, cost);
        Ok(())
    }
}

impl Sink for SortSink {
    fn take(&mut self, batch: &Batch) -> Result<(), Reason> {
        let mut start = 0;
        for span in &batch.spans {
            let (key_end, end) = (span.key_end as usize, span.end as usize);
            self.push(&batch.bytes[start..key_end], &batch.bytes[key_end..end])?;
            start = end;
        }
        Ok(())
    }

    fn take_halves(&mut self, text: &[u8], spans: &[Span]) -> Result<(), Reason> {
        let mut start = 0;
        for span in spans {
            let (key_end, end) = (span.key_end as usize, span.end as usize);
            self.push(&text[start..key_end], &text[key_end..end])?;
            start = end;
        }
        Ok(())
    }

    fn spilled_bytes(&self) -> u64 {
        self.spills.spilled_bytes()
    }

    fn finish(&mut self) -> Result<RunSummary, Reason> {
        if self.spills.is_empty() {
            let mut output = self.layout.final_run();
            self.buffer.drain(&mut output)?;
            return output.finish();
        }
        self.spills.add(|run| self.buffer.drain(run))?;
        // The merge has memory of its own.
        self.buffer = Buffer::default();
        self.spills.merge::<NoCombiner>(None)
    }
}
