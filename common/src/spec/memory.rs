//! The memory that attempts of a job take, as far as the engine uses it.

use super::{JOIN, JobSpec, StepSpec};
use crate::limits;
use crate::program::Program;

impl JobSpec {
    /// Returns the memory that an attempt of a step takes at most, beside what user code takes, in bytes; 0 for no such step.
    ///
    /// It follows from the sort budget, which is the plan's and the same everywhere: a worker with less memory runs fewer
    /// attempts at a time, and never makes other bytes.
    #[must_use]
    pub fn attempt_bytes(&self, step: usize) -> u64 {
        let Some(at) = self.steps.get(step) else { return 0 };
        let next = self.steps.get(step + 1).filter(|next| next.fuse && at.reduce);
        // A reduce that runs the next step's maps too merges while they sort.
        let fused = next.map_or(0, |next| next.memory_percent() + limits::MERGE_MEMORY_PERCENT);
        self.sort_budget_bytes / 100 * at.memory_percent().max(fused) + limits::ATTEMPT_BYTES
    }

    /// Returns how many attempts of any step fit into this much memory of a worker at a time, and the least memory for one.
    #[must_use]
    pub fn slots_in(&self, memory_bytes: u64) -> (u64, u64) {
        let attempt = (0..self.steps.len()).map(|step| self.attempt_bytes(step)).max().unwrap_or(limits::ATTEMPT_BYTES);
        (memory_bytes.saturating_sub(limits::WORKER_BYTES) / attempt, attempt + limits::WORKER_BYTES)
    }
}

impl StepSpec {
    /// Returns the memory of an attempt in hundredths of the sort budget: most where a table of combined records may double.
    fn memory_percent(&self) -> u64 {
        let has_combiner = match self.program() {
            Program::Command(command) => command.combiner.is_some(),
            Program::Wasm(wasm) => wasm.combiner.is_some(),
            // Only the program knows; that of a join is known here.
            Program::Native(name) => name != JOIN,
        };
        match (self.reduce, self.order.is_none() && self.combine && has_combiner) {
            (false, _) => 0,
            (true, false) => limits::SORT_MEMORY_PERCENT,
            (true, true) => limits::TABLE_MEMORY_PERCENT,
        }
    }
}
