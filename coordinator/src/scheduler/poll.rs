//! The exchange: what a poll says is taken in, in this order, and answered or parked.
//!
//! 1. admission: protocol, epoch, session, `seq` (a repeated one gets the stored answer, an older one is stale);
//! 2. outputs that the worker no longer has; 3. reports; 4. what it gives back; 5. what it holds against what is recorded;
//! 6. new grants. A poll is held only if there is nothing to say and it has room for work.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::wire::{Ack, Grant, PollRequest, PollResponse};
use gristmill_common::{Code, Fence, FenceRange, GrantName, JobId, Problem, SessionId, WorkerId, limits};

use super::Scheduler;
use super::command::Reply;
use super::durable::Held;
use super::entry::{Entry, Loss};
use super::range_set::RangeSet;
use super::requirements::Ability;
use super::soft::{Parked, Told, Worker, relay};

/// How a poll relates to what is known of its worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admission {
    /// The poll is the last one again.
    Repeat,
    /// The next poll of the session that is known.
    Next,
    /// The first poll of a session whose worker had another one in this epoch.
    Reborn,
    /// The worker's first poll in this epoch.
    First,
}

impl Scheduler {
    pub(super) fn poll(&mut self, mut request: PollRequest) -> (Reply, bool) {
        let admission = match self.admit(&request) {
            Ok(Admission::Repeat) => return self.repeat(request.worker),
            Ok(admission) => admission,
            Err(problem) => return (Reply::Refused(problem), false),
        };
        let id = request.worker;
        let finished = std::mem::take(&mut request.finished);
        let returned = std::mem::take(&mut request.returned);
        let suspects = self.suspects(id, admission);
        self.meet(request);
        self.check_holds(id);
        let acks = self.take_reports(id, finished);
        for fences in returned {
            let held = self.durable.held_within(id, fences);
            self.lose(id, &held, Loss::Returned);
        }
        let resend = self.reconcile(id, admission, &suspects);
        self.answer(id, acks, resend, false)
    }

    pub(super) fn resume(&mut self, session: SessionId, expired: bool) -> (Reply, bool) {
        let id = self.soft.sessions.get(&session).copied();
        let Some((id, parked)) = id.and_then(|id| Some((id, self.soft.workers.get(&id)?.parked?))) else {
            let detail = "no poll of this session is parked: another one took its place, or its lease ended";
            return (Reply::Refused(Problem::new(Code::Stale, detail)), false);
        };
        let expired = expired || parked.until_ms <= self.now_ms();
        self.answer(id, Vec::new(), Vec::new(), expired)
    }

    fn admit(&self, request: &PollRequest) -> Result<Admission, Problem> {
        let stale = |detail: String| Err(Problem::new(Code::Stale, detail));
        let (newest, oldest) = (limits::PROTOCOL, limits::OLDEST_PROTOCOL);
        if request.protocol < oldest || request.protocol > newest {
            let theirs = request.protocol;
            return stale(format!(
                "the worker speaks protocol {theirs}, this coordinator {oldest} to {newest}: update the older one"
            ));
        }
        if let (Some(theirs), Some(ours)) = (request.epoch, self.durable.epoch) {
            if theirs.cluster != ours.cluster {
                let detail = "the worker belongs to another cluster: give it another state directory, or join that one";
                return Err(Problem::new(Code::Conflict, detail));
            }
            if theirs.counter > ours.counter {
                let (theirs, ours) = (theirs.counter, ours.counter);
                return stale(format!(
                    "the worker knows epoch {theirs}, this coordinator is of {ours}: it was replaced"
                ));
            }
        }
        let Some(known) = self.soft.workers.get(&request.worker) else {
            return self.admit_first();
        };
        if known.session == request.session {
            return match request.seq.cmp(&known.last_seq) {
                std::cmp::Ordering::Greater => Ok(Admission::Next),
                std::cmp::Ordering::Equal if known.parked.is_some() || known.answer.is_some() => Ok(Admission::Repeat),
                // It was parked when its lease ended, and never answered.
                std::cmp::Ordering::Equal => Ok(Admission::Next),
                std::cmp::Ordering::Less => {
                    stale(format!("poll {} of the session came after poll {}", request.seq, known.last_seq))
                }
            };
        }
        // One that is silent rules nobody out, whatever number it claimed: a made-up one must not lock its directory's
        // owner out for good.
        if request.incarnation > known.incarnation || known.is_silent {
            return Ok(Admission::Reborn);
        }
        let (theirs, ours) = (request.incarnation, known.incarnation);
        stale(format!("a newer process has the worker's directory (claim {ours}, this one is {theirs}): stop this one"))
    }

    fn admit_first(&self) -> Result<Admission, Problem> {
        let is_full = self.soft.workers.len() >= limits::WORKERS && self.forgettable_worker().is_none();
        if is_full {
            let detail = format!("{} workers are connected, more are not taken", limits::WORKERS);
            return Err(Problem::new(Code::Unavailable, detail));
        }
        Ok(Admission::First)
    }

    /// A worker that is long gone and holds nothing.
    fn forgettable_worker(&self) -> Option<WorkerId> {
        let gone = |(id, worker): &(&WorkerId, &Worker)| worker.is_silent && !self.durable.held.contains_key(*id);
        self.soft.workers.iter().filter(gone).min_by_key(|(_, worker)| worker.polled_ms).map(|(id, _)| *id)
    }

    fn repeat(&mut self, id: WorkerId) -> (Reply, bool) {
        let (now, lease) = (self.now_ms(), self.config.lease_ms);
        let again = self.soft.change(id, |worker| {
            worker.polled_ms = now;
            worker.lease_until_ms = now.saturating_add(lease);
            (worker.session, worker.parked, worker.answer.clone())
        });
        match again {
            Some((session, Some(parked), _)) => {
                self.soft.void = Some(session);
                (Reply::Parked { hold_ms: parked.until_ms.saturating_sub(now) }, false)
            }
            Some((_, None, Some(answer))) => (Reply::Poll(answer), true),
            _ => (
                Reply::Refused(Problem::new(Code::Stale, "the poll was given up: poll again with a new number")),
                false,
            ),
        }
    }

    /// The attempts that the worker's former process had begun, as far as that can be known: those it said, and as many more
    /// as it had slots.
    fn suspects(&self, id: WorkerId, admission: Admission) -> RangeSet {
        let mut suspects = RangeSet::default();
        let Some(worker) = self.soft.workers.get(&id).filter(|_| admission == Admission::Reborn) else {
            return suspects;
        };
        for running in worker.running.iter().filter(|running| running.progress_permille.is_some()) {
            suspects.insert_fences(running.fences);
        }
        suspects
    }

    /// Takes in what the worker says of itself.
    fn meet(&mut self, request: PollRequest) {
        let (now, lease, id) = (self.now_ms(), self.config.lease_ms, request.worker);
        let held = self.held_count(id);
        if !self.soft.workers.contains_key(&id)
            && self.soft.workers.len() >= limits::WORKERS
            && let Some(gone) = self.forgettable_worker()
        {
            self.soft.remove(gone);
        }
        self.soft.presumed.remove(&id);
        let before = self.soft.workers.get(&id);
        let same = before.filter(|known| known.session == request.session);
        let serves_again = request.about.shuffle.is_some() && same.is_none_or(|known| !known.is_live());
        let room = u32::try_from(limits::HELD_ATTEMPTS.saturating_sub(held)).unwrap_or(0);
        let about = bounded_about(request.about);
        let ability = before.map(|known| &known.ability).filter(|ability| ability.is_of(&about, request.protocol));
        let ability = ability.map_or_else(|| Arc::new(Ability::of(&about, request.protocol)), Arc::clone);
        let worker = Worker {
            session: request.session,
            incarnation: request.incarnation,
            protocol: request.protocol,
            last_seq: request.seq,
            seen: request.seen,
            answer: None,
            unseen: same.map(|known| known.unseen.clone()).unwrap_or_default(),
            told: same.map(|known| known.told.clone()).unwrap_or_default(),
            polled_ms: now,
            met_ms: same.map_or(now, |known| known.met_ms),
            granted: same.map(|known| self.still_held(id, &known.granted)).unwrap_or_default(),
            lease_until_ms: now.saturating_add(lease),
            is_silent: false,
            free: request.free_slots.min(room),
            running: request.running.into_iter().map(bounded_running).collect(),
            holds: request.holds.into_iter().collect(),
            is_draining: request.draining,
            drain: same.is_some_and(|known| known.drain),
            parked: None,
            no_room: request.no_room.map(gristmill_common::reason::bounded),
            about,
            ability,
        };
        match before {
            Some(known) => {
                self.soft.void = known.parked.map(|_| known.session);
                self.soft.change(id, |known| *known = worker);
            }
            None => self.soft.add(id, worker),
        }
        if serves_again {
            self.serve_again(id);
        }
    }

    /// The grants of which the worker still holds something; looked at when many may be over.
    fn still_held(&self, id: WorkerId, granted: &BTreeMap<Fence, (u32, u64)>) -> BTreeMap<Fence, (u32, u64)> {
        let mut granted = granted.clone();
        let held = self.durable.held.get(&id);
        if granted.len() > 2 * held.map_or(0, BTreeMap::len) {
            granted.retain(|first, (count, _)| {
                !self.durable.held_within(id, FenceRange { first: *first, count: *count }).is_empty()
            });
        }
        granted
    }

    /// Compares what the worker holds with what is recorded; returns the grants to send again.
    fn reconcile(&mut self, id: WorkerId, admission: Admission, suspects: &RangeSet) -> Vec<GrantName> {
        let Some(worker) = self.soft.workers.get(&id) else { return Vec::new() };
        if admission == Admission::Reborn {
            self.lose_with_process(id, suspects);
            return Vec::new();
        }
        let mut named = RangeSet::default();
        worker.running.iter().for_each(|running| named.insert_fences(running.fences));
        let mut on_the_way = RangeSet::default();
        let seen = worker.seen;
        #[cfg(test)]
        let seen = if self.bug == Some(super::Bug::CrossingPollsRequeue) { u64::MAX } else { seen };
        worker.unseen.iter().filter(|(seq, _)| *seq > seen).for_each(|(_, fences)| on_the_way.insert_fences(*fences));
        let (mut kept, mut resend, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for (first, held) in self.durable.held.get(&id).into_iter().flatten() {
            let (start, end) = (first.0, first.0 + u64::from(held.tasks.count));
            kept.extend(named.within(start, end).into_iter().map(|range| held.piece(*first, range)));
            for (from, to) in named.gaps(start, end) {
                resend.extend(on_the_way.within(from, to).into_iter().map(|range| held.piece(*first, range)));
                missing.extend(on_the_way.gaps(from, to).into_iter().map(|range| held.piece(*first, range)));
            }
        }
        self.lose(id, &missing, Loss::NotHeld);
        if admission == Admission::First {
            for (job, fences) in by_job(&kept) {
                self.record(Entry::Adopted { job, worker: id, fences });
            }
        }
        resend.into_iter().map(|(fence, held)| held.grant(fence)).collect()
    }

    /// The process that held the attempts is gone.
    fn lose_with_process(&mut self, id: WorkerId, suspects: &RangeSet) {
        let slots = self.soft.workers.get(&id).map_or(1, |worker| u64::from(worker.about.slots.max(1)));
        let (mut begun, mut waiting, mut next) = (Vec::new(), Vec::new(), slots);
        for (first, held) in self.durable.held.get(&id).into_iter().flatten() {
            let (start, end) = (first.0, first.0 + u64::from(held.tasks.count));
            begun.extend(suspects.within(start, end).into_iter().map(|range| held.piece(*first, range)));
            for (from, to) in suspects.gaps(start, end) {
                let cut = to.min(from + next);
                next -= cut - from;
                begun.extend((cut > from).then(|| held.piece(*first, (from, cut))));
                waiting.extend((to > cut).then(|| held.piece(*first, (cut, to))));
            }
        }
        if !begun.is_empty() {
            self.strike(id, "its process died with attempts that it had begun".to_owned());
        }
        self.lose(id, &begun, Loss::WorkerDied);
        self.lose(id, &waiting, Loss::NotStarted);
    }

    fn answer(&mut self, id: WorkerId, acks: Vec<Ack>, resend: Vec<GrantName>, expired: bool) -> (Reply, bool) {
        let resent: u32 = resend.iter().map(|grant| grant.tasks.count).fold(0, u32::saturating_add);
        self.soft.change(id, |worker| worker.free = worker.free.saturating_sub(resent));
        let mut grants = resend;
        grants.extend(self.grant(id));
        let (keep, stops) = self.keep(id);
        let Some(worker) = self.soft.workers.get(&id) else {
            return (Reply::Refused(Problem::new(Code::Internal, "the worker was forgotten while it polled")), false);
        };
        let (seq, free) = (worker.last_seq, if worker.takes_work() { worker.free } else { 0 });
        let told = Told { seq, relay: self.relays(id), drop: self.drops(worker), drain: worker.drain, stops };
        let is_told = told.says_the_same_as(&worker.told) && worker.seen >= worker.told.seq;
        let moves = !acks.is_empty() || !grants.is_empty();
        if !moves && !expired && free > 0 && (told.is_nothing() || is_told) {
            return (self.park(id, !told.is_nothing()), false);
        }
        let renew = self.renew_ms();
        let next_poll_ms = match (free > 0, moves || expired) {
            (true, true) => 0,
            (true, false) => renew.min(NUDGE_MS),
            (false, _) => renew,
        };
        let durable = !acks.is_empty() || !told.drop.is_empty();
        #[cfg(test)]
        let durable = durable && (!acks.is_empty() || self.bug != Some(super::Bug::DropBeforeDurable));
        let response = Box::new(PollResponse {
            epoch: self.durable.epoch.unwrap_or(gristmill_common::Epoch { cluster: uuid::Uuid::nil(), counter: 0 }),
            seq,
            acks,
            keep,
            grants: grants.iter().map(|grant| Grant { token: self.secret.sign(grant) }).collect(),
            relay: told.relay.iter().map(|name| relay(&self.secret, name)).collect(),
            drop: told.drop.clone(),
            lease_ms: self.config.lease_ms,
            next_poll_ms,
            drain: told.drain,
        });
        let (now, lease, stored) = (self.now_ms(), self.config.lease_ms, response.clone());
        self.soft.change(id, |worker| {
            worker.unseen = grants.iter().map(|grant| (seq, grant.fences())).collect();
            worker.told = told;
            worker.answer = Some(stored);
            worker.parked = None;
            worker.lease_until_ms = now.saturating_add(lease);
        });
        (Reply::Poll(response), durable)
    }

    fn park(&mut self, id: WorkerId, is_reminded: bool) -> Reply {
        let now = self.now_ms();
        let is_busy = is_reminded || self.durable.held.contains_key(&id);
        let hold = self.config.hold_ms.min(self.config.lease_ms / 3);
        let hold_ms = if is_busy { hold.min(self.renew_ms()) } else { hold };
        let ticket = self.soft.ticket();
        let until_ms = self.soft.change(id, |worker| {
            let until_ms = worker.parked.map_or(now.saturating_add(hold_ms), |parked| parked.until_ms);
            let ticket = worker.parked.map_or(ticket, |parked| parked.ticket);
            worker.parked = Some(Parked { ticket, until_ms, is_woken: false });
            until_ms
        });
        Reply::Parked { hold_ms: until_ms.unwrap_or(now).saturating_sub(now) }
    }

    /// What the worker may go on with, and a fingerprint of what it has to stop.
    fn keep(&self, id: WorkerId) -> (Vec<FenceRange>, u64) {
        let Some(worker) = self.soft.workers.get(&id) else { return (Vec::new(), 0) };
        let (mut named, mut keep) = (RangeSet::default(), RangeSet::default());
        worker.running.iter().for_each(|running| named.insert_fences(running.fences));
        for (first, held) in self.durable.held.get(&id).into_iter().flatten() {
            for (start, end) in named.within(first.0, first.0 + u64::from(held.tasks.count)) {
                keep.insert(start, end);
            }
        }
        for (start, end) in keep.iter() {
            named.remove(start, end);
        }
        let stops = named.iter().fold(0_u64, |sum, (s, e)| sum.wrapping_mul(31).wrapping_add(s).wrapping_add(e << 20));
        (keep.to_fences(), stops)
    }

    fn drops(&self, worker: &Worker) -> Vec<JobId> {
        let is_over =
            |job: &&JobId| self.durable.jobs.get(*job).is_none_or(|job| job.state().is_over() && job.kept.is_empty());
        worker.holds.iter().filter(is_over).copied().collect()
    }

    pub(super) fn held_count(&self, id: WorkerId) -> u64 {
        self.durable.held.get(&id).into_iter().flatten().map(|(_, held)| u64::from(held.tasks.count)).sum()
    }

    /// How often a busy worker polls: ten thousand of them make no more polls than a thousand.
    pub(super) fn renew_ms(&self) -> u64 {
        let fleet = 1 + self.soft.leases.len() as u64 / 1_000;
        self.config.renew_ms.saturating_mul(fleet).min(self.config.lease_ms / 4).max(1)
    }
}

/// A worker that was told to stop or drop something, but given nothing, polls again after this long.
const NUDGE_MS: u64 = 100;

impl Held {
    /// The part of the attempts, the first of which is `first`, whose fences are in the range.
    fn piece(&self, first: Fence, range: (u64, u64)) -> (Fence, Self) {
        let skip = u32::try_from(range.0 - first.0).unwrap_or(u32::MAX);
        let count = u32::try_from(range.1 - range.0).unwrap_or(u32::MAX);
        let tasks = gristmill_common::TaskRange { first: self.tasks.first.saturating_add(skip), count };
        (Fence(range.0), Self { tasks, ..*self })
    }

    fn grant(&self, first_fence: Fence) -> GrantName {
        let Self { job, step, stage, tasks, generation } = *self;
        GrantName { job, step, stage, tasks, first_fence, generation }
    }
}

pub(super) fn by_job(held: &[(Fence, Held)]) -> BTreeMap<JobId, Vec<FenceRange>> {
    let mut jobs = BTreeMap::<_, Vec<_>>::new();
    for (first, held) in held {
        let fences = FenceRange { first: *first, count: held.tasks.count };
        jobs.entry(held.job).or_default().push(fences);
    }
    jobs
}

/// Cuts what a worker says of itself to what is kept.
/// It is shown to people; whoever runs code on a worker may say anything.
fn bounded_running(mut running: gristmill_common::wire::Running) -> gristmill_common::wire::Running {
    running.status = running.status.as_deref().and_then(gristmill_common::reason::status);
    running
}

fn bounded_about(mut about: gristmill_common::wire::WorkerAbout) -> gristmill_common::wire::WorkerAbout {
    use gristmill_common::reason::bounded;
    about.name = bounded(about.name);
    about.host = bounded(about.host);
    about.version = bounded(about.version);
    about.slots = about.slots.min(limits::SLOTS);
    about.programs.truncate(limits::PROGRAMS);
    about.programs = about.programs.into_iter().map(bounded).collect();
    about.roots.truncate(limits::PROGRAMS);
    about.roots = about.roots.into_iter().map(bounded).collect();
    about.shuffle = about.shuffle.filter(|shuffle| shuffle.url.len() <= limits::SHUFFLE_URL_BYTES);
    while about.labels.len() > limits::LABELS {
        about.labels.pop_last();
    }
    about.labels.retain(|name, value| name.len() <= limits::LABEL_BYTES && value.len() <= limits::LABEL_BYTES);
    about
}
