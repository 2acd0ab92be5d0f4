//! The thread that owns the journal: appends, event pages and deletions, one after the other.
//!
//! Blocking belongs here and nowhere else. A batch that finds no room is kept and tried again until it fits; after any
//! other error the thread ends, its channel closes, and the driver ends the process.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use gristmill_common::JobId;
use tokio::sync::{mpsc, oneshot};

use super::{Journal, JournalError, Record, Row};
use crate::scheduler::Entry;

/// How long a batch that found no room waits for the next try.
const RETRY: Duration = Duration::from_millis(500);

/// What the thread is asked to do.
enum Request {
    Append(Vec<Record>),
    Rows { job: JobId, after: u64, limit: usize, reply: oneshot::Sender<Vec<Row>> },
    Forget(JobId),
    Compact(JobId, Box<Entry>),
    Close,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It is durable; `room` says whether new work may be begun.
    Appended {
        /// Whether there is room beyond the reserve.
        room: bool,
    },
    /// There is no room; it is kept and tried again.
    Stalled,
    /// The journal had no room before and has some now.
    Roomy,
}

/// The sending side: kept by the driver, and by the API for event pages.
#[derive(Clone)]
pub struct Link(Sender<Request>);

impl Link {
    /// Hands over a batch; what becomes of it is told to the channel given to [`spawn`].
    pub fn append(&self, records: Vec<Record>) {
        // A closed channel shows on the progress side, where the driver is listening.
        let _ = self.0.send(Request::Append(records));
    }

    /// Deletes the rows of a removed job, in the background.
    pub fn forget(&self, job: JobId) {
        let _ = self.0.send(Request::Forget(job));
    }

    /// Puts a summary in the place of a job's rows, in the background.
    pub fn compact(&self, job: JobId, summary: Entry) {
        let _ = self.0.send(Request::Compact(job, Box::new(summary)));
    }

    /// Reads rows of a job; `None` when the journal is closed.
    pub async fn rows(&self, job: JobId, after: u64, limit: usize) -> Option<Vec<Row>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request::Rows { job, after, limit, reply }).ok()?;
        answer.await.ok()
    }

    /// Ends the thread when it has done all that was asked before.
    pub fn close(&self) {
        let _ = self.0.send(Request::Close);
    }
}

/// Starts the thread; `room` says whether the journal has room now. It ends with the reason for which the journal cannot go on, or `Ok` when it was closed.
///
/// # Errors
/// When the operating system gives no thread.
pub fn spawn(
    journal: Box<dyn Journal>,
    room: bool,
    progress: mpsc::UnboundedSender<Progress>,
) -> std::io::Result<(Link, std::thread::JoinHandle<Result<(), JournalError>>)> {
    let (sender, requests) = channel();
    let work = move || Keeper { journal, progress, chores: VecDeque::new(), room }.run(&requests);
    let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(work)?;
    Ok((Link(sender), thread))
}

/// What is done while nobody waits.
enum Chore {
    Forget(JobId),
    Compact(JobId, Box<Entry>),
}

struct Keeper {
    journal: Box<dyn Journal>,
    progress: mpsc::UnboundedSender<Progress>,
    chores: VecDeque<Chore>,
    room: bool,
}

impl Keeper {
    fn run(mut self, requests: &Receiver<Request>) -> Result<(), JournalError> {
        let ended = self.serve(requests);
        if let Err(error) = &ended {
            tracing::error!(%error, "the journal cannot go on");
        }
        ended
    }

    fn serve(&mut self, requests: &Receiver<Request>) -> Result<(), JournalError> {
        while let Some(request) = self.next(requests)? {
            match request {
                Request::Append(records) => self.append(&records, requests)?,
                Request::Rows { job, after, limit, reply } => {
                    let _ = reply.send(self.journal.rows(Some(job), after, limit)?);
                }
                Request::Forget(job) => self.chores.push_back(Chore::Forget(job)),
                Request::Compact(job, summary) => self.chores.push_back(Chore::Compact(job, summary)),
                Request::Close => return Ok(()),
            }
        }
        Ok(())
    }

    /// Returns the next request; does chores while there is none.
    fn next(&mut self, requests: &Receiver<Request>) -> Result<Option<Request>, JournalError> {
        loop {
            match requests.try_recv() {
                Ok(request) => return Ok(Some(request)),
                Err(TryRecvError::Disconnected) => return Ok(None),
                Err(TryRecvError::Empty) => {}
            }
            if let Some(chore) = self.chores.pop_front() {
                self.do_chore(chore)?;
                continue;
            }
            if self.room {
                return Ok(requests.recv().ok());
            }
            match requests.recv_timeout(RETRY) {
                Ok(request) => return Ok(Some(request)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.look_for_room(),
            }
        }
    }

    fn do_chore(&mut self, chore: Chore) -> Result<(), JournalError> {
        let done = match &chore {
            Chore::Forget(job) => self.journal.forget(*job),
            Chore::Compact(job, summary) => self.journal.compact(*job, summary),
        };
        match done {
            Ok(true) => self.chores.push_back(chore),
            Ok(false) => {}
            // The next start sees what is left and tries again.
            Err(JournalError::Full(error)) => {
                let (Chore::Forget(job) | Chore::Compact(job, _)) = chore;
                tracing::warn!(%job, error, "rows of a job that is over stay until the next start");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Appends the batch, however long it takes to find room for it. Readers are served meanwhile.
    fn append(&mut self, records: &[Record], requests: &Receiver<Request>) -> Result<(), JournalError> {
        loop {
            match self.journal.append(records) {
                Ok(()) => break,
                Err(JournalError::Full(error)) => self.stall(&error, requests)?,
                Err(error) => return Err(error),
            }
        }
        self.room = self.journal.has_room();
        let _ = self.progress.send(Progress::Appended { room: self.room });
        Ok(())
    }

    fn stall(&mut self, error: &str, requests: &Receiver<Request>) -> Result<(), JournalError> {
        tracing::error!(error, "the journal has no room: nothing is accepted or granted until there is some");
        let _ = self.progress.send(Progress::Stalled);
        match requests.recv_timeout(RETRY) {
            Ok(Request::Rows { job, after, limit, reply }) => {
                let _ = reply.send(self.journal.rows(Some(job), after, limit)?);
            }
            Ok(Request::Forget(job)) => self.chores.push_back(Chore::Forget(job)),
            Ok(Request::Compact(job, summary)) => self.chores.push_back(Chore::Compact(job, summary)),
            // The driver has one batch in flight at a time, and closes only after it.
            Ok(Request::Append(_)) => {
                return Err(JournalError::Broken("a second batch while one was in flight".to_owned()));
            }
            Ok(Request::Close) | Err(RecvTimeoutError::Disconnected) => {
                return Err(JournalError::Full(format!("closed while a batch waited for room: {error}")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(())
    }

    fn look_for_room(&mut self) {
        self.room = self.journal.has_room();
        if self.room {
            tracing::info!("the journal has room again");
            let _ = self.progress.send(Progress::Roomy);
        }
    }
}
