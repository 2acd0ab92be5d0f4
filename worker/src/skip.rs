//! Records that user code failed at before, as an attempt is told of them: it names records exactly, and leaves some out.
//!
//! The data plane asks [`Skips::leaves_out`] before each record, and gives records singly when [`Skips::is_careful`]. A program
//! whose own place is known only roughly, such as a command at the other end of a pipe, has its records found by running it
//! again over ever shorter beginnings of its input ([`narrowed`]); what such a run writes is thrown away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use gristmill_common::reason::bounded;
use gristmill_common::wire::Skipped;
use gristmill_common::{Place, Reason, limits};

use crate::program::TaskDone;

/// What an attempt is told of the records of its task.
#[derive(Debug, Default)]
pub struct Skips {
    is_careful: bool,
    /// What the program is at when it fails is not known from here.
    is_rough: bool,
    /// All records behind so many are left out too, in a run that looks for one.
    most: Option<u64>,
    passed: AtomicU64,
    /// The last of those many.
    last: Mutex<Option<Place>>,
    /// Records that are not of the input's format are left out and listed.
    takes_bad: bool,
    bad: Mutex<Vec<Skipped>>,
    records: Vec<(Skipped, AtomicBool)>,
    by_offset: HashMap<u64, Vec<usize>>,
}

impl Skips {
    /// For a task without a failure at a record.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// As this, for a job that leaves out records that are not of its input's format.
    #[must_use]
    pub fn taking_bad(mut self) -> Self {
        self.takes_bad = true;
        self
    }

    /// Says whether records that are not of the input's format are left out.
    #[must_use]
    pub fn takes_bad(&self) -> bool {
        self.takes_bad
    }

    /// Forgets what an earlier run of the task left out.
    pub(crate) fn begin(&self) {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Leaves out a record that is not of the input's format.
    ///
    /// # Errors
    /// [`Reason::BadRecord`] when none may be left out, or no more.
    pub(crate) fn bad(&self, file: &str, offset: u64, why: &str) -> Result<(), Reason> {
        let at = Place { file: file.to_owned(), offset };
        if !self.takes_bad {
            return Err(Reason::BadRecord { message: bounded(why.to_owned()), at: Some(at) });
        }
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.len() >= limits::SKIPS_PER_REPORT {
            let message = format!("more than {} bad records in one split, the last one: {why}", bad.len());
            return Err(Reason::BadRecord { message: bounded(message), at: Some(at) });
        }
        bad.push(Skipped { at, why: bounded(why.to_owned()), by_reader: true });
        Ok(())
    }

    /// For a task that failed at a record before; these are left out.
    #[must_use]
    pub fn careful(records: Vec<Skipped>) -> Self {
        let mut by_offset = HashMap::<u64, Vec<usize>>::new();
        for (index, record) in records.iter().enumerate() {
            by_offset.entry(record.at.offset).or_default().push(index);
        }
        let records = records.into_iter().map(|record| (record, AtomicBool::new(false))).collect();
        Self { is_careful: true, records, by_offset, ..Self::default() }
    }

    /// As this, for a program whose own place is known only roughly.
    #[must_use]
    pub fn rough(mut self) -> Self {
        self.is_rough = true;
        self
    }

    /// As this, for the first records only.
    fn first(&self, most: u64) -> Self {
        let records = self.records.iter().map(|(record, _)| record.clone()).collect();
        Self { is_rough: self.is_rough, takes_bad: self.takes_bad, most: Some(most), ..Self::careful(records) }
    }

    /// Says whether the record that is read last says nothing about the one that the program fails at.
    #[must_use]
    pub fn is_rough(&self) -> bool {
        self.is_rough
    }

    /// Says whether a failure has to name its record exactly.
    #[must_use]
    pub fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// Says whether the record is left out, and remembers that it was. `name` and `offset` are what a failure at it would
    /// name as its [`gristmill_common::Place`].
    pub fn leaves_out(&self, name: &str, offset: u64) -> bool {
        let indexes = self.by_offset.get(&offset).into_iter().flatten();
        let mut records = indexes.filter_map(|index| self.records.get(*index));
        if let Some((_, is_met)) = records.find(|(record, _)| record.at.file == name) {
            is_met.store(true, Ordering::Relaxed);
            return true;
        }
        let before = self.passed.fetch_add(1, Ordering::Relaxed);
        let Some(most) = self.most else { return false };
        if before + 1 == most {
            let place = Place { file: name.to_owned(), offset };
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        }
        before >= most
    }

    /// Returns the records that the attempt met and left out.
    #[must_use]
    pub fn left_out(&self) -> Vec<Skipped> {
        let met = self.records.iter().filter(|(_, is_met)| is_met.load(Ordering::Relaxed));
        let mut left_out: Vec<Skipped> = met.map(|(record, _)| record.clone()).collect();
        left_out.extend(self.bad.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        left_out
    }
}

/// Names the record at which a run failed, by running again over beginnings of its records. `whole` is what that run was told,
/// `run` runs as it did. Of a program that does not fail again the first reason is returned, without a place.
pub(crate) fn narrowed(
    whole: &Skips,
    reason: Reason,
    mut run: impl FnMut(&Skips) -> Result<TaskDone, Reason>,
) -> Reason {
    let mut named = None;
    let mut fails = |records: u64| {
        let skips = whole.first(records);
        match run(&skips) {
            Ok(_) => Ok(false),
            Err(reason) if reason.is_user_failure() => {
                let place = skips.last.lock().unwrap_or_else(PoisonError::into_inner).take();
                named = Some((reason, place));
                Ok(true)
            }
            Err(reason) => Err(reason),
        }
    };
    let found = first_bad(whole.passed.load(Ordering::Relaxed), &mut fails).and_then(|bad| fails(bad + 1));
    match (found, named) {
        (Ok(true), Some((reason, place))) => reason.placed(place),
        (Ok(_), _) => reason.placed(None),
        (Err(other), _) => other,
    }
}

/// Finds the first of `count` records that makes a run fail, by running over beginnings of them: `fails(n)` runs over the
/// first `n` and says whether that failed. All of them fail together; a program whose failure does not stay where it is
/// gets some record named, never a wrong result. Takes about log2(`count`) runs.
///
/// # Errors
/// What a run fails with otherwise.
fn first_bad<E>(count: u64, mut fails: impl FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
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

    use super::*;

    #[test]
    fn records_are_left_out_by_file_and_offset() {
        let record = |file: &str, offset| Skipped {
            at: Place { file: file.to_owned(), offset },
            why: "no".to_owned(),
            by_reader: false,
        };
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
