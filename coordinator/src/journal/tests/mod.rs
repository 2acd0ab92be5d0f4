//! Both journals keep what they were given, and the one on disk survives what disks and processes do to it.

mod golden_rows;
mod on_disk;
pub(crate) mod thread;

use gristmill_common::api::OutputView;
use gristmill_common::plan::{PlanSummary, StepShape};
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::{Digest, JobId, JobSpec, TokenSecret};
use uuid::Uuid;

use super::memory::MemoryJournal;
use super::sqlite::SqliteJournal;
use super::{Journal, Record, Replay};
use crate::scheduler::{Entry, Scheduler, SchedulerConfig};

pub(super) const CLUSTER: Uuid = Uuid::from_u128(0xc1);

pub(super) fn job(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

pub(super) fn submitted(number: u128) -> Record {
    let inputs = vec![Input::Generated(Generated { generate: 10 })];
    let spec = Box::new(JobSpec::new(format!("job {number}"), inputs, vec![StepSpec::native("count")]));
    Record { wall_ms: 1_000, entry: Entry::JobSubmitted { job: job(number), spec, at: 1_000, idempotency: None } }
}

pub(super) fn planned(number: u128) -> Record {
    let plan = PlanSummary {
        digest: Digest::of(b"plan"),
        shapes: vec![StepShape { maps: 2, reduces: 1, fused: false }],
        input_files: 0,
        input_bytes: 0,
        roots: Vec::new(),
        protocol: 0,
    };
    Record { wall_ms: 2_000, entry: Entry::JobPlanned { job: job(number), plan } }
}

pub(super) fn removed(number: u128) -> Record {
    Record { wall_ms: 3_000, entry: Entry::JobRemoved { job: job(number) } }
}

pub(super) fn kinds(journal: &mut dyn Journal) -> Vec<String> {
    journal.rows(None, 0, 1_000).expect("reads").into_iter().map(|row| row.kind).collect()
}

fn both(check: impl Fn(&mut dyn Journal)) {
    check(&mut MemoryJournal::new(CLUSTER));
    let home = tempfile::tempdir().expect("a directory");
    check(&mut SqliteJournal::open(home.path(), CLUSTER).expect("opens"));
}

#[test]
fn rows_come_back_in_order_in_pages_and_by_job() {
    both(|journal| {
        journal.append(&[submitted(1), submitted(2)]).expect("appends");
        journal.append(&[planned(1), planned(2)]).expect("appends");
        assert_eq!(journal.cluster(), CLUSTER);
        let rows = journal.rows(None, 0, 3).expect("reads");
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(journal.rows(None, 3, 3).expect("reads").len(), 1);
        let of_two = journal.rows(Some(job(2)), 0, 10).expect("reads");
        assert_eq!(
            of_two.iter().map(|row| (row.seq, row.kind.as_str())).collect::<Vec<_>>(),
            [(2, "submitted"), (4, "planned")]
        );
        assert_eq!((of_two[1].wall_ms, of_two[1].job), (2_000, Some(job(2))));
        assert_eq!(of_two[1].entry().expect("an entry"), planned(2).entry);

        let mut replay = Replay::new(journal);
        let entries: Vec<_> = replay.by_ref().collect();
        replay.finish().expect("all of them");
        assert_eq!(entries, [submitted(1), submitted(2), planned(1), planned(2)].map(|record| record.entry));
    });
}

#[test]
fn a_forgotten_job_leaves_nothing_and_others_stay() {
    both(|journal| {
        journal.append(&[submitted(1), submitted(2), planned(1), removed(1)]).expect("appends");
        while journal.forget(job(1)).expect("deletes") {}
        assert_eq!(journal.rows(Some(job(1)), 0, 10).expect("reads"), []);
        assert_eq!(journal.rows(None, 0, 10).expect("reads").len(), 1);
        journal.append(&[planned(2)]).expect("appends");
        let last = journal.rows(None, 0, 10).expect("reads").pop().expect("a row");
        assert_eq!(last.seq, 5, "numbers are not used again");
    });
}

#[test]
fn a_compacted_job_is_one_row_in_the_place_of_its_first() {
    let output = OutputView { url: "url".to_owned(), bytes: 0, records: 0, parts: 0 };
    let succeeded = Record { wall_ms: 4_000, entry: Entry::JobSucceeded { job: job(1), at: 4_000, output } };
    let records = [submitted(1), submitted(2), planned(1), succeeded];
    let secret = TokenSecret::new([1; 32]);
    let entries = records.iter().map(|record| record.entry.clone());
    let summary =
        Scheduler::recover(entries, secret, SchedulerConfig::default()).compacted(job(1)).expect("it is over");
    both(|journal| {
        journal.append(&records).expect("appends");
        while journal.compact(job(1), &summary).expect("compacts") {}
        assert_eq!(kinds(journal), ["job_compacted", "submitted"]);
        assert_eq!(journal.rows(Some(job(1)), 0, 10).expect("reads")[0].entry().expect("an entry"), summary);
        // A second time, and once more when it was removed meanwhile, changes nothing.
        while journal.compact(job(1), &summary).expect("compacts") {}
        assert_eq!(kinds(journal), ["job_compacted", "submitted"]);
        journal.append(&[removed(1)]).expect("appends");
        while journal.compact(job(1), &summary).expect("compacts") {}
        while journal.forget(job(1)).expect("deletes") {}
        while journal.compact(job(1), &summary).expect("compacts") {}
        assert_eq!(kinds(journal), ["submitted"]);
    });
}
