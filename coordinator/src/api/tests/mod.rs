//! The API without a socket: every route, every refusal, and a worker that goes through whole jobs.

mod auth;
mod blobs;
mod exchange;
mod files;
mod jobs;
mod refusals;
mod wire;
mod worker;
mod world;
