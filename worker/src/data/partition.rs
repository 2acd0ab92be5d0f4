//! Assigns keys to partitions. Part of the format: the same key must go to the same reduce on every worker, always.

use std::sync::Arc;

use gristmill_common::order::SplitPoint;
use gristmill_runs::key_prefix;
use xxhash_rust::xxh3::xxh3_64;

/// A partition of a record by key and value, among so many.
pub type PartitionFunction = dyn Fn(&[u8], &[u8], u32) -> u32 + Send + Sync;

/// Assigns records to partitions.
#[derive(Clone, Default)]
pub enum Partitioner {
    /// By [`partition_of`] the key.
    #[default]
    Hash,
    /// By the split points that it lies between.
    Ranges(Arc<Ranges>),
    /// By a function that depends on nothing else. What lies beyond the last partition goes to the last.
    Function(Arc<PartitionFunction>),
}

impl Partitioner {
    #[inline]
    pub(super) fn of(&self, key: &[u8], value: &[u8], partitions: u32) -> u32 {
        match self {
            Self::Hash => partition_of(key, partitions),
            Self::Ranges(ranges) => ranges.of(key).min(partitions.saturating_sub(1)),
            Self::Function(function) => function(key, value, partitions).min(partitions.saturating_sub(1)),
        }
    }
}

/// The split points of a total order: partition `p` has the keys from point `p - 1` on and below point `p`.
pub struct Ranges {
    points: Vec<Vec<u8>>,
    /// Their first bytes, side by side.
    prefixes: Vec<u64>,
}

impl Ranges {
    /// Takes points that ascend.
    #[must_use]
    pub fn new(points: &[SplitPoint]) -> Self {
        let points: Vec<Vec<u8>> = points.iter().map(|point| point.0.clone()).collect();
        let prefixes = points.iter().map(|point| key_prefix(point)).collect();
        Self { points, prefixes }
    }

    #[inline]
    fn of(&self, key: &[u8]) -> u32 {
        let prefix = key_prefix(key);
        let mut at = self.prefixes.partition_point(|point| *point < prefix);
        while self.prefixes.get(at) == Some(&prefix) && self.points[at].as_slice() <= key {
            at += 1;
        }
        // A step has at most `PARTITIONS`.
        at as u32
    }
}

/// Returns the partition of an encoded key: the high bits of its XXH3-64 (seed 0), scaled to the number of partitions.
#[inline]
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    ((u128::from(xxh3_64(key)) * u128::from(partitions)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of these numbers would send one key to two reduces in a fleet of two versions.
    #[test]
    fn the_assignment_never_changes() {
        let of = |key: &str| (partition_of(key.as_bytes(), 4), partition_of(key.as_bytes(), 10_000));
        assert_eq!(
            ["", "a", "the", "antidisestablishmentarianism"].map(of),
            [(0, 1758), (3, 9014), (3, 7932), (0, 1579)]
        );
        assert_eq!(partition_of(b"anything", 1), 0);
    }

    #[test]
    fn a_point_is_the_first_key_of_its_range() {
        let points = ["b", "b\0", "same prefix 1", "same prefix 2", "z"];
        let points: Vec<_> = points.iter().map(|point| SplitPoint(point.as_bytes().to_vec())).collect();
        let ranges = Ranges::new(&points);
        let keys = [
            "",
            "a",
            "b",
            "b\0",
            "b\0\0",
            "c",
            "same prefix",
            "same prefix 1",
            "same prefix 15",
            "same prefix 2",
            "z",
            "zz",
        ];
        assert_eq!(keys.map(|key| ranges.of(key.as_bytes())), [0, 0, 1, 2, 2, 2, 2, 3, 3, 4, 5, 5]);
        assert_eq!(Partitioner::Ranges(Arc::new(ranges)).of(b"z", b"", 3), 2);
    }
}
