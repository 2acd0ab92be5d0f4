//! Ranges of tasks and of fences: a million no-op tasks must not cost a million list items.

use serde::{Deserialize, Serialize};

use crate::ids::Fence;

/// `count` tasks of one stage from index `first` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRange {
    /// Index of the first task.
    pub first: u32,
    /// Number of tasks, at least 1 in a valid range.
    pub count: u32,
}

impl TaskRange {
    /// Makes the range of one task.
    #[must_use]
    pub fn one(index: u32) -> Self {
        Self { first: index, count: 1 }
    }

    /// Returns the index after the last one.
    #[must_use]
    pub fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }

    /// Returns the indices in order.
    pub fn iter(self) -> std::ops::Range<u32> {
        self.first..self.end()
    }

    /// Says whether the index is in the range.
    #[must_use]
    pub fn contains(self, index: u32) -> bool {
        index >= self.first && index < self.end()
    }
}

/// `count` fences from `first` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceRange {
    /// The first fence.
    pub first: Fence,
    /// Number of fences, at least 1 in a valid range.
    pub count: u32,
}

impl FenceRange {
    /// Makes the range of one fence.
    #[must_use]
    pub fn one(fence: Fence) -> Self {
        Self { first: fence, count: 1 }
    }

    /// Returns the fence after the last one.
    #[must_use]
    pub fn end(self) -> Fence {
        self.first.plus(u64::from(self.count))
    }

    /// Says whether the fence is in the range.
    #[must_use]
    pub fn contains(self, fence: Fence) -> bool {
        fence >= self.first && fence < self.end()
    }

    /// Returns the fences in order.
    pub fn iter(self) -> impl Iterator<Item = Fence> {
        (self.first.0..self.end().0).map(Fence)
    }
}

/// Packs fences, sorted and without repeats, into as few ranges as hold them.
pub fn pack(fences: impl IntoIterator<Item = Fence>) -> Vec<FenceRange> {
    let mut ranges: Vec<FenceRange> = Vec::new();
    for fence in fences {
        match ranges.last_mut() {
            Some(last) if last.end() == fence && last.count < u32::MAX => last.count += 1,
            _ => ranges.push(FenceRange::one(fence)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_neighbours() {
        let ranges = pack([3, 4, 5, 9, 11, 12].map(Fence));
        let shape: Vec<_> = ranges.iter().map(|r| (r.first.0, r.count)).collect();
        assert_eq!(shape, [(3, 3), (9, 1), (11, 2)]);
    }
}
