//! How long to wait before the next try: exponential with full jitter, so that a fleet does not come back in step.

use std::time::Duration;

/// Waits that grow up to a longest one. Full jitter: each is drawn between nothing and the whole step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// Makes waits that start at up to `first`, double, and end at up to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, tries: 0 }
    }

    /// Starts again with short waits: something went well.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Returns how many waits there were since the last success.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Draws the next wait.
    #[expect(
        clippy::disallowed_methods,
        reason = "jitter that could be foreseen would be none; `next_of` is what decides"
    )]
    pub fn draw(&mut self) -> Duration {
        let random = getrandom::u64().unwrap_or(u64::MAX / 2);
        self.next_of(random)
    }

    fn next_of(&mut self, random: u64) -> Duration {
        let step = self.first.saturating_mul(1 << self.tries.min(20)).min(self.longest);
        self.tries = self.tries.saturating_add(1);
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(((u128::from(micros) * u128::from(random)) >> 64) as u64)
    }
}

impl Default for Backoff {
    /// From 100 ms to 10 s: a coordinator that restarts is found soon, one that is away is not hammered.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let waits: Vec<u128> = (0..4).map(|_| backoff.next_of(u64::MAX).as_micros()).collect();
        assert_eq!(waits, [99_999, 199_999, 349_999, 349_999]);
        assert_eq!(backoff.next_of(0), Duration::ZERO);
        backoff.reset();
        assert!(backoff.draw() <= Duration::from_millis(100));
    }
}
