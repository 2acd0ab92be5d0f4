//! The engine that compiles and runs modules, and the modules that were compiled last.
//!
//! Only source modules are taken, never compiled ones: those would be trusted machine code. What may differ between
//! machines is off or made the same: NaN bits, relaxed SIMD, threads.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gristmill_common::reason::bounded;
use gristmill_common::{Digest, Reason, limits};
use wasmtime::{Config, Engine, ExternType, Module};

/// How often a running module looks whether it is still wanted.
const EPOCH: Duration = Duration::from_millis(20);
/// Stack of WebAssembly code; host functions have the rest of the coroutine's.
const STACK_BYTES: usize = 512 << 10;
const COROUTINE_BYTES: usize = 2 << 20;

/// The engine of this process.
struct Machine {
    engine: Engine,
    /// The modules used last, the latest at the end.
    modules: Mutex<Vec<Arc<Loaded>>>,
    /// How many guests run: the epoch only goes on for them.
    running: Mutex<usize>,
    wake: Condvar,
}

/// Which contract a module keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interface {
    /// WASI preview 1: lines on stdin, lines on stdout.
    Command,
    /// Version 1 of `docs/wasm.md`.
    Batched,
}

/// A compiled module.
pub(super) struct Loaded {
    digest: Digest,
    pub(super) module: Module,
    pub(super) interface: Interface,
}

/// Keeps the epoch going while it lives.
pub(super) struct Ticking(&'static Machine);

impl Drop for Ticking {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

/// Returns the module of this hash, compiled.
///
/// # Errors
/// [`Reason::UserError`] if it is no module that can run here, [`Reason::Worker`] if its file cannot be read.
pub(super) fn load(digest: Digest, path: &Path) -> Result<Arc<Loaded>, Reason> {
    let machine = machine()?;
    if let Some(found) = machine.find(digest) {
        return Ok(found);
    }
    let failed = |error: std::io::Error| Reason::Worker { message: bounded(format!("{}: {error}", path.display())) };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > limits::WASM_MODULE_BYTES {
        let limit = limits::WASM_MODULE_BYTES;
        return Err(refused(digest, format!("it has {bytes} bytes: the limit is {limit}")));
    }
    let loaded = Arc::new(compile(machine, digest, &std::fs::read(path).map_err(failed)?)?);
    machine.keep(Arc::clone(&loaded));
    Ok(loaded)
}

fn compile(machine: &Machine, digest: Digest, bytes: &[u8]) -> Result<Loaded, Reason> {
    if !bytes.starts_with(b"\0asm") {
        return Err(refused(
            digest,
            "it does not begin as one; modules in text are made binary with wat2wasm".to_owned(),
        ));
    }
    let module = Module::from_binary(&machine.engine, bytes).map_err(|error| refused(digest, format!("{error:#}")))?;
    let interface = interface(&module).map_err(|why| refused(digest, why))?;
    Ok(Loaded { digest, module, interface })
}

fn refused(digest: Digest, why: String) -> Reason {
    let name = digest.to_string();
    Reason::UserError {
        message: bounded(format!("{:.12}… is no WebAssembly module for this: {why}", name)), at: None
    }
}

fn interface(module: &Module) -> Result<Interface, String> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err("it exports no `memory`".to_owned());
    }
    if module.get_export("gristmill_abi_1").is_some() {
        return Ok(Interface::Batched);
    }
    if let Some(other) = module.exports().find(|export| export.name().starts_with("gristmill_abi_")) {
        return Err(format!("it exports `{}`; this worker knows `gristmill_abi_1`", other.name()));
    }
    if module.get_export("_start").is_some() {
        return Ok(Interface::Command);
    }
    Err("it exports neither `_start` (a WASI command) nor `gristmill_abi_1` (the batched interface)".to_owned())
}

/// Starts the epoch for a guest.
pub(super) fn ticking() -> Result<Ticking, Reason> {
    let machine = machine()?;
    *machine.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    machine.wake.notify_one();
    Ok(Ticking(machine))
}

fn machine() -> Result<&'static Machine, Reason> {
    static MACHINE: OnceLock<Result<Machine, String>> = OnceLock::new();
    let made = MACHINE.get_or_init(|| Machine::new().map_err(|error| format!("{error:#}")));
    let machine = made.as_ref().map_err(|error| Reason::Worker { message: bounded(error.clone()) })?;
    static TICKER: OnceLock<bool> = OnceLock::new();
    let ticks = TICKER.get_or_init(|| {
        let ticker = std::thread::Builder::new().name("wasm-epoch".to_owned());
        ticker.spawn(|| machine.tick()).is_ok()
    });
    if !ticks {
        return Err(Reason::Worker { message: "no thread for the epoch of WebAssembly programs".to_owned() });
    }
    Ok(machine)
}

impl Machine {
    fn new() -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            .wasm_memory64(false)
            .max_wasm_stack(STACK_BYTES)
            .async_stack_size(COROUTINE_BYTES);
        let engine = Engine::new(&config)?;
        Ok(Self { engine, modules: Mutex::default(), running: Mutex::new(0), wake: Condvar::new() })
    }

    fn tick(&self) {
        loop {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            while *running == 0 {
                running = self.wake.wait(running).unwrap_or_else(PoisonError::into_inner);
            }
            drop(running);
            std::thread::sleep(EPOCH);
            self.engine.increment_epoch();
        }
    }

    fn find(&self, digest: Digest) -> Option<Arc<Loaded>> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let at = modules.iter().position(|loaded| loaded.digest == digest)?;
        let found = modules.remove(at);
        modules.push(Arc::clone(&found));
        Some(found)
    }

    fn keep(&self, loaded: Arc<Loaded>) {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if modules.len() >= limits::WASM_MODULES_CACHED {
            modules.remove(0);
        }
        modules.push(loaded);
    }
}

#[cfg(test)]
pub(super) fn load_bytes(bytes: &[u8]) -> Result<Arc<Loaded>, Reason> {
    compile(machine()?, Digest::of(bytes), bytes).map(Arc::new)
}
