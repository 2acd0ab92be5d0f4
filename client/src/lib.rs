//! Typed HTTP client of the coordinator, for the command line, the sdk, workers and tests.
//!
//! What it keeps: a bearer token never leaves over plain HTTP except to this machine, a pinned certificate is the only one
//! accepted, and a stalled connection is noticed by read timeouts, never by a limit on the whole call. HTTP/1.1 only: a
//! stalled HTTP/2 connection would be reused for ever. Nothing here retries by itself except [`retry::idempotent`].

pub mod backoff;
mod bundles;
mod download;
pub mod endpoint;
pub mod endpoint_file;
mod error;
mod http;
mod pin;
pub mod retry;
mod user;
mod worker;

pub use backoff::Backoff;
pub use bundles::UploadError;
pub use download::Download;
pub use endpoint::{Endpoint, EndpointError};
pub use error::ClientError;
pub use reqwest::Body;
pub use user::{Client, JobsFilter, TasksFilter};
pub use worker::WorkerClient;

/// Chooses the cryptography of TLS for this process, if nobody did; clients do it by themselves.
pub fn install_tls() {
    pin::install_provider();
}
