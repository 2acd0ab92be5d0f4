//! How a worker ends: it finishes what runs, hands over what it has, and waits for that no longer than it may.

use gristmill_common::limits;

use super::Supervisor;

impl Supervisor {
    pub(super) fn drain(&mut self) {
        if self.draining_ms.is_none() {
            let limit_s = limits::WORKER_DRAIN_MS / 1_000;
            tracing::info!(
                running = self.exchange.running(),
                limit_s,
                "draining: finishing what runs, giving back the rest; a second signal stops at once"
            );
            self.draining_ms = Some(self.clock.elapsed_ms());
            self.exchange.drain();
        }
    }

    /// Says whether a drain is over: everything reported, acknowledged and relayed, or its time is up, or nobody is there and
    /// nothing is left to hand over.
    pub(super) fn is_done(&mut self, now_ms: u64) -> bool {
        let Some(since) = self.draining_ms else { return false };
        let waited_ms = now_ms.saturating_sub(since);
        if waited_ms >= limits::WORKER_DRAIN_MS {
            tracing::warn!(
                running = self.exchange.running(),
                unacked = self.exchange.unacked(),
                "the drain took too long; stopping anyway"
            );
            return true;
        }
        let is_empty = self.exchange.is_empty() && self.relays.is_empty();
        let is_alone = self.polls.is_failing() && self.exchange.running() == 0;
        if is_alone && is_empty && !self.exchange.holds_outputs() {
            tracing::info!("the coordinator does not answer, and nothing is left to hand over");
            return true;
        }
        // Also while something runs: it may need the coordinator to go on.
        if self.polls.is_failing() && !std::mem::replace(&mut self.said_alone, true) {
            let limit_s = (limits::WORKER_DRAIN_MS - waited_ms).div_ceil(1_000);
            tracing::warn!(
                unacked = self.exchange.unacked(), state = %self.state.path().display(), limit_s,
                "the coordinator does not answer: waiting for it, to hand over reports and outputs; a second signal stops at \
                 once, and the next worker with this state directory hands them over"
            );
        }
        self.dismissed && is_empty
    }
}
