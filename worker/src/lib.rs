//! The Gristmill worker: a supervisor that polls a coordinator, and executors that run user code.
//!
//! [`run`] is the whole worker. An executable that starts workers with executor processes calls
//! [`executor::run_if_asked`] first in its `main`. Nothing listens here unless it is told to: a worker only needs to reach its
//! coordinator.

mod bundles;
mod command;
mod config;
pub mod control_groups;
pub mod data;
mod echo;
pub mod exchange;
pub mod executor;
pub mod log;
mod outbox;
pub mod position;
pub mod program;
pub mod sandbox;
mod signals;
pub mod skip;
mod state_dir;
mod streaming;
mod supervisor;
#[cfg(feature = "wasm")]
mod wasm;

pub use config::{Executors, ShuffleListen, WorkerConfig, default_state_dir};
pub use program::{Program, Programs};
pub use sandbox::Sandbox;
pub use supervisor::{WorkerError, executable_digest, run};
