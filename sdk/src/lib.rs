//! Write MapReduce jobs in Rust: typed stages, a command line for them, and ready-made jobs.

pub mod app;
pub mod codec;
pub mod embedded;
pub mod jobs;
pub mod prelude;
mod scratch;
pub mod typed;
