//! The driver: commands in, replies out when what they promise is durable, polls that wait, and the clock.

use std::collections::VecDeque;

use gristmill_common::{Problem, SessionId, WorkerId};

use super::To;
use crate::scheduler::{Bug, Command, Outcome, Reply, Scheduler};
use crate::simulation::network::{Event, Whom};
use crate::simulation::world::World;

impl World {
    /// Gives the scheduler a command and does what the driver does with the outcome.
    pub(crate) fn command(&mut self, command: Command, to: To) -> Result<(), String> {
        let now = self.mono();
        let Some(scheduler) = self.coordinator.scheduler.as_mut() else { return Ok(()) };
        let polled = match &command {
            Command::Poll(request) => Some((request.worker, request.session, request.seen)),
            _ => None,
        };
        let Outcome { reply, entries, durable, wake, void } = scheduler.handle(command, now);
        if self.options.bug.is_none_or(|bug| bug != Bug::LostRequeue) {
            scheduler.broken_invariant()?;
        }
        self.steps += 1;
        self.judge(&entries)?;
        if let Some((_, session, seen)) = polled {
            self.oracle.check_crossing(session, seen, &entries)?;
        }
        if let (To::Worker(whom), Reply::Poll(answer)) = (to, &reply) {
            let session = polled.map_or(self.workers[whom.worker].session, |(_, session, _)| session);
            self.oracle.note_grants(session, answer);
        }
        let here = &mut self.coordinator;
        if here.scheduler.as_ref().is_some_and(|scheduler| *scheduler.durable() != here.shadow) {
            return Err("the durable half is not the fold of the entries".to_owned());
        }
        here.pending.extend(entries);
        self.stir_parked(&wake, void);
        if let Some((worker, ..)) = polled {
            self.note_poll(worker, &reply);
        }
        self.reply(reply, durable, to);
        self.flush();
        self.schedule_tick();
        Ok(())
    }

    /// Drops the parked poll that nobody waits for any more, and has those looked at again for which there may be something.
    fn stir_parked(&mut self, wake: &[SessionId], void: Option<SessionId>) {
        if void.is_some_and(|session| self.coordinator.parked.remove(&session).is_some()) {
            self.seen("poll voided");
        }
        let life = self.coordinator.life;
        for &session in wake {
            if let Some(&(park, _)) = self.coordinator.parked.get(&session) {
                self.after(0, Event::Unpark { life, session, park, expired: false });
            }
        }
    }

    fn note_poll(&mut self, worker: WorkerId, reply: &Reply) {
        let is_quarantined = |scheduler: &Scheduler| scheduler.is_quarantined(worker);
        if self.coordinator.scheduler.as_ref().is_some_and(is_quarantined) {
            self.seen("quarantined worker polled");
        }
        if matches!(reply, Reply::Poll(_) | Reply::Parked { .. }) {
            self.oracle.polled.insert(worker, self.now);
        }
    }

    fn reply(&mut self, reply: Reply, durable: bool, to: To) {
        let life = self.coordinator.life;
        if let (Reply::Parked { hold_ms }, To::Worker(whom)) = (&reply, to) {
            let session = self.workers[whom.worker].session;
            self.coordinator.parks += 1;
            let park = self.coordinator.parks;
            self.coordinator.parked.insert(session, (park, whom));
            self.seen("poll parked");
            return self.after(*hold_ms, Event::Unpark { life, session, park, expired: true });
        }
        let needed = if durable && self.options.bug != Some(Bug::AckBeforeAppend) {
            self.coordinator.journal.len() + self.coordinator.pending.len()
        } else {
            0
        };
        self.coordinator.waiting.push_back((needed, to, Box::new(reply)));
        self.deliver();
    }

    pub(super) fn deliver(&mut self) {
        let have = self.coordinator.journal.len();
        let (ready, waiting): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.coordinator.waiting).into_iter().partition(|(needed, ..)| *needed <= have);
        self.coordinator.waiting = waiting;
        for (_, to, reply) in ready {
            match (to, *reply) {
                (To::Worker(to), Reply::Poll(answer)) => self.send(Event::Answer { to, answer: Box::new(Ok(*answer)) }),
                (To::Worker(to), Reply::Refused(problem)) => self.refuse(to, problem),
                (To::Submitter(client), Reply::Submitted { job, existing }) => {
                    if existing {
                        self.seen("submit repeated");
                    }
                    self.send(Event::SubmitAnswered { client, job });
                }
                (To::Submitter(client), Reply::Refused(_)) => {
                    self.seen("submit refused");
                    self.clients[client].refused = true;
                }
                (To::Canceller(_), Reply::Refused(_)) => self.seen("cancel refused"),
                (To::Canceller(job), Reply::Done) => self.send(Event::CancelAnswered { job }),
                _ => {}
            }
        }
    }

    pub(crate) fn refuse(&mut self, to: Whom, problem: Problem) {
        self.seen("poll refused");
        self.send(Event::Answer { to, answer: Box::new(Err(problem)) });
    }

    pub(crate) fn on_unpark(&mut self, session: SessionId, park: u64, expired: bool) -> Result<(), String> {
        match self.coordinator.parked.get(&session) {
            Some(&(parked, whom)) if parked == park => {
                self.coordinator.parked.remove(&session);
                self.command(Command::ResumePoll { session, expired }, To::Worker(whom))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn schedule_tick(&mut self) {
        let here = &mut self.coordinator;
        let Some(at) = here.scheduler.as_ref().and_then(Scheduler::next_deadline) else { return };
        let at = (here.started + at).max(self.now);
        if here.tick_at <= self.now || at < here.tick_at {
            here.tick_at = at;
            let (life, ms) = (here.life, at - self.now);
            self.after(ms, Event::Tick { life });
        }
    }

    pub(crate) fn on_tick(&mut self) -> Result<(), String> {
        self.coordinator.tick_at = 0;
        let now = self.mono();
        if let Some(scheduler) = self.coordinator.scheduler.as_mut().filter(|scheduler| scheduler.has_overslept(now)) {
            scheduler.excuse_silence(now);
            self.seen("coordinator stood still");
        }
        self.command(Command::Tick, To::Nobody)
    }
}
