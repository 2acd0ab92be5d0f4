//! How a step's records are shared by its partitions, as won reduces said: 24 bytes for each, whatever the number of maps.

use gristmill_common::TaskRange;
use gristmill_common::api::{PartitionView, SpreadView};
use gristmill_common::wire::Done;

use super::job::{Job, Step};

/// What each partition's reduce read; absent until it is won for the first time.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Reads(Vec<Option<Read>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Read {
    bytes: u64,
    records: u64,
}

impl Reads {
    /// Notes what won reduces read. `count`: partitions of the step.
    pub(super) fn note(&mut self, tasks: TaskRange, count: u32, done: &Done) {
        self.0.resize(count as usize, None);
        let read = Read { bytes: done.bytes_in, records: done.records_in };
        let noted = self.0.get_mut(tasks.first as usize..tasks.end() as usize);
        noted.into_iter().flatten().for_each(|partition| *partition = Some(read));
    }

    /// Returns the numbers; `None` when there are none, or too few to compare.
    pub(super) fn view(&self) -> Option<SpreadView> {
        let known = |of: fn(&Read) -> u64| self.0.iter().flatten().map(of).collect::<Vec<u64>>();
        let (mut records, mut bytes) = (known(|read| read.records), known(|read| read.bytes));
        if records.len() < 2 {
            return None;
        }
        let total = |numbers: &[u64]| numbers.iter().map(|number| u128::from(*number)).sum::<u128>().max(1);
        let (all_records, all_bytes) = (total(&records), total(&bytes));
        // Its share of the records and that of the bytes together: equal records are few bytes, and large ones few records.
        let share = |read: &Read| {
            let (records, bytes) = (u128::from(read.records), u128::from(read.bytes));
            records.saturating_mul(all_bytes).saturating_add(bytes.saturating_mul(all_records))
        };
        let known = (0_u32..).zip(&self.0).filter_map(|(partition, read)| Some((partition, (*read)?)));
        // Of equal ones the first.
        let (partition, read) = known.max_by_key(|(partition, read)| (share(read), std::cmp::Reverse(*partition)))?;
        Some(SpreadView {
            partitions: u32::try_from(records.len()).unwrap_or(u32::MAX),
            records: least_median_most(&mut records),
            bytes: least_median_most(&mut bytes),
            hottest: PartitionView { partition, records: read.records, bytes: read.bytes },
        })
    }
}

/// Of an even number, the lower of the two in the middle. There is at least one.
fn least_median_most(numbers: &mut [u64]) -> [u64; 3] {
    let middle = numbers.len().saturating_sub(1) / 2;
    let (below, median, above) = numbers.select_nth_unstable(middle);
    let median = *median;
    let least = below.iter().copied().min().unwrap_or(median);
    let most = above.iter().copied().max().unwrap_or(median);
    [least, median, most]
}

/// The numbers of each step of a job that has steps.
pub(super) fn of_steps(job: &Job) -> impl Iterator<Item = (u16, SpreadView)> + '_ {
    let view = |(index, step): (u16, &Step)| Some((index, step.reads.view()?));
    (0_u16..).zip(job.steps()).filter_map(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(reads: &[(u64, u64)]) -> Reads {
        let mut all = Reads::default();
        for (task, (records, bytes)) in (0..).zip(reads) {
            let done = Done { records_in: *records, bytes_in: *bytes, ..Done::default() };
            all.note(TaskRange::one(task), reads.len() as u32, &done);
        }
        all
    }

    #[test]
    fn the_hottest_partition_is_found_among_all() {
        let view = noted(&[(5, 50), (900, 9_000), (7, 70), (0, 0), (900, 9_000)]).view().expect("numbers");
        assert_eq!((view.partitions, view.records, view.bytes), (5, [0, 7, 900], [0, 70, 9_000]));
        assert_eq!(view.hottest, PartitionView { partition: 1, records: 900, bytes: 9_000 });
        let view = noted(&[(5_000, 48), (45_000, 44), (0, 0)]).view().expect("numbers");
        assert_eq!(view.hottest.partition, 1, "equal records are packed well");
        let view = noted(&[(1, 1), (2, 2)]).view().expect("numbers");
        assert_eq!(view.records, [1, 1, 2]);
        assert_eq!(noted(&[(1, 1)]).view(), None, "there is nothing to compare it with");
    }

    #[test]
    fn what_won_a_second_time_counts_once_and_a_range_counts_for_each() {
        let mut reads = Reads::default();
        let done = Done { records_in: 3, bytes_in: 30, ..Done::default() };
        reads.note(TaskRange { first: 1, count: 3 }, 10, &done);
        reads.note(TaskRange::one(2), 10, &done);
        let view = reads.view().expect("numbers");
        assert_eq!((view.partitions, view.records), (3, [3, 3, 3]));
        reads.note(TaskRange { first: 9, count: 5 }, 10, &done);
        assert_eq!(reads.view(), Some(view), "tasks that are not there");
    }
}
