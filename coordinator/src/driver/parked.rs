//! Polls that are held because there is nothing to say: one for each session.

use std::collections::{BTreeSet, HashMap};

use gristmill_common::SessionId;
use tokio::sync::oneshot;

use crate::scheduler::Reply;

/// The held polls.
#[derive(Default)]
pub(super) struct Parked {
    polls: HashMap<SessionId, Poll>,
    deadlines: BTreeSet<(u64, SessionId)>,
}

struct Poll {
    deadline_ms: u64,
    reply: oneshot::Sender<Reply>,
}

impl Parked {
    /// Holds a poll until the deadline; returns the poll of the same session that it replaces.
    pub(super) fn hold(
        &mut self,
        session: SessionId,
        deadline_ms: u64,
        reply: oneshot::Sender<Reply>,
    ) -> Option<oneshot::Sender<Reply>> {
        let replaced = self.take(session);
        self.polls.insert(session, Poll { deadline_ms, reply });
        self.deadlines.insert((deadline_ms, session));
        replaced
    }

    /// Lets go of a session's poll.
    pub(super) fn take(&mut self, session: SessionId) -> Option<oneshot::Sender<Reply>> {
        let poll = self.polls.remove(&session)?;
        self.deadlines.remove(&(poll.deadline_ms, session));
        Some(poll.reply)
    }

    /// Says whether a poll of the session is held.
    pub(super) fn holds(&self, session: SessionId) -> bool {
        self.polls.contains_key(&session)
    }

    /// Returns all sessions whose polls are held, those held longest first.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.deadlines.iter().map(|(_, session)| *session).collect()
    }

    /// Returns when the first poll has been held long enough.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Returns a session whose poll has been held long enough.
    pub(super) fn expired(&self, now_ms: u64) -> Option<SessionId> {
        self.deadlines.first().filter(|(deadline_ms, _)| *deadline_ms <= now_ms).map(|(_, session)| *session)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_poll_for_a_session_until_its_deadline() {
        let mut parked = Parked::default();
        let sessions: Vec<_> = (0..3).map(|n| SessionId(Uuid::from_u128(n))).collect();
        let mut answers = Vec::new();
        for (session, deadline_ms) in sessions.iter().zip([30, 29, 28]) {
            let (reply, answer) = oneshot::channel();
            assert!(parked.hold(*session, deadline_ms, reply).is_none());
            answers.push(answer);
        }
        assert_eq!((parked.next_deadline(), parked.expired(27)), (Some(28), None));
        assert_eq!(parked.expired(28), Some(sessions[2]));

        let (reply, _answer) = oneshot::channel();
        let replaced = parked.hold(sessions[2], 40, reply).expect("was held");
        replaced.send(Reply::Done).expect("its receiver lives");
        assert!(answers[2].try_recv().is_ok());
        assert_eq!(parked.sessions(), [sessions[1], sessions[0], sessions[2]]);
        assert!(parked.take(sessions[1]).is_some() && parked.take(sessions[1]).is_none());
        assert!(!parked.holds(sessions[1]) && parked.holds(sessions[0]));
    }
}
