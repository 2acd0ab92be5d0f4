//! When to poll, and what a failed poll means.
//!
//! One poll counts at a time, the latest. A poll may be held by the coordinator for seconds; when there is news meanwhile, a
//! newer one is sent, which makes the held one void. A poll that carries reports is never held, so it is waited for.

use std::sync::Arc;
use std::time::Duration;

use gristmill_client::{Backoff, ClientError, WorkerClient};
use gristmill_common::wire::{PollRequest, PollResponse};
use gristmill_common::{Code, limits};
use tokio::sync::mpsc::UnboundedSender;

use crate::exchange::Exchange;

/// News wait this long for more of the same, in milliseconds.
const GATHER_MS: u64 = 2;
/// A poll with reports is given up as held after this long, in milliseconds: the coordinator's disk may be slow, not that slow.
const ACK_MS: u64 = 2_000;
/// A coordinator that calls this many polls in a row out of date means the worker, not the poll.
const STALE_POLLS: u32 = 4;

/// The answer to a poll.
pub(crate) struct Answered {
    flight: u64,
    result: Result<PollResponse, ClientError>,
}

/// What a failed poll means.
pub(crate) enum Failure {
    /// It was not the latest.
    Ignored,
    /// Try again after a while.
    Later,
    /// Try again after a while, with a new poll: this one was given up by the coordinator.
    Void,
    /// Try again after a while, with fewer reports.
    TooLarge,
    /// The coordinator will never take this worker.
    Never(ClientError),
}

/// The polls that are on their way, and the time of the next one.
pub(crate) struct Polls {
    client: WorkerClient,
    answers: UnboundedSender<Answered>,
    flights: u64,
    /// When the latest poll was sent; absent when it was answered or failed.
    sent_ms: Option<u64>,
    /// Not before this.
    not_before_ms: u64,
    /// Without news, at this.
    due_ms: u64,
    backoff: Backoff,
    failing: bool,
    /// Whether this coordinator ever took a poll of this process.
    is_known: bool,
    stale: u32,
}

impl Polls {
    pub(crate) fn new(client: WorkerClient, answers: UnboundedSender<Answered>) -> Self {
        let backoff = Backoff::default();
        Self {
            client,
            answers,
            flights: 0,
            sent_ms: None,
            not_before_ms: 0,
            due_ms: 0,
            backoff,
            failing: false,
            is_known: false,
            stale: 0,
        }
    }

    /// Returns when the next poll is to be sent; `None` while an answer is awaited.
    pub(crate) fn next_ms(&self, exchange: &Exchange) -> Option<u64> {
        let next = match (self.sent_ms, exchange.has_news()) {
            (None, true) => 0,
            (None, false) => self.due_ms,
            (Some(_), false) => return None,
            (Some(sent), true) => sent + if exchange.awaits_acks() { ACK_MS } else { GATHER_MS },
        };
        Some(next.max(self.not_before_ms))
    }

    /// Says whether the coordinator did not answer the last poll that ended.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Sends a poll. The one before, if it is still held, becomes void.
    pub(crate) fn send(&mut self, request: Arc<PollRequest>, now_ms: u64) {
        self.flights += 1;
        self.sent_ms = Some(now_ms);
        let (flight, client, answers) = (self.flights, self.client.clone(), self.answers.clone());
        tokio::spawn(async move {
            let result = client.poll(&request).await;
            let _ = answers.send(Answered { flight, result });
        });
    }

    /// Takes what became of a poll.
    pub(crate) fn on_answered(&mut self, answered: Answered, now_ms: u64) -> Result<PollResponse, Failure> {
        if answered.flight != self.flights {
            return Err(Failure::Ignored);
        }
        self.sent_ms = None;
        match answered.result {
            Ok(answer) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the coordinator is back");
                }
                self.backoff.reset();
                (self.is_known, self.stale) = (true, 0);
                self.due_ms = now_ms + answer.next_poll_ms.min(limits::HOLD_MS);
                Ok(answer)
            }
            Err(error) if error.code() == Some(Code::Stale) => {
                self.stale += 1;
                self.postpone(now_ms);
                let never = !self.is_known || self.stale >= STALE_POLLS;
                Err(if never { Failure::Never(error) } else { Failure::Void })
            }
            Err(error) if error.code() == Some(Code::TooLarge) => {
                tracing::warn!(%error, "the poll was too large; sending fewer reports at a time");
                self.postpone(now_ms);
                Err(Failure::TooLarge)
            }
            Err(error) if is_final(&error) => Err(Failure::Never(error)),
            Err(error) => {
                self.postpone(now_ms);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot poll; going on with what is held and trying again");
                }
                Err(Failure::Later)
            }
        }
    }

    /// Waits before the next poll: something is wrong with the coordinator.
    pub(crate) fn postpone(&mut self, now_ms: u64) {
        let wait = self.backoff.draw().max(Duration::from_millis(10));
        self.not_before_ms = now_ms + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.due_ms = self.not_before_ms;
    }
}

/// Says whether the same poll can never succeed.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Unauthorized { .. } | ClientError::BadCertificate { .. } | ClientError::Endpoint(_) => true,
        ClientError::Unreachable { .. } | ClientError::Malformed { .. } => false,
        ClientError::Problem(problem) => match problem.code {
            Code::Invalid | Code::Unauthorized | Code::Forbidden | Code::Unsupported | Code::Conflict => true,
            // Told apart by the caller.
            Code::Stale => false,
            Code::NotFound | Code::TooLarge | Code::Range => false,
            Code::Unavailable | Code::StorageFull | Code::Internal => false,
        },
    }
}
