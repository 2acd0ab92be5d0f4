//! WebAssembly programs: modules of users, run in a sandbox on the executor's thread.
//!
//! A module is a WASI command under the streaming contract, or has the batched interface of `docs/wasm.md`; its exports say
//! which. Both run as a [`guest::Guest`]: a coroutine that is given bytes and gives bytes. It sees what the contract names
//! and nothing else: no files, no clock, no randomness, so that its output depends on its input alone.

mod batch;
mod batched;
mod engine;
mod functions;
mod guest;
mod host;
mod locate;
mod pipes;
mod program;
#[cfg(test)]
mod tests;
mod wasi;

pub(crate) use program::WasmProgram;
