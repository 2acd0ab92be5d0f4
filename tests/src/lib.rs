//! What the end-to-end tests share: a cluster of real processes, and the sequential oracle.
//!
//! Every process is killed when its owner goes, and all state is in one temporary directory.

pub mod cluster;
pub mod duty;
pub mod oracle;

pub use cluster::{Cluster, Process};
