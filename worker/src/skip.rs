//! Records that user code failed at before, as an attempt is told of them: it names records exactly, and leaves some out.
//!
//! A program that is given one record at a time asks [`Skips::leaves_out`] before each. One that is given many at a time
//! has to be given them singly when [`Skips::is_careful`]; one whose place is known only roughly, such as a command at the
//! other end of a pipe, finds the record by running again over ever shorter beginnings of its input ([`first_bad`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::wire::Skipped;

/// What an attempt is told of the records of its task.
#[derive(Debug, Default)]
pub struct Skips {
    is_careful: bool,
    records: Vec<(Skipped, AtomicBool)>,
    by_offset: HashMap<u64, Vec<usize>>,
}

impl Skips {
    /// For a task without a failure at a record.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// For a task that failed at a record before; these are left out.
    #[must_use]
    pub fn careful(records: Vec<Skipped>) -> Self {
        let mut by_offset = HashMap::<u64, Vec<usize>>::new();
        for (index, record) in records.iter().enumerate() {
            by_offset.entry(record.at.offset).or_default().push(index);
        }
        let records = records.into_iter().map(|record| (record, AtomicBool::new(false))).collect();
        Self { is_careful: true, records, by_offset }
    }

    /// Says whether a failure has to name its record exactly.
    #[must_use]
    pub fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// Says whether the record is left out, and remembers that it was. `name` and `offset` are what a failure at it would
    /// name as its [`gristmill_common::Place`].
    pub fn leaves_out(&self, name: &str, offset: u64) -> bool {
        let Some(indexes) = self.by_offset.get(&offset) else { return false };
        let records = indexes.iter().filter_map(|index| self.records.get(*index));
        let found = records.into_iter().find(|(record, _)| record.at.file == name);
        found.inspect(|(_, is_met)| is_met.store(true, Ordering::Relaxed)).is_some()
    }

    /// Returns the records that the attempt met and left out.
    #[must_use]
    pub fn left_out(&self) -> Vec<Skipped> {
        let met = self.records.iter().filter(|(_, is_met)| is_met.load(Ordering::Relaxed));
        met.map(|(record, _)| record.clone()).collect()
    }
}

/// Finds the first of `count` records that makes a run fail, by running over beginnings of them: `fails(n)` runs over the
/// first `n` and says whether that failed. All of them fail together; a program whose failure does not stay where it is
/// gets some record named, never a wrong result. Takes about log2(`count`) runs.
///
/// # Errors
/// What a run fails with otherwise.
pub fn first_bad<E>(count: u64, mut fails: impl FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
    let (mut good, mut bad) = (0, count.max(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fails(middle)? {
            bad = middle;
        } else {
            good = middle;
        }
    }
    Ok(bad - 1)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use gristmill_common::Place;

    use super::*;

    #[test]
    fn records_are_left_out_by_file_and_offset() {
        let record = |file: &str, offset| Skipped { at: Place { file: file.to_owned(), offset }, why: "no".to_owned() };
        let skips = Skips::careful(vec![record("a", 5), record("b", 5), record("a", 9)]);
        assert!(skips.leaves_out("b", 5) && !skips.leaves_out("b", 9) && !skips.leaves_out("c", 5));
        assert!(skips.leaves_out("a", 9));
        assert_eq!(skips.left_out(), [record("b", 5), record("a", 9)]);
        assert!(!Skips::none().is_careful() && !Skips::none().leaves_out("a", 5));
    }

    #[test]
    fn the_first_bad_record_is_found_in_few_runs() {
        for count in [1, 2, 3, 1_000] {
            for bad in 0..count {
                let mut runs = 0;
                let found = first_bad(count, |n| {
                    runs += 1;
                    Ok::<_, Infallible>(n > bad)
                });
                assert_eq!(found, Ok(bad));
                assert!(runs <= 10, "{runs} runs for {count}");
            }
        }
    }
}
