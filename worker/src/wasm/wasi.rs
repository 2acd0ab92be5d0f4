//! WASI preview 1 as far as a filter needs it: three streams, arguments, environment; a clock and random numbers that are
//! the same in every run. What needs a file or a socket is refused with the error that says so.
//!
//! Source of the numbers: the preview-1 witx of the WASI repository.

use std::sync::Arc;

use wasmtime::{Caller, ExternType, Linker, Store, Val, ValType};

use super::engine::Loaded;
use super::host::{Host, Stop, memory_of, range, range_mut};

const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;
const SPIPE: i32 = 70;
const NOTCAPABLE: i32 = 76;

/// The time that the clock begins at: 2000-01-01, in nanoseconds.
const EPOCH_NS: u64 = 946_684_800_000_000_000;
/// Most pieces of one read or write.
const IOVECS: u32 = 1_024;

/// Functions of preview 1 that are there and always refuse: no directory is open.
const REFUSED: [&str; 31] = [
    "fd_advise",
    "fd_allocate",
    "fd_datasync",
    "fd_fdstat_set_rights",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_readdir",
    "fd_renumber",
    "fd_sync",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "proc_raise",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
    "fd_filestat_get",
    "fd_fdstat_set_flags",
    "fd_tell",
];

/// Runs a command from `_start` to its end.
pub(super) async fn run(mut store: Store<Host>, loaded: Arc<Loaded>) -> wasmtime::Result<()> {
    let linker = linker(&mut store, &loaded)?;
    let instance = linker.instantiate_async(&mut store, &loaded.module).await?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    start.call_async(&mut store, ()).await
}

/// Makes a linker that has what the module imports, or says what it imports that nobody has.
pub(super) fn linker(store: &mut Store<Host>, loaded: &Loaded) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(loaded.module.engine());
    streams(&mut linker)?;
    surroundings(&mut linker)?;
    super::batched::imports(&mut linker)?;
    for import in loaded.module.imports() {
        if import.module() == MODULE && REFUSED.contains(&import.name()) {
            refuse(&mut linker, import.name(), &import.ty())?;
        }
        if linker.get_by_import(&mut *store, &import).is_none() {
            let (module, name) = (import.module(), import.name());
            let what = format!("the module imports `{module}.{name}`, which is not there; docs/wasm.md lists what is");
            return Err(Stop::Failed(what).into());
        }
    }
    Ok(linker)
}

fn refuse(linker: &mut Linker<Host>, name: &str, ty: &ExternType) -> wasmtime::Result<()> {
    let ExternType::Func(ty) = ty else { return Ok(()) };
    if !matches!(ty.results().collect::<Vec<_>>()[..], [ValType::I32]) {
        return Ok(());
    }
    // A program that looks for open directories ends its search at this answer.
    let answer = if name.starts_with("fd_") { BADF } else { NOTCAPABLE };
    linker.func_new(MODULE, name, ty.clone(), move |_, _, results| {
        if let Some(result) = results.first_mut() {
            *result = Val::I32(answer);
        }
        Ok(())
    })?;
    Ok(())
}

fn streams(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "fd_read", |caller, args: (i32, i32, i32, i32)| Box::new(read(caller, args)))?;
    linker.func_wrap_async(MODULE, "fd_write", |caller, args: (i32, i32, i32, i32)| Box::new(write(caller, args)))?;
    linker.func_wrap(MODULE, "fd_seek", |fd: i32, _: i64, _: i32, _: i32| if is_stream(fd) { SPIPE } else { BADF })?;
    linker.func_wrap(MODULE, "fd_close", |fd: i32| if is_stream(fd) { SUCCESS } else { BADF })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |mut caller: Caller<'_, Host>, fd: i32, at: i32| {
        let (memory, _) = memory_of(&mut caller)?;
        if !is_stream(fd) {
            return Ok(BADF);
        }
        // Of no known type: a character device would be a terminal, whose output is written line by line.
        let mut stat = [0_u8; 24];
        let rights: u64 = if fd == 0 { 1 << 1 } else { 1 << 6 };
        stat[8..16].copy_from_slice(&rights.to_le_bytes());
        Ok::<_, wasmtime::Error>(put(memory, at, &stat))
    })?;
    Ok(())
}

fn is_stream(fd: i32) -> bool {
    (0..=2).contains(&fd)
}

/// Copies bytes into memory.
fn put(memory: &mut [u8], at: i32, bytes: &[u8]) -> i32 {
    match range_mut(memory, at.cast_unsigned(), bytes.len() as u32) {
        Some(place) => {
            place.copy_from_slice(bytes);
            SUCCESS
        }
        None => FAULT,
    }
}

/// Reads the pieces that a read or write names.
fn iovecs(memory: &[u8], at: i32, count: i32) -> Result<Vec<(u32, u32)>, i32> {
    let count = count.cast_unsigned();
    if count > IOVECS {
        return Err(INVAL);
    }
    let list = range(memory, at.cast_unsigned(), count * 8).ok_or(FAULT)?;
    let pieces = list
        .as_chunks::<8>()
        .0
        .iter()
        .map(|&[a, b, c, d, e, f, g, h]| (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])));
    let pieces: Vec<(u32, u32)> = pieces.collect();
    let there = pieces.iter().all(|&(at, length)| range(memory, at, length).is_some());
    if there { Ok(pieces) } else { Err(FAULT) }
}

async fn read(mut caller: Caller<'_, Host>, (fd, list, count, done): (i32, i32, i32, i32)) -> wasmtime::Result<i32> {
    if fd != 0 {
        return Ok(BADF);
    }
    let pieces = match iovecs(memory_of(&mut caller)?.0, list, count) {
        Ok(pieces) => pieces,
        Err(errno) => return Ok(errno),
    };
    if pieces.iter().any(|&(_, length)| length > 0) {
        let pipes = caller.data().pipes.clone();
        pipes.wait_for_input().await;
    }
    let (memory, host) = memory_of(&mut caller)?;
    let mut total = 0;
    for (at, length) in pieces {
        let Some(buffer) = range_mut(memory, at, length) else { return Ok(FAULT) };
        let read = host.pipes.read(buffer);
        total += read as u32;
        if read < length as usize {
            break;
        }
    }
    Ok(put(memory, done, &total.to_le_bytes()))
}

async fn write(mut caller: Caller<'_, Host>, (fd, list, count, done): (i32, i32, i32, i32)) -> wasmtime::Result<i32> {
    if fd != 1 && fd != 2 {
        return Ok(BADF);
    }
    let (memory, host) = memory_of(&mut caller)?;
    let pieces = match iovecs(memory, list, count) {
        Ok(pieces) => pieces,
        Err(errno) => return Ok(errno),
    };
    let mut total = 0_u32;
    for (at, length) in pieces {
        let bytes = range(memory, at, length).unwrap_or_default();
        if fd == 1 {
            host.pipes.write(bytes).await;
        } else {
            host.pipes.say(bytes);
        }
        total = total.saturating_add(length);
    }
    Ok(put(memory, done, &total.to_le_bytes()))
}

fn surroundings(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", |mut caller: Caller<'_, Host>, count: i32, bytes: i32| {
        let (memory, host) = memory_of(&mut caller)?;
        Ok::<_, wasmtime::Error>(sizes(memory, &host.args, count, bytes))
    })?;
    linker.func_wrap(MODULE, "args_get", |mut caller: Caller<'_, Host>, list: i32, at: i32| {
        let (memory, host) = memory_of(&mut caller)?;
        Ok::<_, wasmtime::Error>(texts(memory, &host.args, list, at))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |mut caller: Caller<'_, Host>, count: i32, bytes: i32| {
        let (memory, host) = memory_of(&mut caller)?;
        Ok::<_, wasmtime::Error>(sizes(memory, &host.env, count, bytes))
    })?;
    linker.func_wrap(MODULE, "environ_get", |mut caller: Caller<'_, Host>, list: i32, at: i32| {
        let (memory, host) = memory_of(&mut caller)?;
        Ok::<_, wasmtime::Error>(texts(memory, &host.env, list, at))
    })?;
    linker.func_wrap(MODULE, "clock_res_get", |mut caller: Caller<'_, Host>, _: i32, at: i32| {
        let (memory, _) = memory_of(&mut caller)?;
        Ok::<_, wasmtime::Error>(put(memory, at, &1_000_u64.to_le_bytes()))
    })?;
    linker.func_wrap(MODULE, "clock_time_get", |mut caller: Caller<'_, Host>, _: i32, _: i64, at: i32| {
        let (memory, host) = memory_of(&mut caller)?;
        host.clock_calls += 1;
        Ok::<_, wasmtime::Error>(put(memory, at, &(EPOCH_NS + host.clock_calls * 1_000).to_le_bytes()))
    })?;
    linker.func_wrap(MODULE, "random_get", |mut caller: Caller<'_, Host>, at: i32, length: i32| {
        let (memory, host) = memory_of(&mut caller)?;
        let Some(place) = range_mut(memory, at.cast_unsigned(), length.cast_unsigned()) else { return Ok(FAULT) };
        for piece in place.chunks_mut(8) {
            piece.copy_from_slice(&next_random(&mut host.random).to_le_bytes()[..piece.len()]);
        }
        Ok::<_, wasmtime::Error>(SUCCESS)
    })?;
    linker.func_wrap(MODULE, "sched_yield", || SUCCESS)?;
    linker.func_wrap(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, Host>, from: i32, to: i32, count: i32, done: i32| {
            let (memory, _) = memory_of(&mut caller)?;
            Ok::<_, wasmtime::Error>(poll(memory, from, to, count, done))
        },
    )?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(Stop::Exit(code).into()) })?;
    Ok(())
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn sizes(memory: &mut [u8], texts: &[Vec<u8>], count: i32, bytes: i32) -> i32 {
    let total: usize = texts.iter().map(|text| text.len() + 1).sum();
    match put(memory, count, &(texts.len() as u32).to_le_bytes()) {
        SUCCESS => put(memory, bytes, &(total as u32).to_le_bytes()),
        errno => errno,
    }
}

fn texts(memory: &mut [u8], texts: &[Vec<u8>], list: i32, at: i32) -> i32 {
    let (mut list, mut at) = (list.cast_unsigned(), at.cast_unsigned());
    for text in texts {
        let end = at.wrapping_add(text.len() as u32);
        let steps = [
            put(memory, list.cast_signed(), &at.to_le_bytes()),
            put(memory, at.cast_signed(), text),
            put(memory, end.cast_signed(), &[0]),
        ];
        if let Some(errno) = steps.into_iter().find(|&errno| errno != SUCCESS) {
            return errno;
        }
        list = list.wrapping_add(4);
        at = end.wrapping_add(1);
    }
    SUCCESS
}

/// Says that everything that is waited for has happened: streams never block here, and time does not pass.
fn poll(memory: &mut [u8], from: i32, to: i32, count: i32, done: i32) -> i32 {
    let count = count.cast_unsigned();
    if count == 0 || count > IOVECS {
        return INVAL;
    }
    let Some(wanted) = range(memory, from.cast_unsigned(), count * 48).map(<[u8]>::to_vec) else { return FAULT };
    let mut events = Vec::with_capacity(wanted.len());
    for subscription in wanted.chunks_exact(48) {
        let mut event = [0_u8; 32];
        event[..8].copy_from_slice(&subscription[..8]);
        event[10] = subscription[8];
        events.extend_from_slice(&event);
    }
    match put(memory, to, &events) {
        SUCCESS => put(memory, done, &count.to_le_bytes()),
        errno => errno,
    }
}
