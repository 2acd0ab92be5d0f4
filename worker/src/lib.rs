//! worker

pub mod data;
pub mod position;
pub mod program;
