//! What only a journal on disk can get wrong.

use std::fs;
use std::process::Command;

use rusqlite::Connection;
use uuid::Uuid;

use super::{CLUSTER, job, kinds, planned, removed, submitted};
use crate::data_dir::DataDir;
use crate::journal::sqlite::SqliteJournal;
use crate::journal::{Journal, JournalError, Replay};

/// The data directory of the second process of [`two_processes_cannot_share_a_data_directory`].
const SECOND: &str = "GRISTMILL_TEST_SECOND_OWNER";

#[test]
fn what_was_appended_is_there_after_a_reopen_and_the_cluster_stays() {
    let home = tempfile::tempdir().expect("a directory");
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    journal.append(&[submitted(1)]).expect("appends");
    drop(journal);
    let mut journal = SqliteJournal::open(home.path(), Uuid::from_u128(7)).expect("opens again");
    assert_eq!((journal.cluster(), kinds(&mut journal)), (CLUSTER, vec!["submitted".to_owned()]));
}

#[test]
fn numbers_are_not_used_again_after_a_reopen() {
    let home = tempfile::tempdir().expect("a directory");
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    journal.append(&[submitted(1), removed(1)]).expect("appends");
    while journal.forget(job(1)).expect("deletes") {}
    drop(journal);
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens again");
    journal.append(&[submitted(2)]).expect("appends");
    assert_eq!(journal.rows(None, 0, 1).expect("reads")[0].seq, 3);
}

/// A crash in the middle of a commit leaves the log's last frames torn; a copy taken while the log is in use has them all.
#[test]
fn a_torn_tail_loses_the_batch_it_belongs_to_and_nothing_else() {
    let home = tempfile::tempdir().expect("a directory");
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    journal.append(&[submitted(1)]).expect("appends");
    journal.append(&[submitted(2), planned(2), planned(1)]).expect("appends");
    let log = fs::read(home.path().join("journal.db-wal")).expect("a log");
    for cut in [1, 100, 4_000] {
        let crashed = tempfile::tempdir().expect("a directory");
        fs::copy(home.path().join("journal.db"), crashed.path().join("journal.db")).expect("copies");
        fs::write(crashed.path().join("journal.db-wal"), &log[..log.len() - cut]).expect("writes");
        let mut journal = SqliteJournal::open(crashed.path(), CLUSTER).expect("opens");
        assert_eq!(kinds(&mut journal), ["submitted"], "cut by {cut}");
        journal.append(&[planned(1)]).expect("goes on");
        assert_eq!(kinds(&mut journal), ["submitted", "planned"]);
    }
}

#[test]
fn a_newer_journal_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().expect("a directory");
    drop(SqliteJournal::open(home.path(), CLUSTER).expect("opens"));
    let path = home.path().join("journal.db");
    let newer = |version: u32| {
        let connection = Connection::open(&path).expect("opens");
        connection.execute("UPDATE journal SET schema_version = ?1", [version]).expect("updates");
    };
    newer(2);
    let error = SqliteJournal::open(home.path(), CLUSTER).expect_err("newer");
    assert!(matches!(error, JournalError::Newer { found: 2, .. }), "{error}");
    newer(1);
    SqliteJournal::open(home.path(), CLUSTER).expect("opens again");
}

#[test]
fn a_file_that_is_no_journal_is_not_overwritten() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("journal.db");
    fs::write(&path, "a file of somebody else, long enough to have a header in it".repeat(50)).expect("writes");
    let error = SqliteJournal::open(home.path(), CLUSTER).expect_err("not a journal").to_string();
    assert!(error.contains("journal.db"), "{error}");
    assert!(fs::read_to_string(&path).expect("is there").starts_with("a file of somebody else"));
}

#[test]
fn a_row_that_is_no_entry_stops_the_replay_with_its_number() {
    let home = tempfile::tempdir().expect("a directory");
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    journal.append(&[submitted(1), planned(1), submitted(2)]).expect("appends");
    let connection = Connection::open(home.path().join("journal.db")).expect("opens");
    connection.execute("UPDATE entries SET body = '{\"entry\":\"of_tomorrow\"}' WHERE seq = 2", []).expect("updates");
    let mut replay = Replay::new(&mut journal);
    assert_eq!(replay.by_ref().count(), 1);
    let error = replay.finish().expect_err("unreadable");
    assert!(matches!(error, JournalError::Unreadable { seq: 2, .. }), "{error}");
}

#[test]
fn a_full_disk_rolls_the_batch_back_and_readers_still_work() {
    let home = tempfile::tempdir().expect("a directory");
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    journal.append(&[submitted(1)]).expect("appends");
    journal.limit_pages(journal.pages());
    let batch: Vec<_> = (2..200).map(submitted).collect();
    let error = journal.append(&batch).expect_err("full");
    assert!(matches!(error, JournalError::Full(_)), "{error}");
    assert_eq!(kinds(&mut journal), ["submitted"], "nothing of the batch is there");
    assert!(matches!(journal.append(&batch), Err(JournalError::Full(_))), "and it may be tried again");
    journal.limit_pages(1 << 20);
    journal.append(&batch).expect("there is room now");
    assert_eq!(kinds(&mut journal).len(), 199);
}

#[test]
fn the_ballast_is_given_up_when_the_disk_is_full_and_made_again_later() {
    let home = tempfile::tempdir().expect("a directory");
    let mut journal = SqliteJournal::open(home.path(), CLUSTER).expect("opens");
    let ballast = home.path().join("journal.ballast");
    assert!(ballast.exists() && journal.has_room());
    journal.limit_pages(journal.pages());
    let batch: Vec<_> = (0..200).map(submitted).collect();
    journal.append(&batch).expect_err("full");
    assert!(!ballast.exists());
    assert!(journal.has_room() && ballast.exists(), "this disk has room enough for another");
}

#[test]
fn two_processes_cannot_share_a_data_directory() {
    if let Some(path) = std::env::var_os(SECOND) {
        let error = DataDir::open(path.as_ref()).expect_err("in use").to_string();
        assert!(error.contains("another coordinator"), "{error}");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let _first = DataDir::open(home.path()).expect("opens");
    let name = "journal::tests::on_disk::two_processes_cannot_share_a_data_directory";
    let mut second = Command::new(std::env::current_exe().expect("a path"));
    let second = second.args(["--exact", name]).env(SECOND, home.path()).output().expect("runs");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
}
