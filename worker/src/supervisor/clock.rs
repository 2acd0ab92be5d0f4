//! The worker's clock and its randomness: the one module that may ask the system for either.

#![expect(clippy::disallowed_methods, reason = "everything else is given its time and its ids")]

use std::time::Instant;

use uuid::Uuid;

/// Measures time from one moment on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.elapsed_us() / 1000
    }
}

/// Makes a secret.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn fresh_secret() -> std::io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    Ok(secret)
}

/// Makes an id that nobody has.
pub(crate) fn fresh_id() -> Uuid {
    Uuid::new_v4()
}
