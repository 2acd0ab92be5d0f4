//! What to tell the coordinator: everything that is held, in as few ranges as hold it.

use std::io::{self, Write};
use std::sync::Arc;

use gristmill_common::wire::{Outcome, PollRequest, Report, Running, TaskResult};
use gristmill_common::{FenceRange, limits};

use super::Exchange;

/// Attempts that waited this long behind running ones go back: others may have idle slots.
const STALLED_MS: u64 = 5 * limits::PREFETCH_MS;
/// Bytes of a result's JSON beside its token and outcome, and of its fences in `running`.
const RESULT_BYTES: usize = 512;

impl Exchange {
    /// Returns the request to send. The same again while it is unanswered and there is no news.
    pub fn next_request(&mut self, now_ms: u64) -> Arc<PollRequest> {
        let excess = self.excess(now_ms);
        if let Some(pending) = self.pending.as_ref().filter(|_| !self.news && excess == 0) {
            return Arc::clone(pending);
        }
        self.give_back(excess);
        self.news = false;
        self.seq += 1;
        let (finished, unsaid) = self.reports();
        let request = Arc::new(PollRequest {
            protocol: limits::PROTOCOL,
            worker: self.identity.worker,
            session: self.identity.session,
            incarnation: self.identity.incarnation,
            seq: self.seq,
            seen: self.seen,
            epoch: self.epoch,
            about: self.identity.about.clone(),
            free_slots: self.free_slots(now_ms),
            running: self.running_list(unsaid),
            finished,
            returned: self.returned.iter().map(|(fences, ())| fences).collect(),
            holds: self.holds.iter().copied().collect(),
            draining: self.draining,
            no_room: self.no_room.clone(),
        });
        self.pending = Some(Arc::clone(&request));
        request
    }

    /// Says whether all slots have been busy with the same attempts for a while: what is queued behind them waits for long.
    fn is_stalled(&self, now_ms: u64) -> bool {
        let busy = self.running >= u64::from(self.identity.about.slots);
        busy && now_ms.saturating_sub(self.last_start_ms) > STALLED_MS
    }

    /// Returns how many queued attempts others should have: all on a drain or behind a slow one, and of a stage whose tasks
    /// are slower than the ones by which the prefetch was chosen, what is beyond its own measure.
    fn excess(&self, now_ms: u64) -> u64 {
        if self.draining || self.no_room.is_some() || self.is_stalled(now_ms) {
            return self.queued();
        }
        let slots = u64::from(self.identity.about.slots.max(1));
        let last = self.held.iter().filter(|(_, attempt)| !attempt.running).last();
        let Some((_, attempt)) = last else { return 0 };
        // Twice the measure, so that a median that wavers does not send tasks to and fro.
        let fits = self.pace.prefetch_of(&attempt.grant.name).map_or(1, |tasks| (2 * tasks).max(1));
        self.queued().saturating_sub(fits.saturating_mul(slots))
    }

    /// Gives back the attempts that would run last.
    fn give_back(&mut self, mut excess: u64) {
        while excess > 0 {
            let Some(mut range) = self.queue.pop_back() else { return };
            let count = u64::from(range.count);
            if count > excess {
                let kept = u32::try_from(count - excess).unwrap_or(u32::MAX);
                self.queue.push_back(FenceRange { first: range.first, count: kept });
                range = FenceRange { first: range.first.plus(u64::from(kept)), count: range.count - kept };
            }
            for (fences, attempt) in self.held.remove(range) {
                if attempt.running {
                    self.held.insert(fences, &attempt);
                } else {
                    self.returned.insert(fences, &());
                    self.news = true;
                }
            }
            excess = excess.saturating_sub(u64::from(range.count));
        }
    }

    fn free_slots(&self, now_ms: u64) -> u32 {
        if self.draining || self.full || self.no_room.is_some() {
            return 0;
        }
        let slots = u64::from(self.identity.about.slots);
        let ahead = if self.is_stalled(now_ms) { 0 } else { self.ahead().saturating_mul(slots) };
        let room = (slots + ahead).min(limits::HELD_ATTEMPTS).saturating_sub(self.held.len());
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// Returns how many attempts to hold for each slot beyond the ones it runs: what the slowest stage at hand allows.
    ///
    /// Asking by the pace of a quicker stage would bring back at once what `excess` has just given away.
    fn ahead(&self) -> u64 {
        if !self.returned.is_empty() {
            return 0;
        }
        let of_held = self.held.iter().map(|(_, attempt)| self.pace.prefetch_of(&attempt.grant.name).unwrap_or(0));
        of_held.min().unwrap_or_else(|| self.pace.prefetch())
    }

    /// What did not fit into the reports is still held: leaving it out of everything would say that it is lost.
    fn running_list(&self, unsaid: Vec<FenceRange>) -> Vec<Running> {
        let held = self.held.iter().map(|(fences, attempt)| Running {
            fences,
            progress_permille: attempt.progress_permille,
            status: attempt.status.as_deref().map(str::to_owned),
        });
        let unsaid = unsaid.into_iter().map(|fences| Running { fences, progress_permille: Some(1000), status: None });
        let mut list: Vec<Running> = Vec::new();
        for next in held.chain(unsaid) {
            match list.last_mut() {
                Some(last)
                    if last.fences.end() == next.fences.first
                        && (last.progress_permille, &last.status) == (next.progress_permille, &next.status)
                        && last.fences.count.checked_add(next.fences.count).is_some() =>
                {
                    last.fences.count += next.fences.count;
                }
                _ => list.push(next),
            }
        }
        list
    }

    /// Returns the reports that fit into one request, and the attempts whose results did not.
    fn reports(&self) -> (Vec<Report>, Vec<FenceRange>) {
        let mut reports: Vec<Report> = Vec::new();
        let mut unsaid = Vec::new();
        let mut bytes = 0;
        for (fences, finished) in self.finished.iter() {
            bytes += RESULT_BYTES + finished.grant.token.len() + finished.weight;
            if bytes > self.report_bytes && !reports.is_empty() {
                unsaid.push(fences);
                continue;
            }
            let result = TaskResult { tasks: finished.grant.tasks(fences), outcome: (*finished.outcome).clone() };
            match reports.last_mut() {
                Some(report) if report.token == finished.grant.token => report.results.push(result),
                _ => reports.push(Report { token: finished.grant.token.clone(), results: vec![result] }),
            }
        }
        (reports, unsaid)
    }
}

/// Returns how many bytes of JSON an outcome takes: control characters in a message take six each.
pub(super) fn weight(outcome: &Outcome) -> usize {
    let mut counted = Counted(0);
    // Counting cannot fail; an outcome that cannot be written is never sent.
    let _ = serde_json::to_writer(&mut counted, outcome);
    counted.0
}

struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
