//! A map from fences to values, kept as ranges: fifty thousand no-op attempts are a handful of spans.
//!
//! Ranges never overlap; an operation on a part of one splits it.

use std::collections::BTreeMap;

use gristmill_common::{Fence, FenceRange};

#[derive(Clone, Debug)]
pub(crate) struct FenceMap<T> {
    /// By first fence: how many, and the value of each.
    spans: BTreeMap<Fence, (u32, T)>,
    total: u64,
}

impl<T> Default for FenceMap<T> {
    fn default() -> Self {
        Self { spans: BTreeMap::new(), total: 0 }
    }
}

impl<T: Clone> FenceMap<T> {
    /// Returns how many fences are in it.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Returns its spans in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FenceRange, &T)> {
        self.spans.iter().map(|(&first, (count, value))| (FenceRange { first, count: *count }, value))
    }

    /// Returns the parts of `range` that are not in it.
    pub(crate) fn missing(&self, range: FenceRange) -> Vec<FenceRange> {
        let mut missing = Vec::new();
        let mut next = range.first;
        for (span, _) in self.overlapping(range) {
            missing.extend(between(next, span.first));
            next = next.max(span.end());
        }
        missing.extend(between(next, range.end()));
        missing
    }

    /// Puts a value on the parts of `range` that have none.
    pub(crate) fn insert(&mut self, range: FenceRange, value: &T) {
        for part in self.missing(range) {
            self.total += u64::from(part.count);
            self.spans.insert(part.first, (part.count, value.clone()));
        }
    }

    /// Takes out what is in `range`.
    pub(crate) fn remove(&mut self, range: FenceRange) -> Vec<(FenceRange, T)> {
        self.split_at(range.first);
        self.split_at(range.end());
        let firsts: Vec<Fence> = self.spans.range(range.first..range.end()).map(|(&first, _)| first).collect();
        let mut removed = Vec::with_capacity(firsts.len());
        for first in firsts {
            if let Some((count, value)) = self.spans.remove(&first) {
                self.total -= u64::from(count);
                removed.push((FenceRange { first, count }, value));
            }
        }
        removed
    }

    /// Joins the span that starts at `fence` to the one before it if `alike` says that their values are.
    pub(crate) fn join_before(&mut self, fence: Fence, alike: impl Fn(&T, &T) -> bool) {
        let Some((count, value)) = self.spans.get(&fence) else { return };
        let Some((&first, (before, other))) = self.spans.range(..fence).next_back() else { return };
        let Some(sum) = before.checked_add(*count) else { return };
        if first.plus(u64::from(*before)) == fence && alike(other, value) {
            self.spans.remove(&fence);
            if let Some((before, _)) = self.spans.get_mut(&first) {
                *before = sum;
            }
        }
    }

    fn overlapping(&self, range: FenceRange) -> impl Iterator<Item = (FenceRange, &T)> {
        let before = self.spans.range(..range.first).next_back();
        let inside = self.spans.range(range.first..range.end().max(range.first));
        before
            .into_iter()
            .chain(inside)
            .map(|(&first, (count, value))| (FenceRange { first, count: *count }, value))
            .filter(move |(span, _)| span.end() > range.first)
    }

    /// Makes `fence` the first of a span if it is inside one.
    fn split_at(&mut self, fence: Fence) {
        let Some((&first, (count, value))) = self.spans.range(..fence).next_back() else { return };
        let end = first.plus(u64::from(*count));
        if end <= fence {
            return;
        }
        let value = value.clone();
        let (head, tail) = (count_of(first, fence), count_of(fence, end));
        if let Some((count, _)) = self.spans.get_mut(&first) {
            *count = head;
        }
        self.spans.insert(fence, (tail, value));
    }
}

/// Both are inside one range, whose count is a `u32`.
fn count_of(first: Fence, end: Fence) -> u32 {
    u32::try_from(end.0 - first.0).unwrap_or(u32::MAX)
}

fn between(first: Fence, end: Fence) -> Option<FenceRange> {
    (first < end).then(|| FenceRange { first, count: count_of(first, end) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, count: u32) -> FenceRange {
        FenceRange { first: Fence(first), count }
    }

    proptest! {
        /// Whatever is done to it, it holds what a map of single fences holds.
        #[test]
        fn agrees_with_a_map_of_single_fences(
            steps in prop::collection::vec((0_u8..3, 0_u64..40, 1_u32..12, 0_u8..2), 0..40)
        ) {
            let mut map = FenceMap::default();
            let mut plain: BTreeMap<u64, u8> = BTreeMap::new();
            for (what, first, count, value) in steps {
                let span = range(first, count);
                match what {
                    0 => {
                        map.insert(span, &value);
                        for fence in span.iter() {
                            plain.entry(fence.0).or_insert(value);
                        }
                    }
                    1 => {
                        let removed = map.remove(span);
                        let mut count = 0;
                        for (part, value) in removed {
                            for fence in part.iter() {
                                prop_assert_eq!(plain.remove(&fence.0), Some(value));
                                count += 1;
                            }
                        }
                        prop_assert!(plain.range(first..first + u64::from(span.count)).next().is_none(), "{}", count);
                    }
                    _ => map.join_before(Fence(first), |a, b| a == b),
                }
                let all: BTreeMap<u64, u8> =
                    map.iter().flat_map(|(span, &value)| span.iter().map(move |fence| (fence.0, value))).collect();
                prop_assert_eq!(&all, &plain);
                prop_assert_eq!(map.len(), plain.len() as u64);
                let missing: Vec<u64> = map.missing(span).iter().flat_map(|part| part.iter()).map(|f| f.0).collect();
                let expected: Vec<u64> = span.iter().map(|f| f.0).filter(|f| !plain.contains_key(f)).collect();
                prop_assert_eq!(missing, expected);
            }
        }
    }

    #[test]
    fn joins_neighbours_that_are_alike() {
        let mut map = FenceMap::default();
        map.insert(range(1, 3), &'a');
        map.insert(range(4, 2), &'a');
        map.insert(range(6, 1), &'b');
        map.join_before(Fence(4), |a, b| a == b);
        map.join_before(Fence(6), |a, b| a == b);
        let spans: Vec<_> = map.iter().map(|(span, &value)| (span.first.0, span.count, value)).collect();
        assert_eq!(spans, [(1, 5, 'a'), (6, 1, 'b')]);
    }
}
