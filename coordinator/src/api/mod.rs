//! The HTTP API: translates requests to commands and queries of the driver, and outcomes to answers.
//!
//! Deny by default: a route cannot be written without saying which token opens it ([`routes::table`]), and Host and Origin are
//! checked before any handler runs. Handlers decide nothing. Blobs go between socket and store without passing the driver.

mod answer;
mod ask;
mod blobs;
mod body;
mod bundles;
mod exchange;
mod files;
mod guard;
mod jobs;
mod logs;
mod output;
mod ranged;
mod routes;
mod status;
mod strikes;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use gristmill_common::{Epoch, limits};
use gristmill_storage::Roots;
use tokio::sync::Semaphore;

use crate::auth::Keys;
use crate::driver;
use crate::store::Store;

use self::strikes::Strikes;

pub use guard::Hosts;
pub use routes::router;

/// What handlers are given.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// The parts, and what handlers count.
pub struct Inner {
    parts: Parts,
    strikes: Strikes,
    /// KiB of submits that may still be in work.
    submits: Arc<Semaphore>,
}

/// What an [`App`] is made of.
pub struct Parts {
    /// The way to the scheduler.
    pub driver: driver::Handle,
    /// Plans, outputs, uploads.
    pub store: Store,
    /// Where files may be read and written.
    pub roots: Arc<Roots>,
    /// What tokens are checked against.
    pub keys: Keys,
    /// The names under which this coordinator may be addressed.
    pub hosts: Hosts,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Ends waits of handlers when the coordinator stops.
    pub stop: tokio_util::sync::CancellationToken,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let submits = Arc::new(Semaphore::new(limits::SUBMITS_KIB));
        Self(Arc::new(Inner { parts, strikes: Strikes::default(), submits }))
    }

    /// Makes the router.
    pub fn router(self) -> Router {
        router(self)
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::ops::Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
