//! worker

pub mod data;
pub mod exchange;
pub mod position;
pub mod program;
