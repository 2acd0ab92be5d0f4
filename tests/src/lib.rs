//! What the end-to-end tests share: a cluster of real processes, faults for it, and the sequential oracle.
//!
//! Every process is killed when its owner goes, and all state is in one temporary directory.

pub mod chance;
pub mod cluster;
pub mod duty;
pub mod oracle;
pub mod power;
pub mod proxy;
pub mod throttle;

pub use chance::{Chance, asked};
pub use cluster::{Cluster, Process};
pub use proxy::Proxy;
