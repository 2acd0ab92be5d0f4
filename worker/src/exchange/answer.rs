//! What an answer changes and asks for.

use std::sync::Arc;

use gristmill_common::wire::{PollRequest, PollResponse};
use gristmill_common::{FenceRange, limits};

use super::fences::FenceMap;
use super::{Attempt, Exchange, HeldGrant, Instruction, Refusal, Work};

impl Exchange {
    /// Takes an answer. One that is not of the latest request changes nothing.
    ///
    /// # Errors
    /// [`Refusal`] when it must not be taken; nothing has changed then.
    pub fn on_answer(&mut self, answer: PollResponse) -> Result<Vec<Instruction>, Refusal> {
        self.check_epoch(&answer)?;
        let Some(request) = self.pending.clone().filter(|pending| pending.seq == answer.seq) else {
            return Ok(Vec::new());
        };
        let grants = read_tokens(answer.grants.iter().map(|grant| &grant.token))?;
        let relays = read_tokens(answer.relay.iter().map(|relay| &relay.token))?;

        self.pending = None;
        self.epoch = Some(answer.epoch);
        self.seen = answer.seq;
        self.next_poll_ms = answer.next_poll_ms;
        for &fences in &request.returned {
            self.returned.remove(fences);
        }
        let mut instructions = Vec::new();
        for ack in &answer.acks {
            for (fences, finished) in self.finished.remove(ack.fences) {
                let tasks = finished.grant.tasks(fences);
                let work = Work { grant: finished.grant, tasks };
                instructions.push(Instruction::Acked { work, verdict: ack.verdict });
            }
        }
        self.stop_all_but(&request, &answer.keep, &mut instructions);
        for grant in grants {
            self.take(&grant);
        }
        // What did not fit into this request's reports goes into the next one's.
        self.news |= !answer.acks.is_empty() && !self.finished.is_empty();
        instructions.extend(relays.into_iter().map(Instruction::Relay));
        instructions.extend(answer.drop.into_iter().map(Instruction::DropJob));
        if answer.drain && !self.draining {
            instructions.push(Instruction::Drain);
        }
        Ok(instructions)
    }

    fn check_epoch(&self, answer: &PollResponse) -> Result<(), Refusal> {
        let Some(known) = self.epoch else { return Ok(()) };
        let found = answer.epoch;
        if known.cluster != found.cluster {
            return Err(Refusal::ForeignCluster { known: known.cluster, found: found.cluster });
        }
        if known.counter > found.counter {
            return Err(Refusal::OldEpoch { known: known.counter, found: found.counter });
        }
        Ok(())
    }

    /// Lets go of the attempts that the request named as running and that the answer does not let go on.
    fn stop_all_but(&mut self, request: &PollRequest, keep: &[FenceRange], instructions: &mut Vec<Instruction>) {
        let mut kept = FenceMap::default();
        for &fences in keep {
            kept.insert(fences, &());
        }
        for running in &request.running {
            for stopped in kept.missing(running.fences) {
                for (fences, attempt) in self.held.remove(stopped) {
                    if attempt.running {
                        self.running -= u64::from(fences.count);
                        let tasks = attempt.grant.tasks(fences);
                        instructions.push(Instruction::Stop(Work { grant: attempt.grant, tasks }));
                    }
                }
            }
        }
    }

    /// Queues the attempts of a grant that are not known yet; what is beyond the limit goes back.
    fn take(&mut self, grant: &Arc<HeldGrant>) {
        let attempt = Attempt { grant: Arc::clone(grant), running: false, progress_permille: None, status: None };
        for part in self.held.missing(grant.name.fences()) {
            for mut fences in self.finished.missing(part) {
                let room = limits::HELD_ATTEMPTS.saturating_sub(self.held.len());
                let fits = u32::try_from(room).unwrap_or(u32::MAX).min(fences.count);
                if fits < fences.count {
                    let rest = FenceRange { first: fences.first.plus(u64::from(fits)), count: fences.count - fits };
                    self.returned.insert(rest, &());
                    self.news = true;
                    fences.count = fits;
                }
                if fits > 0 {
                    self.held.insert(fences, &attempt);
                    self.queue.push_back(fences);
                }
            }
        }
    }
}

fn read_tokens<'a>(tokens: impl Iterator<Item = &'a String>) -> Result<Vec<Arc<HeldGrant>>, Refusal> {
    tokens.map(|token| HeldGrant::of(token).map(Arc::new).ok_or(Refusal::UnreadableToken)).collect()
}
