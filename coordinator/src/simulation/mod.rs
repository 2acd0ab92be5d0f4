//! The simulator: the real scheduler and the real exchange of the worker under a seeded network, crashes and time.
//!
//! One seed derives everything (`Options`), prints it when it fails, and does the same again. Tasks compute hashes of what
//! they really read, so that a wrong input shows in the committed output. `Oracle` judges every entry; after each step the
//! durable half must equal the fold of the entries. When the faults end, everything must finish.
//!
//! `large` measures the scheduler with 10,000 workers and 1,000,000 tasks.
//! `GRISTMILL_SEED=n` repeats one seed with its story, `GRISTMILL_SEEDS=n` runs more of them.

mod coordinator;
#[cfg(test)]
mod large;
mod network;
mod options;
mod oracle;
mod random;
#[cfg(test)]
mod tests;
mod work;
mod worker;
mod world;
