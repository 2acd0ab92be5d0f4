//! The API without a socket: every route, every refusal, and a worker that goes through whole jobs.

mod auth;
mod blobs;
mod bundles;
mod exchange;
mod files;
mod jobs;
mod logs;
mod older_worker;
mod refusals;
mod replay;
mod wire;
mod worker;
mod world;
