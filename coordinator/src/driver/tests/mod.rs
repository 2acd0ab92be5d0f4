//! The driver's rule of durability, its queue, its effects, and its end.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill_common::api::JobState;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::wire::{PollRequest, WorkerAbout};
use gristmill_common::{Code, Digest, JobId, JobSpec, SessionId, TokenSecret, WorkerId, limits};
use gristmill_storage::Roots;
use tempfile::TempDir;
use uuid::Uuid;

use super::effects::send;
use super::{Driver, DriverError, Handle, Message, Query, Surroundings, start};
use crate::journal::memory::MemoryJournal;
use crate::journal::sqlite::SqliteJournal;
use crate::journal::tests::thread::{BROKEN, FULL, Moody, SCARCE, WELL};
use crate::journal::{Journal, JournalError, Record, Row};
use crate::scheduler::{Command, Reply, SchedulerConfig};
use crate::store::Store;

const CLUSTER: Uuid = Uuid::from_u128(0xc1);

async fn drive(home: &TempDir, journal: impl Journal + 'static) -> Driver {
    let store = Store::open(home.path()).expect("a store");
    let surroundings = Surroundings::new(store, Arc::new(Roots::none()));
    let config = SchedulerConfig { hold_ms: 100, ..SchedulerConfig::default() };
    start(Box::new(journal), TokenSecret::new([1; 32]), config, surroundings).await.expect("starts")
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn job(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

fn submit(number: u128) -> Command {
    let inputs = vec![Input::Generated(Generated { generate: 2 })];
    let spec = Box::new(JobSpec::new("numbers", inputs, vec![StepSpec::native("numbers")]));
    Command::SubmitJob { job: job(number), spec, idempotency: None }
}

fn poll(seq: u64, free_slots: u32) -> PollRequest {
    PollRequest {
        seq,
        seen: seq - 1,
        free_slots,
        ..PollRequest::new(
            WorkerId(Uuid::from_u128(1)),
            SessionId(Uuid::from_u128(2)),
            WorkerAbout {
                name: "w".to_owned(),
                host: "h".to_owned(),
                version: "0".to_owned(),
                slots: 4,
                programs: vec!["numbers".to_owned()],
                executable: Digest::of(b"w"),
                ..WorkerAbout::default()
            },
        )
    }
}

async fn state(handle: &Handle, number: u128) -> Option<JobState> {
    handle.query(move |scheduler, _| scheduler.state(job(number))).await.expect("answers")
}

async fn until(handle: &Handle, number: u128, wanted: JobState) {
    for _ in 0..500 {
        if state(handle, number).await == Some(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("job {number} is {:?}, not {wanted:?}", state(handle, number).await);
}

/// A journal that appends a batch when it is let, and tells how large batches were.
struct Gate {
    inner: MemoryJournal,
    shut: Arc<AtomicBool>,
    permits: Mutex<Receiver<()>>,
    batches: Arc<Mutex<Vec<usize>>>,
}

struct Keys {
    shut: Arc<AtomicBool>,
    permits: Sender<()>,
    batches: Arc<Mutex<Vec<usize>>>,
}

fn gate() -> (Gate, Keys) {
    let (sender, receiver) = channel();
    let (shut, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let inner = MemoryJournal::new(CLUSTER);
    let gate = Gate { inner, shut: Arc::clone(&shut), permits: Mutex::new(receiver), batches: Arc::clone(&batches) };
    (gate, Keys { shut, permits: sender, batches })
}

impl Journal for Gate {
    fn cluster(&self) -> Uuid {
        CLUSTER
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        self.batches.lock().expect("a lock").push(records.len());
        if self.shut.load(Ordering::SeqCst) {
            let _ = self.permits.lock().expect("a lock").recv();
        }
        self.inner.append(records)
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
        true
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn promises_and_reads_wait_for_the_disk_and_commands_gather_meanwhile() {
    let home = home();
    let (journal, keys) = gate();
    let driver = drive(&home, journal).await;
    let handle = driver.handle.clone();
    keys.shut.store(true, Ordering::SeqCst);

    let spawn = |number| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.command(submit(number)).await })
    };
    let first = spawn(1);
    settle().await;
    let others: Vec<_> = (2..6).map(spawn).collect();
    let reader = {
        let handle = handle.clone();
        tokio::spawn(async move { state(&handle, 1).await })
    };
    settle().await;
    assert!(!first.is_finished() && !reader.is_finished() && others.iter().all(|other| !other.is_finished()));

    keys.permits.send(()).expect("is there");
    assert!(matches!(first.await, Ok(Ok(Reply::Submitted { existing: false, .. }))));
    settle().await;
    assert!(!reader.is_finished(), "what it saw includes what is not durable yet");
    keys.shut.store(false, Ordering::SeqCst);
    keys.permits.send(()).expect("is there");
    assert_eq!(reader.await.expect("no panic"), Some(JobState::Planning));
    for other in others {
        assert!(matches!(other.await, Ok(Ok(Reply::Submitted { .. }))));
    }
    let batches = keys.batches.lock().expect("a lock").clone();
    assert_eq!(&batches[..2], &[1, 1], "the epoch, the first submit");
    assert!(batches[2] >= 4, "one commit for all that came meanwhile: {batches:?}");
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn grants_do_not_wait_for_the_disk() {
    let home = home();
    let (journal, keys) = gate();
    let driver = drive(&home, journal).await;
    driver.handle.command(submit(1)).await.expect("accepted");
    until(&driver.handle, 1, JobState::Running).await;
    keys.shut.store(true, Ordering::SeqCst);
    let answer = tokio::time::timeout(Duration::from_secs(5), driver.handle.poll(poll(1, 2))).await;
    assert!(!answer.expect("at once").expect("an answer").grants.is_empty());
    keys.shut.store(false, Ordering::SeqCst);
    keys.permits.send(()).expect("is there");
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn a_restart_replays_and_takes_up_what_was_not_done() {
    let (home, directory) = (home(), home());
    let open = || SqliteJournal::open(directory.path(), CLUSTER).expect("opens");
    let mut journal = open();
    // A coordinator that was killed after the submit and before its plan, and one in the middle of a removal.
    let submitted = |number: u128| {
        let Command::SubmitJob { job, spec, idempotency } = submit(number) else { unreachable!("it is a submit") };
        Record { wall_ms: 1, entry: crate::scheduler::Entry::JobSubmitted { job, spec, at: 1, idempotency } }
    };
    let entry = |entry| Record { wall_ms: 1, entry };
    let records = [
        submitted(1),
        submitted(2),
        entry(crate::scheduler::Entry::JobCancelled { job: job(2), at: 1 }),
        entry(crate::scheduler::Entry::JobRemoved { job: job(2) }),
    ];
    journal.append(&records).expect("appends");
    drop(journal);

    let driver = drive(&home, open()).await;
    assert_eq!((driver.epoch.counter, driver.epoch.cluster), (1, CLUSTER));
    until(&driver.handle, 1, JobState::Running).await;
    assert_eq!(state(&driver.handle, 2).await, None);
    for _ in 0..200 {
        if driver.handle.journal().rows(job(2), 0, 10).await.is_some_and(|rows| rows.is_empty()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    driver.stop().await.expect("stops");
    let driver = drive(&home, open()).await;
    assert_eq!((driver.epoch.counter, state(&driver.handle, 1).await), (2, Some(JobState::Running)));
    assert_eq!(driver.handle.journal().rows(job(2), 0, 10).await.map(|rows| rows.len()), Some(0));
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn a_journal_of_two_clusters_is_refused() {
    let home = home();
    let mut journal = MemoryJournal::new(CLUSTER);
    let epoch = gristmill_common::Epoch { cluster: Uuid::from_u128(9), counter: 4 };
    journal.append(&[Record { wall_ms: 1, entry: crate::scheduler::Entry::EpochStarted { epoch } }]).expect("appends");
    let store = Store::open(home.path()).expect("a store");
    let surroundings = Surroundings::new(store, Arc::new(Roots::none()));
    let started = start(Box::new(journal), TokenSecret::new([1; 32]), SchedulerConfig::default(), surroundings).await;
    assert!(matches!(started.err(), Some(DriverError::ForeignEpoch { .. })));
}

async fn moody(home: &TempDir) -> (Driver, Arc<AtomicU8>) {
    let (journal, mood) = Moody::new();
    (drive(home, journal).await, mood)
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_accepted_and_what_was_said_is_kept() {
    let home = home();
    let (driver, mood) = moody(&home).await;
    driver.handle.command(submit(1)).await.expect("accepted");
    until(&driver.handle, 1, JobState::Running).await;
    mood.store(FULL, Ordering::SeqCst);
    let handle = driver.handle.clone();
    let cancelled = tokio::spawn(async move { handle.command(Command::CancelJob { job: job(1) }).await });
    settle().await;
    let code = |refused: Result<_, gristmill_common::Problem>| refused.map(drop).map_err(|problem| problem.code);
    assert_eq!(code(driver.handle.command(submit(2)).await.map(drop)), Err(Code::StorageFull));
    assert_eq!(code(driver.handle.poll(poll(1, 4)).await.map(drop)), Err(Code::StorageFull));
    assert!(
        driver.handle.journal().rows(job(1), 0, 10).await.is_some_and(|rows| rows.len() >= 2),
        "events can be read"
    );
    assert!(!cancelled.is_finished());

    mood.store(WELL, Ordering::SeqCst);
    assert!(matches!(cancelled.await, Ok(Ok(Reply::Done))));
    assert_eq!(state(&driver.handle, 1).await, Some(JobState::Cancelled));
    driver.handle.command(submit(2)).await.expect("accepted again");
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn what_an_effect_says_on_a_full_disk_is_said_again_until_it_is_kept() {
    let home = home();
    let (driver, mood) = moody(&home).await;
    driver.handle.command(submit(1)).await.expect("accepted");
    until(&driver.handle, 1, JobState::Running).await;
    mood.store(FULL, Ordering::SeqCst);
    let handle = driver.handle.clone();
    let cancelled = tokio::spawn(async move { handle.command(Command::CancelJob { job: job(1) }).await });
    settle().await;
    let inbox = driver.handle.inbox.downgrade();
    let said = tokio::spawn(async move { send(&inbox, Command::CancelJob { job: job(1) }).await });
    settle().await;
    assert!(!said.is_finished(), "refused, and not given up");
    mood.store(WELL, Ordering::SeqCst);
    let said = tokio::time::timeout(Duration::from_secs(10), said).await.expect("is said again").expect("no panic");
    assert!(matches!(said, Some(Reply::Done)), "{said:?}");
    assert!(matches!(cancelled.await, Ok(Ok(Reply::Done))));
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn a_full_disk_costs_no_worker_its_lease() {
    let home = home();
    let (journal, mood) = Moody::new();
    let store = Store::open(home.path()).expect("a store");
    let surroundings = Surroundings::new(store, Arc::new(Roots::none()));
    let config = SchedulerConfig { lease_ms: 1_500, ..SchedulerConfig::default() };
    let driver = start(Box::new(journal), TokenSecret::new([1; 32]), config, surroundings).await.expect("starts");
    driver.handle.command(submit(1)).await.expect("accepted");
    until(&driver.handle, 1, JobState::Running).await;
    assert!(!driver.handle.poll(poll(1, 2)).await.expect("an answer").grants.is_empty());
    // Answered when the grants are durable: the submit is what finds no room.
    assert_eq!(state(&driver.handle, 1).await, Some(JobState::Running));
    mood.store(FULL, Ordering::SeqCst);
    let handle = driver.handle.clone();
    let submitted = tokio::spawn(async move { handle.command(submit(2)).await });
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    mood.store(WELL, Ordering::SeqCst);
    submitted.await.expect("no panic").expect("kept");
    let workers = driver.handle.query(|scheduler, now| scheduler.workers(now)).await.expect("answers").workers;
    assert_eq!(workers.iter().map(|worker| worker.state.as_str()).collect::<Vec<_>>(), ["live"]);
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn on_a_nearly_full_disk_nothing_new_is_begun_and_readers_work() {
    let home = home();
    let (driver, mood) = moody(&home).await;
    driver.handle.command(submit(1)).await.expect("accepted");
    until(&driver.handle, 1, JobState::Running).await;
    mood.store(SCARCE, Ordering::SeqCst);
    driver.handle.command(submit(2)).await.expect("the last that fits");
    let refused = driver.handle.command(submit(3)).await.expect_err("nothing new");
    assert_eq!(refused.code, Code::StorageFull);
    assert!(driver.handle.poll(poll(1, 4)).await.expect("an answer").grants.is_empty());
    assert_eq!(state(&driver.handle, 1).await, Some(JobState::Running));
    mood.store(WELL, Ordering::SeqCst);
    let answer = tokio::time::timeout(Duration::from_secs(5), async {
        for seq in 2.. {
            let answer = driver.handle.poll(poll(seq, 4)).await.expect("an answer");
            if !answer.grants.is_empty() {
                return answer;
            }
        }
        unreachable!("polls do not end")
    });
    answer.await.expect("granted again");
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn when_the_journal_breaks_nothing_is_answered_and_the_driver_ends() {
    let home = home();
    let (mut driver, mood) = moody(&home).await;
    mood.store(BROKEN, Ordering::SeqCst);
    let handle = driver.handle.clone();
    let refused = handle.command(submit(1)).await.expect_err("not promised");
    assert_eq!(refused.code, Code::Unavailable);
    let failed = tokio::time::timeout(Duration::from_secs(5), driver.failed()).await.expect("ends");
    assert!(matches!(failed, DriverError::Journal(JournalError::Broken(_))), "{failed}");
    assert_eq!(handle.query(|_, _| ()).await.map_err(|problem| problem.code), Err(Code::Unavailable));
}

#[tokio::test]
async fn a_panic_ends_the_driver() {
    let home = home();
    let (mut driver, _) = moody(&home).await;
    let handle = driver.handle.clone();
    let asked = handle.query(|_, _| -> () { panic!("on purpose") }).await;
    assert_eq!(asked.map_err(|problem| problem.code), Err(Code::Unavailable));
    let failed = tokio::time::timeout(Duration::from_secs(5), driver.failed()).await.expect("ends");
    assert!(matches!(failed, DriverError::Panicked("the driver")), "{failed}");
}

#[tokio::test]
async fn a_full_queue_refuses_calls_and_never_polls() {
    let home = home();
    let (driver, _) = moody(&home).await;
    let all: Vec<_> = std::iter::from_fn(|| driver.handle.permit().ok()).collect();
    assert_eq!(all.len(), limits::DRIVER_QUEUE);
    let refused = driver.handle.command(submit(1)).await.expect_err("full");
    assert_eq!(refused.code, Code::Unavailable);
    driver.handle.poll(poll(1, 1)).await.expect("polls are taken");
    drop(all);
    driver.handle.command(submit(1)).await.expect("room again");
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn parked_polls_are_answered_when_the_coordinator_stops() {
    let home = home();
    let store = Store::open(home.path()).expect("a store");
    let surroundings = Surroundings::new(store, Arc::new(Roots::none()));
    let journal = Box::new(MemoryJournal::new(CLUSTER));
    let driver =
        start(journal, TokenSecret::new([1; 32]), SchedulerConfig::default(), surroundings).await.expect("starts");
    let handle = driver.handle.clone();
    let parked = tokio::spawn(async move { handle.poll(poll(1, 1)).await });
    settle().await;
    assert!(!parked.is_finished());
    driver.handle.quiet();
    assert!(parked.await.expect("no panic").expect("an answer").is_idle());
    driver.handle.poll(poll(2, 1)).await.expect("held no more");
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn a_driver_that_starts_without_room_begins_nothing_until_there_is_some() {
    let home = home();
    let (journal, mood) = Moody::new();
    mood.store(SCARCE, Ordering::SeqCst);
    let driver = drive(&home, journal).await;
    let refused = driver.handle.command(submit(1)).await.expect_err("nothing new");
    assert_eq!(refused.code, Code::StorageFull);
    mood.store(WELL, Ordering::SeqCst);
    for _ in 0..500 {
        if driver.handle.command(submit(1)).await.is_ok() {
            return driver.stop().await.expect("stops");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not see that there is room");
}

#[tokio::test]
async fn a_driver_that_is_stopped_on_a_full_disk_ends_and_says_what_was_not_written() {
    let home = home();
    let (driver, mood) = moody(&home).await;
    mood.store(FULL, Ordering::SeqCst);
    let handle = driver.handle.clone();
    let submitted = tokio::spawn(async move { handle.command(submit(1)).await });
    settle().await;
    let patience = Duration::from_millis(limits::DRAIN_DEADLINE_MS * 2);
    let stopped = tokio::time::timeout(patience, driver.stop()).await.expect("does not wait for ever");
    assert!(matches!(stopped, Err(DriverError::Journal(JournalError::Full(_)))), "{stopped:?}");
    assert_eq!(submitted.await.expect("no panic").map(drop).map_err(|problem| problem.code), Err(Code::Unavailable));
}

/// Asks again while it is answered, so that the driver's queue is never empty.
fn ask_again(inbox: tokio::sync::mpsc::WeakUnboundedSender<Message>, over: Arc<AtomicBool>) -> Query {
    Box::new(move |_| {
        if let (Some(sender), false) = (inbox.upgrade(), over.load(Ordering::SeqCst)) {
            let query = ask_again(inbox, Arc::clone(&over));
            let _ = sender.send(Message::Query { query, permit: None });
        }
        Box::new(|| ())
    })
}

#[tokio::test]
async fn deadlines_are_met_while_messages_are_always_waiting() {
    let home = home();
    let driver = drive(&home, MemoryJournal::new(CLUSTER)).await;
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..200 {
        let query = ask_again(driver.handle.inbox.downgrade(), Arc::clone(&over));
        driver.handle.send(Message::Query { query, permit: None }).expect("is there");
    }
    let held = tokio::time::timeout(Duration::from_secs(5), driver.handle.poll(poll(1, 1))).await;
    over.store(true, Ordering::SeqCst);
    assert!(held.expect("answered at its deadline").expect("an answer").is_idle());
    driver.stop().await.expect("stops");
}

#[tokio::test]
async fn bundles_that_no_job_names_are_swept_when_their_time_is_over() {
    let (home, directory) = (home(), home());
    let put = async |content: &'static [u8], is_old: bool| {
        let (sha256, store) = (Digest::of(content), Store::open(home.path()).expect("a store"));
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(content))]);
        store.put_bundle(sha256, body).await.expect("kept");
        let path = home.path().join("store").join("bundles").join(sha256.to_string());
        if is_old {
            let last_used = std::time::UNIX_EPOCH + Duration::from_secs(1);
            std::fs::File::options().write(true).open(&path).expect("there").set_modified(last_used).expect("set");
        }
        (sha256, path)
    };
    let ((named, kept), (_, young), (_, old)) =
        (put(b"named", true).await, put(b"unnamed", false).await, put(b"old", true).await);
    let Command::SubmitJob { job, mut spec, idempotency } = submit(1) else { unreachable!("it is a submit") };
    let command = serde_json::json!({"mapper": ["./named"], "files": [{"name": "named", "sha256": named}]});
    spec.steps[0].native = None;
    spec.steps[0].command = Some(serde_json::from_value(command).expect("a command"));
    let mut journal = SqliteJournal::open(directory.path(), CLUSTER).expect("opens");
    let entry = crate::scheduler::Entry::JobSubmitted { job, spec, at: 1, idempotency };
    journal.append(&[Record { wall_ms: 1, entry }]).expect("appends");
    let driver = drive(&home, journal).await;
    for _ in 0..1_000 {
        if !old.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(kept.exists() && young.exists() && !old.exists());
    driver.stop().await.expect("stops");
}
