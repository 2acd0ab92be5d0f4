//! The sort buffer of a step whose combiner is a program of its own: it combines a sorted run at a time.
//!
//! When a run is combined depends on the plan's logical budget and the records alone. What the combiner makes of a partition
//! stays in it and is sorted again: a combiner may print in any order. Merges do not combine.

use gristmill_common::{Reason, limits};
use gristmill_runs::RunSummary;

use super::collect::{Batch, Sink};
use super::function::NoCombiner;
use super::sort::Buffer;
use super::spill::{Layout, Spills};

/// Takes the records, key and value, that a combiner makes.
pub type Combined<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Reason> + 'a;

/// A combiner that is given all records of one partition of a sorted run.
pub trait CombineRun: Send {
    /// Combines them; what it makes goes to `out`, in any order.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn combine(
        &mut self,
        records: &mut dyn Iterator<Item = (&[u8], &[u8])>,
        out: &mut Combined<'_>,
    ) -> Result<(), Reason>;
}

/// The sink.
pub(super) struct RunCombineSink {
    layout: Layout,
    combine: Box<dyn CombineRun>,
    buffer: Buffer,
    spills: Spills,
}

impl RunCombineSink {
    pub(super) fn new(layout: Layout, combine: Box<dyn CombineRun>) -> Self {
        let spills = Spills::new(layout.clone());
        Self { layout, combine, buffer: Buffer::default(), spills }
    }

    /// Combines what is held. What a combiner makes of it is mostly less; what is more than the budget becomes runs at once.
    fn combine(&mut self) -> Result<Buffer, Reason> {
        let (combine, spills, budget_bytes) = (&mut self.combine, &mut self.spills, self.layout.budget_bytes);
        let mut combined = Buffer::default();
        self.buffer.drain_partitions(|partition, records| {
            combine.combine(records, &mut |key, value| {
                let cost = cost(key, value);
                if combined.used_bytes + cost > budget_bytes && !combined.is_empty() {
                    spills.add(|run| combined.drain(run))?;
                }
                combined.push(partition, key, value, cost);
                Ok(())
            })
        })?;
        Ok(combined)
    }
}

fn cost(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + limits::RECORD_OVERHEAD_BYTES
}

impl Sink for RunCombineSink {
    fn take(&mut self, batch: &Batch) -> Result<(), Reason> {
        let mut start = 0;
        for span in &batch.spans {
            let (key_end, end) = (span.key_end as usize, span.end as usize);
            let (key, value) = (&batch.bytes[start..key_end], &batch.bytes[key_end..end]);
            let cost = cost(key, value);
            if self.buffer.used_bytes + cost > self.layout.budget_bytes && !self.buffer.is_empty() {
                let mut combined = self.combine()?;
                self.spills.add(|run| combined.drain(run))?;
            }
            self.buffer.push(self.layout.partitioner.of(key, value, self.layout.partitions), key, value, cost);
            start = end;
        }
        Ok(())
    }

    fn spilled_bytes(&self) -> u64 {
        self.spills.spilled_bytes()
    }

    fn finish(&mut self) -> Result<RunSummary, Reason> {
        let mut combined = self.combine()?;
        if self.spills.is_empty() {
            let mut output = self.layout.final_run();
            combined.drain(&mut output)?;
            return output.finish();
        }
        self.spills.add(|run| combined.drain(run))?;
        self.spills.merge::<NoCombiner>(None)
    }
}
