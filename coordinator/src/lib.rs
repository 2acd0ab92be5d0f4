//! The Gristmill coordinator: splits jobs into tasks, hands them to workers that poll it, and makes outputs visible.
//!
//! `api` (HTTP) → `driver` (the one owner) → `scheduler` (pure) → `journal` (durable facts). Blobs and plans go through `store`,
//! `planner`, `commit` and `render`, and never pass the driver. `server` puts it all together.

pub mod api;
pub mod auth;
pub mod commit;
pub mod config;
pub mod data_dir;
pub mod driver;
pub mod fresh;
#[cfg(test)]
mod golden;
pub mod journal;
pub mod planner;
pub mod render;
pub mod scheduler;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod store;

pub use config::{ConfigError, CoordinatorArgs, CoordinatorConfig, JournalKind};
pub use server::{RunError, Running, StartError, run, start};
