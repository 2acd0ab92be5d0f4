//! The driver: the one owner of the scheduler. Everyone else sends a command or a query and awaits the answer.
//!
//! The rule of durability lives here: a reply that promises something, and every query, is answered only when all that was
//! handled before it is on disk; a reply that promises nothing (a grant) is answered at once. What a job causes outside
//! of the scheduler (planning, committing, dropping its blobs) is started by durable entries alone. A full queue refuses API
//! calls, never polls: reports are what frees the queue.

mod effects;
mod history;
mod owner;
mod parked;
mod planning;
mod start;
mod waiting;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use gristmill_common::wire::{PollRequest, PollResponse};
use gristmill_common::{Code, JobId, Problem, limits};
use std::collections::HashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::journal::JournalError;
use crate::journal::thread::Link;
use crate::scheduler::{Command, Now, Reply, Scheduler};

pub use effects::Surroundings;
pub use start::{Driver, start};

/// Answers a query, once it may be answered.
type Deliver = Box<dyn FnOnce() + Send>;
/// Looks at the scheduler, or learns why it may not.
type Query = Box<dyn FnOnce(Result<(&Scheduler, Now), Problem>) -> Deliver + Send>;

/// What the owner is sent. The permit of an API call is given back when the call is taken off the queue.
enum Message {
    Command {
        command: Command,
        reply: oneshot::Sender<Reply>,
        permit: Option<OwnedSemaphorePermit>,
    },
    Poll {
        request: Box<PollRequest>,
        reply: oneshot::Sender<Reply>,
    },
    Query {
        query: Query,
        permit: Option<OwnedSemaphorePermit>,
    },
    Watch {
        job: JobId,
        changed: oneshot::Sender<()>,
    },
    /// Answer parked polls and park no more.
    Quiet,
    /// Make durable what was handled, and end.
    Stop,
}

/// Why the driver ended. All of them end the process: the next start reads what is on disk.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal belongs to another cluster than its entries say.
    #[error("the journal of cluster {journal} holds an epoch of cluster {entry}: it was put together from two")]
    ForeignEpoch {
        /// What the journal says.
        journal: uuid::Uuid,
        /// What an entry says.
        entry: uuid::Uuid,
    },
    /// Something panicked.
    #[error("{0} panicked; what it was doing is not known, so the coordinator ends")]
    Panicked(&'static str),
    /// The operating system refused something.
    #[error("cannot start the driver: {0}")]
    Io(#[from] std::io::Error),
}

/// The way to the driver, for handlers.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::UnboundedSender<Message>,
    calls: Arc<Semaphore>,
    journal: Link,
    refusals: PlanRefusals,
}

impl Handle {
    /// Sends a command of the API and awaits its reply.
    ///
    /// # Errors
    /// The scheduler's refusal, or `unavailable` when the driver is stopping or its queue is full.
    pub async fn command(&self, command: Command) -> Result<Reply, Problem> {
        let permit = Some(self.permit()?);
        let (reply, answer) = oneshot::channel();
        self.send(Message::Command { command, reply, permit })?;
        accept(answer.await.map_err(|_| stopping())?)
    }

    /// Sends a worker's poll and awaits the answer, which may take as long as a poll is held.
    ///
    /// # Errors
    /// As [`Handle::command`], but for the queue.
    pub async fn poll(&self, request: PollRequest) -> Result<PollResponse, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Poll { request: Box::new(request), reply })?;
        match accept(answer.await.map_err(|_| stopping())?)? {
            Reply::Poll(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the scheduler; the answer shows durable state only.
    ///
    /// # Errors
    /// `unavailable` when the driver is stopping or its queue is full, `storage_full` when it cannot be known what is durable.
    pub async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Scheduler, Now) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Some(self.permit()?);
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |view| {
            let found = view.map(|(scheduler, now)| ask(scheduler, now));
            Box::new(move || drop(reply.send(found)))
        });
        self.send(Message::Query { query, permit })?;
        answer.await.map_err(|_| stopping())?
    }

    /// Returns a receiver that fires at the next durable change of the job's state.
    ///
    /// # Errors
    /// `unavailable` when the driver is stopping.
    pub fn watch(&self, job: JobId) -> Result<oneshot::Receiver<()>, Problem> {
        let (changed, receiver) = oneshot::channel();
        self.send(Message::Watch { job, changed })?;
        Ok(receiver)
    }

    /// Returns the journal, for pages of events.
    #[must_use]
    pub fn journal(&self) -> &Link {
        &self.journal
    }

    /// Returns the problems of planners, for submits that wait for their plan.
    #[must_use]
    pub fn refusals(&self) -> &PlanRefusals {
        &self.refusals
    }

    /// Answers the parked polls and holds no more of them, so that connections can end.
    pub fn quiet(&self) {
        let _ = self.inbox.send(Message::Quiet);
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.calls).try_acquire_owned().map_err(|_| {
            let detail = format!("{} calls are waiting already; try again later", limits::DRIVER_QUEUE);
            Problem::new(Code::Unavailable, detail)
        })
    }

    fn send(&self, message: Message) -> Result<(), Problem> {
        self.inbox.send(message).map_err(|_| stopping())
    }
}

/// What planners said about jobs whose submitters are waiting to hear it. Soft: a job's failure is in the journal.
#[derive(Clone, Debug, Default)]
pub struct PlanRefusals(Arc<Mutex<HashMap<JobId, Option<Problem>>>>);

impl PlanRefusals {
    /// Announces that someone waits for the plan of this job.
    #[must_use]
    pub fn expect(&self, job: JobId) -> Expectation {
        self.lock().insert(job, None);
        Expectation { refusals: self.clone(), job }
    }

    /// Keeps the problem, if someone waits for it.
    fn put(&self, job: JobId, problem: &Problem) {
        if let Some(place) = self.lock().get_mut(&job) {
            *place = Some(problem.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Option<Problem>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone waits for a job's plan until this is dropped.
#[derive(Debug)]
pub struct Expectation {
    refusals: PlanRefusals,
    job: JobId,
}

impl Expectation {
    /// Returns what the planner said, if it refused the job.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        self.refusals.lock().get(&self.job).cloned().flatten()
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.refusals.lock().remove(&self.job);
    }
}

fn accept(reply: Reply) -> Result<Reply, Problem> {
    match reply {
        Reply::Refused(problem) => Err(problem),
        reply => Ok(reply),
    }
}

fn stopping() -> Problem {
    Problem::new(Code::Unavailable, "the coordinator is stopping; try again when it is back")
}

fn unexpected(reply: &Reply) -> Problem {
    tracing::error!(?reply, "a reply that does not fit its command");
    Problem::new(Code::Internal, "the scheduler gave a reply that does not fit; see the coordinator's log")
}
