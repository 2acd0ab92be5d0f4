//! The batched interface, version 1 (`docs/wasm.md`): a call for many records, which lie in the module's memory.

use std::sync::Arc;

use wasmtime::{Caller, Instance, Linker, Store, TypedFunc};

use super::engine::Loaded;
use super::guest::Role;
use super::host::{Host, Stop, memory_of, range};
use super::pipes::Pipes;
use super::wasi;

const MODULE: &str = "gristmill_abi_1";
/// Room that is asked for at least, in bytes: most batches fit, so that it is asked for once.
const ROOM_BYTES: u32 = 512 << 10;

impl Role {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Map => ("map_batch", "map_finish"),
            Self::Reduce => ("reduce_batch", "reduce_finish"),
        }
    }
}

/// Calls the module's function for each batch, and the one for the end.
pub(super) async fn run(mut store: Store<Host>, loaded: Arc<Loaded>, role: Role, pipes: Pipes) -> wasmtime::Result<()> {
    let linker = wasi::linker(&mut store, &loaded)?;
    let instance = linker.instantiate_async(&mut store, &loaded.module).await?;
    if let Some(initialize) = optional::<(), ()>(&instance, &mut store, "_initialize")? {
        initialize.call_async(&mut store, ()).await?;
    }
    let (name, finish_name) = role.names();
    let call = needed::<(u32, u32), i32>(&instance, &mut store, name)?;
    let allocate = needed::<u32, u32>(&instance, &mut store, "gristmill_alloc")?;
    let finish = optional::<(), i32>(&instance, &mut store, finish_name)?;
    let (mut at, mut room) = (0, 0);
    while let Some(batch) = pipes.next_batch().await {
        let length = u32::try_from(batch.len()).map_err(|_| Stop::Failed("a batch of more than 4 GiB".to_owned()))?;
        if length > room {
            room = length.max(ROOM_BYTES);
            at = allocate.call_async(&mut store, room).await?;
            if at == 0 {
                return Err(Stop::Memory(format!("`gristmill_alloc` has no room for {room} bytes")).into());
            }
        }
        let memory = instance.get_memory(&mut store, "memory");
        let memory = memory.ok_or_else(|| Stop::Failed("the module exports no `memory`".to_owned()))?;
        if memory.write(&mut store, at as usize, &batch).is_err() {
            let what = format!("`gristmill_alloc` gave {room} bytes at {at}, which is not all in its memory");
            return Err(Stop::Failed(what).into());
        }
        pipes.reuse(batch);
        check(name, call.call_async(&mut store, (at, length)).await?)?;
    }
    if let Some(finish) = finish {
        check(finish_name, finish.call_async(&mut store, ()).await?)?;
    }
    Ok(())
}

fn check(function: &'static str, code: i32) -> Result<(), Stop> {
    match u32::try_from(code) {
        Ok(0) => Ok(()),
        Ok(record) if function.ends_with("_batch") => Err(Stop::Record { function, index: record - 1 }),
        _ => Err(Stop::Failed(format!("`{function}` returned {code}"))),
    }
}

fn needed<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &str,
) -> wasmtime::Result<TypedFunc<P, R>> {
    let found = optional(instance, store, name)?;
    found.ok_or_else(|| Stop::Failed(format!("the module exports no function `{name}`")).into())
}

fn optional<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &str,
) -> wasmtime::Result<Option<TypedFunc<P, R>>> {
    let Some(function) = instance.get_func(&mut *store, name) else { return Ok(None) };
    let typed = function.typed(&*store);
    let wrong =
        |error| Stop::Failed(format!("the module's `{name}` has another type than docs/wasm.md says: {error:#}"));
    Ok(Some(typed.map_err(wrong)?))
}

/// Adds what a batched module may import.
pub(super) fn imports(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "emit", |caller, args: (u32, u32)| Box::new(emit(caller, args)))?;
    linker.func_wrap(MODULE, "count", |mut caller: Caller<'_, Host>, at: u32, length: u32, amount: i64| {
        let (memory, host) = memory_of(&mut caller)?;
        let name = String::from_utf8_lossy(argument("count", memory, at, length)?).into_owned();
        host.pipes.count(name, amount);
        Ok::<_, wasmtime::Error>(())
    })?;
    linker.func_wrap(MODULE, "log", |mut caller: Caller<'_, Host>, at: u32, length: u32| {
        let (memory, host) = memory_of(&mut caller)?;
        host.pipes.say(argument("log", memory, at, length)?);
        Ok::<_, wasmtime::Error>(())
    })?;
    linker.func_wrap(MODULE, "fail", |mut caller: Caller<'_, Host>, at: u32, length: u32| {
        let (memory, _) = memory_of(&mut caller)?;
        let text = String::from_utf8_lossy(argument("fail", memory, at, length)?).into_owned();
        Err::<(), wasmtime::Error>(Stop::Failed(text).into())
    })?;
    // What AssemblyScript calls when something is wrong.
    linker.func_wrap(
        "env",
        "abort",
        |mut caller: Caller<'_, Host>, text: u32, file: u32, line: u32, column: u32| {
            let (memory, _) = memory_of(&mut caller)?;
            let (text, file) = (script_text(memory, text), script_text(memory, file));
            Err::<(), wasmtime::Error>(Stop::Failed(format!("abort: {text} ({file}:{line}:{column})")).into())
        },
    )?;
    Ok(())
}

async fn emit(mut caller: Caller<'_, Host>, (at, length): (u32, u32)) -> wasmtime::Result<()> {
    let (memory, host) = memory_of(&mut caller)?;
    host.pipes.write(argument("emit", memory, at, length)?).await;
    Ok(())
}

fn argument<'m>(function: &str, memory: &'m [u8], at: u32, length: u32) -> Result<&'m [u8], Stop> {
    let what = || format!("`{function}` was called with {length} bytes at {at}: the memory has {}", memory.len());
    range(memory, at, length).ok_or_else(|| Stop::Failed(what()))
}

/// A text of AssemblyScript: UTF-16, its length in bytes lies before it.
fn script_text(memory: &[u8], at: u32) -> String {
    let length = at.checked_sub(4).and_then(|before| range(memory, before, 4)?.first_chunk::<4>().copied());
    let length = length.map_or(0, u32::from_le_bytes).min(2_048);
    let units = range(memory, at, length).unwrap_or_default().as_chunks::<2>().0.iter();
    let text = char::decode_utf16(units.map(|unit| u16::from_le_bytes(*unit)));
    text.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
