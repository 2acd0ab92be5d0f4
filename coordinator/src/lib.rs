//! coordinator

pub mod commit;
pub mod planner;
pub mod render;
pub mod store;
