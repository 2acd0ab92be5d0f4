//! How long the won tasks of a stage took, as a histogram: a median in a few dozen numbers, whatever the count.
//!
//! Four buckets to an octave, so that the median is at most a quarter too long; never too short, since who asks wants to
//! know what is unusually slow.

use std::collections::BTreeMap;

/// Durations by bucket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Durations {
    buckets: BTreeMap<u32, u64>,
    count: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, took_ms: u64, times: u32) {
        *self.buckets.entry(bucket(took_ms)).or_default() += u64::from(times);
        self.count += u64::from(times);
    }

    /// An upper bound of the median, in milliseconds; `None` when nothing was added.
    pub(crate) fn median_ms(&self) -> Option<u64> {
        let mut before = 0;
        let bucket = self.buckets.iter().find(|(_, n)| {
            before += **n;
            before * 2 >= self.count
        });
        bucket.map(|(bucket, _)| end(*bucket))
    }
}

/// Numbers below 4 have buckets of their own; from there each octave has four.
fn bucket(ms: u64) -> u32 {
    match ms.checked_ilog2() {
        None | Some(0 | 1) => u32::try_from(ms).unwrap_or(0),
        Some(octave) => (octave - 1) * 4 + u32::try_from((ms >> (octave - 2)) & 3).unwrap_or(0),
    }
}

/// The largest number of a bucket.
fn end(bucket: u32) -> u64 {
    if bucket < 4 {
        return u64::from(bucket);
    }
    let (octave, quarter) = (bucket / 4 + 1, u64::from(bucket % 4));
    ((quarter + 5) << (octave - 2)).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_little_too_long_and_never_too_short() {
        let mut durations = Durations::default();
        assert_eq!(durations.median_ms(), None);
        for ms in [0, 1, 3, 4, 5, 7, 8, 100, 999, 3_456, 1 << 40, u64::MAX] {
            let bound = end(bucket(ms));
            assert!(bound >= ms && bound - ms <= ms / 4, "{ms} is in a bucket that ends at {bound}");
        }
        for ms in [2_000, 3_000, 4_000, 60_000, 90_000] {
            durations.add(ms, 1);
        }
        let median = durations.median_ms().unwrap();
        assert!((4_000..5_000).contains(&median), "{median}");
    }
}
