//! The thread keeps a batch that finds no room, serves readers meanwhile, and ends at what it cannot judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use gristmill_common::JobId;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{CLUSTER, job, planned, submitted};
use crate::journal::memory::MemoryJournal;
use crate::journal::thread::{Progress, spawn};
use crate::journal::{Journal, JournalError, Record, Row};

/// A journal in memory whose disk does what it is told.
pub(crate) struct Moody {
    inner: MemoryJournal,
    mood: Arc<AtomicU8>,
}

pub(crate) const WELL: u8 = 0;
pub(crate) const FULL: u8 = 1;
pub(crate) const BROKEN: u8 = 2;
pub(crate) const SCARCE: u8 = 3;

impl Moody {
    pub(crate) fn new() -> (Self, Arc<AtomicU8>) {
        let mood = Arc::new(AtomicU8::new(WELL));
        (Self { inner: MemoryJournal::new(CLUSTER), mood: Arc::clone(&mood) }, mood)
    }
}

impl Journal for Moody {
    fn cluster(&self) -> Uuid {
        self.inner.cluster()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        match self.mood.load(Ordering::SeqCst) {
            FULL => Err(JournalError::Full("no space".to_owned())),
            BROKEN => Err(JournalError::Broken("i/o error".to_owned())),
            _ => self.inner.append(records),
        }
    }

    fn rows(&mut self, job: Option<JobId>, after: u64, limit: usize) -> Result<Vec<Row>, JournalError> {
        self.inner.rows(job, after, limit)
    }

    fn forget(&mut self, job: JobId) -> Result<bool, JournalError> {
        self.inner.forget(job)
    }

    fn compact(&mut self, job: JobId, summary: &crate::scheduler::Entry) -> Result<bool, JournalError> {
        self.inner.compact(job, summary)
    }

    fn has_room(&mut self) -> bool {
        self.mood.load(Ordering::SeqCst) != SCARCE
    }
}

#[tokio::test]
async fn a_batch_without_room_is_kept_until_there_is_some_and_readers_are_served() {
    let (journal, mood) = Moody::new();
    let (sender, mut progress) = mpsc::unbounded_channel();
    let (link, thread) = spawn(Box::new(journal), true, sender).expect("a thread");
    link.append(vec![submitted(1)]);
    assert_eq!(progress.recv().await, Some(Progress::Appended { room: true }));

    mood.store(FULL, Ordering::SeqCst);
    link.append(vec![planned(1)]);
    assert_eq!(progress.recv().await, Some(Progress::Stalled));
    assert_eq!(link.rows(job(1), 0, 10).await.map(|rows| rows.len()), Some(1));

    mood.store(SCARCE, Ordering::SeqCst);
    let done = loop {
        match progress.recv().await {
            Some(Progress::Stalled) => {}
            other => break other,
        }
    };
    assert_eq!(done, Some(Progress::Appended { room: false }));
    assert_eq!(link.rows(job(1), 0, 10).await.map(|rows| rows.len()), Some(2), "once, not twice");
    mood.store(WELL, Ordering::SeqCst);
    assert_eq!(progress.recv().await, Some(Progress::Roomy));
    link.close();
    thread.join().expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn an_error_that_cannot_be_judged_ends_the_thread() {
    let (journal, mood) = Moody::new();
    let (sender, mut progress) = mpsc::unbounded_channel();
    let (link, thread) = spawn(Box::new(journal), true, sender).expect("a thread");
    mood.store(BROKEN, Ordering::SeqCst);
    link.append(vec![submitted(1)]);
    assert_eq!(progress.recv().await, None);
    assert!(matches!(thread.join().expect("no panic"), Err(JournalError::Broken(_))));
    assert_eq!(link.rows(job(1), 0, 10).await, None);
}
