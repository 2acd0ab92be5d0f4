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

/// How long a batch that found no room waits for the next try.
const RETRY: Duration = Duration::from_millis(500);

/// What the thread is asked to do.
enum Request {
    Append(Vec<Record>),
    Rows { job: JobId, after: u64, limit: usize, reply: oneshot::Sender<Vec<Row>> },
    Forget(JobId),
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
    let work = move || Keeper { journal, progress, forgetting: VecDeque::new(), room }.run(&requests);
    let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(work)?;
    Ok((Link(sender), thread))
}

struct Keeper {
    journal: Box<dyn Journal>,
    progress: mpsc::UnboundedSender<Progress>,
    forgetting: VecDeque<JobId>,
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
                Request::Forget(job) => self.forgetting.push_back(job),
                Request::Close => return Ok(()),
            }
        }
        Ok(())
    }

    /// Returns the next request; deletes rows of removed jobs while there is none.
    fn next(&mut self, requests: &Receiver<Request>) -> Result<Option<Request>, JournalError> {
        loop {
            match requests.try_recv() {
                Ok(request) => return Ok(Some(request)),
                Err(TryRecvError::Disconnected) => return Ok(None),
                Err(TryRecvError::Empty) => {}
            }
            if let Some(job) = self.forgetting.pop_front() {
                self.forget(job)?;
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

    fn forget(&mut self, job: JobId) -> Result<(), JournalError> {
        match self.journal.forget(job) {
            Ok(true) => self.forgetting.push_back(job),
            Ok(false) => {}
            // The next start sees `job_removed` and tries again.
            Err(JournalError::Full(error)) => {
                tracing::warn!(%job, error, "rows of a removed job stay until the next start");
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
            Ok(Request::Forget(job)) => self.forgetting.push_back(job),
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
