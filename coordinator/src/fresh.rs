//! Where this crate takes randomness and time from: the one place, so that everything else can be given them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gristmill_common::JobId;
use uuid::Uuid;

use crate::scheduler::{Now, WallMs};

/// Makes 256 random bits.
///
/// # Panics
/// When the operating system has no randomness to give: nothing safe can be done without.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the module that makes secrets")]
pub fn secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Makes the id of a job; later ones sort after earlier ones.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the module that makes ids")]
pub fn job() -> JobId {
    JobId(Uuid::now_v7())
}

/// Makes the id of a cluster.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the module that makes ids")]
pub fn cluster() -> Uuid {
    Uuid::new_v4()
}

/// Reads the wall clock, for display.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the module that stamps entries")]
pub fn wall_ms() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Counts from the start of the coordinator, and never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts to count.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the module that reads the clock")]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Returns the time of a command that is handled now.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX), wall_ms: wall_ms() }
    }

    /// Returns the moment at which [`Now::mono_ms`] has this value.
    #[must_use]
    pub fn at(&self, mono_ms: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + Duration::from_millis(mono_ms))
    }
}
