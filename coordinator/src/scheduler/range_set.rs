//! Sets of numbers kept as ranges: a million queued tasks are one range, not a million items.
//!
//! Invariant: ranges are not empty, do not overlap and do not touch, so that equal sets are equal values.

use std::collections::BTreeMap;

use gristmill_common::{Fence, FenceRange, TaskRange};

/// A set of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct RangeSet {
    /// End (exclusive) by start.
    ranges: BTreeMap<u64, u64>,
    len: u64,
}

impl RangeSet {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, n: u64) -> bool {
        self.ranges.range(..=n).next_back().is_some_and(|(_, &end)| end > n)
    }

    /// Adds `start .. end`.
    pub(crate) fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        self.remove(start, end);
        self.len += end - start;
        let (mut start, mut end) = (start, end);
        if let Some((&before, &until)) = self.ranges.range(..start).next_back()
            && until == start
        {
            self.ranges.remove(&before);
            start = before;
        }
        if let Some(after) = self.ranges.remove(&end) {
            end = after;
        }
        self.ranges.insert(start, end);
    }

    /// Takes out `start .. end`.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.ranges.range(..=start).next_back().map_or(start, |(&s, _)| s);
        while let Some((&s, &e)) = self.ranges.range(first..end).find(|&(_, &e)| e > start) {
            self.ranges.remove(&s);
            self.len -= e - s;
            if s < start {
                self.ranges.insert(s, start);
                self.len += start - s;
            }
            if e > end {
                self.ranges.insert(end, e);
                self.len += e - end;
            }
        }
    }

    /// The ranges from `at` on, in order, as `(start, end)`; the first one cut at `at`.
    pub(crate) fn iter_from(&self, at: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.ranges.range(..=at).next_back().map_or(at, |(&s, _)| s);
        self.ranges.range(first..).filter(move |&(_, &e)| e > at).map(move |(&s, &e)| (s.max(at), e))
    }

    /// All ranges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(&s, &e)| (s, e))
    }

    /// The parts of `start .. end` that are in the set.
    pub(crate) fn within(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        self.iter_from(start).take_while(|&(s, _)| s < end).map(|(s, e)| (s, e.min(end))).collect()
    }

    /// The parts of `start .. end` that are not in the set.
    pub(crate) fn gaps(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut at = start;
        let mut gaps = Vec::new();
        for (s, e) in self.within(start, end) {
            if s > at {
                gaps.push((at, s));
            }
            at = e;
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    pub(crate) fn insert_tasks(&mut self, tasks: TaskRange) {
        self.insert(u64::from(tasks.first), u64::from(tasks.end()));
    }

    pub(crate) fn remove_tasks(&mut self, tasks: TaskRange) {
        self.remove(u64::from(tasks.first), u64::from(tasks.end()));
    }

    pub(crate) fn insert_fences(&mut self, fences: FenceRange) {
        self.insert(fences.first.0, fences.end().0);
    }

    /// The set as ranges of fences.
    pub(crate) fn to_fences(&self) -> Vec<FenceRange> {
        self.iter().flat_map(|(s, e)| fence_ranges(s, e)).collect()
    }
}

/// `start .. end` as fence ranges: one, unless it is longer than a range can say.
pub(crate) fn fence_ranges(start: u64, end: u64) -> impl Iterator<Item = FenceRange> {
    let most = u64::from(u32::MAX);
    (0..(end - start).div_ceil(most)).map(move |i| {
        let first = start + i * most;
        FenceRange { first: Fence(first), count: u32::try_from(end - first).unwrap_or(u32::MAX) }
    })
}

/// `start .. end` as a task range; ends that no task has are cut.
pub(crate) fn task_range(start: u64, end: u64) -> TaskRange {
    let first = u32::try_from(start).unwrap_or(u32::MAX);
    TaskRange { first, count: u32::try_from(end.saturating_sub(start)).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut ranges, mut plain) = (RangeSet::default(), BTreeSet::new());
        for _ in 0..20_000 {
            let start = next(60);
            let end = start + next(12);
            if next(2) == 0 {
                ranges.insert(start, end);
                plain.extend(start..end);
            } else {
                ranges.remove(start, end);
                plain.retain(|n| !(start..end).contains(n));
            }
            assert_eq!(ranges.len(), plain.len() as u64);
            let all: Vec<u64> = ranges.iter().flat_map(|(s, e)| s..e).collect();
            assert_eq!(all, plain.iter().copied().collect::<Vec<_>>());
            assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 < b.0), "ranges touch");
            let (from, to) = (next(60), next(70));
            assert_eq!(ranges.contains(from), plain.contains(&from));
            let inside: Vec<u64> = ranges.within(from, to).into_iter().flat_map(|(s, e)| s..e).collect();
            let gaps: Vec<u64> = ranges.gaps(from, to).into_iter().flat_map(|(s, e)| s..e).collect();
            assert_eq!(inside, plain.iter().copied().filter(|n| (from..to).contains(n)).collect::<Vec<_>>());
            assert_eq!(gaps, (from..to).filter(|n| !plain.contains(n)).collect::<Vec<_>>());
        }
    }
}
