//! What belongs to one running module: its arguments, its limits, its memory, and how its end becomes a reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::reason::bounded;
use gristmill_common::{Reason, limits};
use wasmtime::{Caller, Extern, Memory, ResourceLimiter, Store, Trap, UpdateDeadline, WasmBacktrace};

use super::engine::Loaded;
use super::pipes::Pipes;

/// The state of a store.
pub(super) struct Host {
    pub(super) args: Vec<Vec<u8>>,
    pub(super) env: Vec<Vec<u8>>,
    pub(super) pipes: Pipes,
    /// State of the random numbers, which follow from the task.
    pub(super) random: u64,
    /// Calls of the clock: each is a microsecond after the one before.
    pub(super) clock_calls: u64,
    memory: Option<Memory>,
    memory_bytes: usize,
}

/// Why a host function ends the guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("exit code {0}")]
    Exit(i32),
    #[error("{0}")]
    Failed(String),
    /// A record of the batch, counted from 0, that the module cannot use.
    #[error("`{function}` says that record {index} of its batch is bad")]
    Record { function: &'static str, index: u32 },
    #[error("{0}")]
    Memory(String),
    #[error("the attempt was cancelled")]
    Cancelled,
}

/// What all stores of an attempt have in common.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) random: u64,
    pub(super) memory_bytes: u64,
    pub(super) cancel: Arc<AtomicBool>,
}

impl Host {
    pub(super) fn store(loaded: &Loaded, settings: &Settings, pipes: Pipes) -> Store<Self> {
        let args = std::iter::once("module").chain(settings.args.iter().map(String::as_str));
        let host = Self {
            args: args.map(|arg| arg.as_bytes().to_vec()).collect(),
            env: settings.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
            pipes,
            random: settings.random,
            clock_calls: 0,
            memory: None,
            memory_bytes: usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX),
        };
        let mut store = Store::new(loaded.module.engine(), host);
        store.limiter(|host| host);
        store.set_epoch_deadline(1);
        let cancel = Arc::clone(&settings.cancel);
        store.epoch_deadline_callback(move |_| match cancel.load(Ordering::Relaxed) {
            true => Err(Stop::Cancelled.into()),
            false => Ok(UpdateDeadline::Continue(1)),
        });
        store
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory_bytes {
            let limit = self.memory_bytes;
            let what = format!("the module wants {desired} bytes of memory: `memory_bytes` of the spec allows {limit}");
            return Err(Stop::Memory(what).into());
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::WASM_TABLE_ELEMENTS {
            let limit = limits::WASM_TABLE_ELEMENTS;
            return Err(
                Stop::Memory(format!("the module wants a table of {desired} elements: the limit is {limit}")).into()
            );
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        limits::WASM_TABLES
    }

    fn memories(&self) -> usize {
        1
    }
}

/// Returns the memory of the module and the host's state.
pub(super) fn memory_of<'a>(caller: &'a mut Caller<'_, Host>) -> wasmtime::Result<(&'a mut [u8], &'a mut Host)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let found = caller.get_export("memory").and_then(Extern::into_memory);
            let memory = found.ok_or_else(|| Stop::Failed("the module exports no `memory`".to_owned()))?;
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    Ok(memory.data_and_store_mut(caller))
}

/// Returns a range of memory; `None` if it is not all there.
pub(super) fn range(memory: &[u8], at: u32, length: u32) -> Option<&[u8]> {
    let start = at as usize;
    memory.get(start..start.checked_add(length as usize)?)
}

/// Returns a range of memory for writing; `None` if it is not all there.
pub(super) fn range_mut(memory: &mut [u8], at: u32, length: u32) -> Option<&mut [u8]> {
    let start = at as usize;
    memory.get_mut(start..start.checked_add(length as usize)?)
}

/// How a guest ended that did not do what it was asked.
pub(super) fn reason_of(error: &wasmtime::Error) -> Reason {
    match error.downcast_ref::<Stop>() {
        Some(Stop::Cancelled) => return Reason::Worker { message: Stop::Cancelled.to_string() },
        Some(Stop::Memory(message)) => return Reason::OutOfMemory { message: bounded(message.clone()), at: None },
        Some(stop @ Stop::Exit(_)) => return Reason::Crashed { message: stop.to_string(), at: None },
        Some(stop @ (Stop::Failed(_) | Stop::Record { .. })) => {
            return Reason::UserError { message: bounded(stop.to_string()), at: None };
        }
        None => {}
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return Reason::UserError { message: bounded(format!("{error:#}")), at: None };
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let inside = frames.iter().find_map(|frame| frame.func_name());
    let inside = inside.map(|name| format!(" in `{name}`")).unwrap_or_default();
    Reason::Panicked { message: bounded(format!("{trap}{inside}")), at: None }
}
