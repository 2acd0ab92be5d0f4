//! What the combiners of one attempt count, which are started many times, on whatever threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::program::TaskDone;

/// Sums by counter. A clone adds to the same ones.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<BTreeMap<String, i64>>>);

impl Counts {
    pub(crate) fn add(&self, name: String, amount: i64) {
        let mut sums = self.sums();
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(amount);
    }

    /// Adds the sums to what the attempt counted otherwise.
    pub(crate) fn add_to(&self, mut done: TaskDone) -> TaskDone {
        for (name, amount) in std::mem::take(&mut *self.sums()) {
            let sum = done.counters.entry(name).or_default();
            *sum = sum.saturating_add(amount);
        }
        done
    }

    fn sums(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combiners_count_together_and_what_they_counted_is_given_once() {
        let counts = Counts::default();
        counts.clone().add("read".to_owned(), 3);
        counts.add("read".to_owned(), 4);
        counts.add("bad".to_owned(), i64::MAX);
        let counted =
            TaskDone { counters: [("read".to_owned(), 5), ("bad".to_owned(), 1)].into(), ..TaskDone::default() };
        let done = counts.add_to(counted);
        assert_eq!(done.counters, [("read".to_owned(), 12), ("bad".to_owned(), i64::MAX)].into());
        assert_eq!(counts.add_to(done.clone()), done);
    }
}
