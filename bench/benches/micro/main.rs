//! The inner loops by themselves: `cargo bench -p gristmill-bench`.
//!
//! Each is fed through the door that production uses, so that nothing has to be public for the sake of being measured. Figures of
//! one run compare with each other; those of two commits compare with `--save-baseline` and `--baseline`.

mod plane;
mod runs;
mod scheduler;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, runs::blocks, runs::merge, plane::splitter, plane::table, plane::sort, scheduler::no_ops);
criterion_main!(benches);
