//! Assigns keys to partitions. Part of the format: the same key must go to the same reduce on every worker, always.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// A partition of a record by key and value, among so many.
pub type PartitionFunction = dyn Fn(&[u8], &[u8], u32) -> u32 + Send + Sync;

/// Assigns records to partitions.
#[derive(Clone, Default)]
pub enum Partitioner {
    /// By [`partition_of`] the key.
    #[default]
    Hash,
    /// By a function that depends on nothing else. What lies beyond the last partition goes to the last.
    Function(Arc<PartitionFunction>),
}

impl Partitioner {
    #[inline]
    pub(super) fn of(&self, key: &[u8], value: &[u8], partitions: u32) -> u32 {
        match self {
            Self::Hash => partition_of(key, partitions),
            Self::Function(function) => function(key, value, partitions).min(partitions.saturating_sub(1)),
        }
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
}
