//! One command per file.

pub(crate) mod completion;
pub(crate) mod coordinator;
pub(crate) mod dev;
pub(crate) mod hadoop;
pub(crate) mod job;
pub(crate) mod logs;
pub(crate) mod output;
pub(crate) mod replay;
pub(crate) mod store;
pub(crate) mod worker;
