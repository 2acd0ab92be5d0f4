//! One command per file.

pub(crate) mod coordinator;
pub(crate) mod job;
pub(crate) mod output;
pub(crate) mod worker;
