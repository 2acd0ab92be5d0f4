//! The data plane: reads splits, collects, sorts and spills records, merges and reduces them.
//!
//! What it writes depends on the plan, the input and user code alone: not on block sizes, memory, timing or the order in
//! which sections arrive. Ties of keys keep (map index, place in the map) order; combiners run where the plan's logical
//! budget says. It knows bytes, not types; the `sdk` crate's typed functions are compiled into it.

mod blocks;
mod collect;
mod combine_run;
mod counters;
mod failure;
mod fed;
mod fold;
mod function;
mod input;
mod lines;
mod map;
mod members;
mod output;
mod parquet;
mod partition;
mod records;
mod reduce;
mod sort;
mod spill;
mod table;
mod unpack;
mod window;

pub use collect::{Collector, Stretches};
pub use combine_run::{CombineRun, Combined};
pub(crate) use failure::map_output as unreadable_output;
pub use fed::{map_fed, map_fed_shuffled};
pub use function::{Accumulate, Group, MapFunction, NoCombiner, ReduceFunction, Start, Text, Unit};
pub use lines::Lines;
pub use map::{Shuffle, map, map_shuffled};
pub use partition::{PartitionFunction, Partitioner, Ranges, partition_of};
pub use reduce::{reduce, reduce_sorted};

#[cfg(test)]
mod tests;
