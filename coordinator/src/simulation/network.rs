//! Events and how the network treats messages: loses, delays, repeats and replays them.

use std::sync::Arc;

use gristmill_common::wire::{PollRequest, PollResponse};
use gristmill_common::{JobId, Problem, SessionId};

use super::world::World;

/// A worker's place in the world and which life of it is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whom {
    pub(super) worker: usize,
    pub(super) life: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Request {
        from: Whom,
        request: Arc<PollRequest>,
    },
    Answer {
        to: Whom,
        answer: Box<Result<PollResponse, Problem>>,
    },
    /// The worker's timer: poll, or poll again.
    Timer {
        whom: Whom,
        timer: u64,
    },
    TaskDone {
        whom: Whom,
        run: u64,
    },
    Relay {
        whom: Whom,
        token: String,
    },
    Submit {
        client: usize,
    },
    Retry {
        client: usize,
    },
    SubmitAnswered {
        client: usize,
        job: JobId,
    },
    CancelAnswered {
        job: JobId,
    },
    Flushed {
        life: u64,
    },
    Unpark {
        life: u64,
        session: SessionId,
        park: u64,
        expired: bool,
    },
    Tick {
        life: u64,
    },
    Planned {
        life: u64,
        job: JobId,
    },
    Committed {
        life: u64,
        job: JobId,
    },
    CoordinatorUp,
    WorkerUp {
        worker: usize,
    },
    Faults,
    Heal,
}

impl World {
    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.sent += 1;
        self.events.insert((self.now + ms, self.sent), event);
    }

    fn delay(&mut self) -> u64 {
        let most = if self.healed { 5 } else { self.options.delay_ms };
        self.random.below(most + 1)
    }

    /// Sends a message through the network: perhaps never, perhaps twice, perhaps again much later.
    pub(super) fn send(&mut self, event: Event) {
        let options = &self.options;
        let (loss, duplication, replay) =
            if self.healed { (0, 0, 0) } else { (options.loss, options.duplication, options.replay) };
        if self.random.chance(loss) {
            self.seen("message lost");
            if let Event::Answer { answer, .. } = &event
                && let Ok(answer) = answer.as_ref()
            {
                let (grants, acks) = (!answer.grants.is_empty(), !answer.acks.is_empty());
                grants.then(|| self.seen("grant lost"));
                acks.then(|| self.seen("ack lost"));
            }
        } else {
            let delay = self.delay();
            self.after(delay, event.clone());
        }
        if self.random.chance(duplication) {
            let delay = self.delay();
            self.after(delay, event.clone());
        }
        if self.random.chance(replay) {
            let delay = self.random.between(500, 6_000);
            self.after(delay, event);
        }
    }
}
