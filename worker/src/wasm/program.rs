//! A step whose program is WebAssembly: which module does what, and how records reach it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use gristmill_common::program::{Module, Order, Wasm};
use gristmill_common::{Digest, Reason, TaskName};

use super::batch;
use super::engine::{self, Interface, Loaded};
use super::guest::{Guest, Recipe, Role};
use super::host::Settings;
use super::locate::Locate;
use crate::data::{
    self, Collector, CombineRun, Combined, Group, Lines, MapFunction, ReduceFunction, Shuffle, Start, Unit,
};
use crate::program::{Feed, MapInput, MapTask, Program, ReadFailed, ReduceTask, TAG_VARIABLE, TaskDone};
use crate::streaming::{Peer, PeerOfRun, StreamCombine, StreamMap, StreamReduce, shuffle_partitioner, write_line};

/// Bytes of records that are gathered for a call.
const BATCH_BYTES: usize = 256 << 10;

/// The program.
pub(crate) struct WasmProgram {
    wasm: Wasm,
    mapper: Option<Arc<Loaded>>,
    combiner: Option<Arc<Loaded>>,
    reducer: Option<Arc<Loaded>>,
}

impl WasmProgram {
    /// Compiles the modules, or finds that they were; `path` says where a module is.
    ///
    /// # Errors
    /// Why one cannot be had, or cannot run.
    pub(crate) fn new(wasm: &Wasm, path: impl Fn(Digest) -> Result<PathBuf, Reason>) -> Result<Self, Reason> {
        let load = |module: &Option<Module>| match module {
            Some(module) => engine::load(module.module, &path(module.module)?).map(Some),
            None => Ok(None),
        };
        let (mapper, combiner) = (load(&wasm.mapper)?, load(&wasm.combiner)?);
        Self::of(wasm, mapper, combiner, load(&wasm.reducer)?)
    }

    pub(super) fn of(
        wasm: &Wasm,
        mapper: Option<Arc<Loaded>>,
        combiner: Option<Arc<Loaded>>,
        reducer: Option<Arc<Loaded>>,
    ) -> Result<Self, Reason> {
        let batched = [&mapper, &combiner, &reducer].into_iter().flatten().any(|of| of.interface == Interface::Batched);
        if batched && wasm.streaming.order != Order::Bytes {
            let message = "modules of the batched interface see keys in the order of their bytes: leave out `order`";
            return Err(Reason::UserError { message: message.to_owned(), at: None });
        }
        Ok(Self { wasm: wasm.clone(), mapper, combiner, reducer })
    }

    fn args(of: &Option<Module>) -> Vec<String> {
        of.as_ref().map(|module| module.args.clone()).unwrap_or_default()
    }

    fn settings(&self, args: &Option<Module>, name: TaskName, cancel: &Arc<std::sync::atomic::AtomicBool>) -> Settings {
        Settings {
            args: Self::args(args),
            env: self.wasm.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            random: u64::from(name.step) << 40
                | u64::from(name.stage == gristmill_common::Stage::Reduce) << 32
                | u64::from(name.index),
            memory_bytes: self.wasm.memory_bytes,
            cancel: Arc::clone(cancel),
        }
    }

    fn map_recipe(&self, task: &MapTask<'_>) -> Option<Recipe> {
        let mut settings = self.settings(&self.wasm.mapper, task.name, &task.cancel);
        if !self.wasm.env.contains_key(TAG_VARIABLE) {
            settings.env.extend(task.input.tag().map(|tag| (TAG_VARIABLE.to_owned(), tag.to_owned())));
        }
        let loaded = Arc::clone(self.mapper.as_ref()?);
        Some(Recipe { loaded, role: Role::Map, settings, log: task.log.clone() })
    }

    fn combine(&self, task: &MapTask<'_>, counts: &Counts) -> Result<Option<Box<dyn CombineRun>>, Reason> {
        let Some(loaded) = &self.combiner else { return Ok(None) };
        let settings = self.settings(&self.wasm.combiner, task.name, &task.cancel);
        let recipe = Recipe { loaded: Arc::clone(loaded), role: Role::Reduce, settings, log: task.log.clone() };
        let combiner = Combiner { recipe, counts: counts.clone() };
        Ok(Some(match loaded.interface {
            Interface::Command => Box::new(StreamCombine::new(combiner, &self.wasm.streaming)?),
            Interface::Batched => Box::new(combiner),
        }))
    }
}

impl Program for WasmProgram {
    fn check(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn map(&self, _: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let counts = Counts::default();
        let partitioner = shuffle_partitioner(&self.wasm.streaming)?;
        let shuffle = Shuffle { partitioner, combine: self.combine(&task, &counts)? };
        let numbered = matches!(task.input, MapInput::Generated { .. });
        let map_only = task.step.reduces == 0;
        let recipe = self.map_recipe(&task);
        let is_batched = recipe.as_ref().is_some_and(|recipe| recipe.loaded.interface == Interface::Batched);
        let locate = Locate { position: Arc::clone(&task.position), numbered };
        let guest = recipe.map(|recipe| recipe.start()).transpose()?.map(|guest| guest.locating(locate));
        let streaming = &self.wasm.streaming;
        let done = match guest {
            Some(guest) if is_batched => {
                let separator = map_only.then(|| streaming.output_separator.clone().into_bytes());
                data::map_shuffled(task, &mut BatchMap { guest, separator, lines: Vec::new() }, shuffle, write_line)
            }
            guest => {
                let mapper = StreamMap::new(guest, streaming, map_only, numbered)?;
                let mut mapper = mapper.reading(&task.step.input_format);
                data::map_shuffled(task, &mut mapper, shuffle, write_line)
            }
        };
        done.and_then(|done| counts.add_to(done))
    }

    fn map_fed(&self, _: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        let counts = Counts::default();
        let partitioner = shuffle_partitioner(&self.wasm.streaming)?;
        let shuffle = Shuffle { partitioner, combine: self.combine(&task, &counts)? };
        let recipe = self.map_recipe(&task);
        let is_batched = recipe.as_ref().is_some_and(|recipe| recipe.loaded.interface == Interface::Batched);
        let locate = Locate { position: Arc::clone(&task.position), numbered: false };
        let guest = recipe.map(|recipe| recipe.start()).transpose()?.map(|guest| guest.locating(locate));
        let feed = match guest {
            Some(guest) if is_batched => {
                data::map_fed_shuffled(task, BatchMap { guest, separator: None, lines: Vec::new() }, shuffle)
            }
            guest => data::map_fed_shuffled(task, StreamMap::new(guest, &self.wasm.streaming, false, false)?, shuffle),
        };
        Ok(Box::new(FedWasm { feed: feed?, counts }))
    }

    fn reduce(&self, _: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        let streaming = &self.wasm.streaming;
        let settings = self.settings(&self.wasm.reducer, task.name, &task.cancel);
        let recipe = self.reducer.as_ref().map(|loaded| Recipe {
            loaded: Arc::clone(loaded),
            role: Role::Reduce,
            settings,
            log: task.log.clone(),
        });
        let is_batched = recipe.as_ref().is_some_and(|recipe| recipe.loaded.interface == Interface::Batched);
        let guest = recipe.map(|recipe| recipe.start()).transpose()?;
        match guest {
            Some(guest) if is_batched => {
                let separator = streaming.output_separator.clone().into_bytes();
                let mut reducer = BatchReduce { guest, separator, batch: Vec::new(), last_key: Vec::new() };
                data::reduce(task, &mut reducer, None::<&data::NoCombiner>)
            }
            guest => data::reduce(task, &mut StreamReduce::new(guest, streaming)?, None::<&data::NoCombiner>),
        }
    }
}

/// A mapper that is fed by the reduce of the step before.
struct FedWasm {
    feed: Box<dyn Feed>,
    counts: Counts,
}

impl Feed for FedWasm {
    fn feed(&mut self, lines: &[u8]) -> Result<(), Reason> {
        self.feed.feed(lines)
    }

    fn finish(self: Box<Self>) -> Result<TaskDone, Reason> {
        let Self { feed, counts } = *self;
        feed.finish().and_then(|done| counts.add_to(done))
    }
}

/// What combiners count, which are started many times.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<(String, i64)>>>);

impl Counts {
    fn add(&self, name: String, amount: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, amount));
    }

    fn add_to(&self, mut done: TaskDone) -> Result<TaskDone, Reason> {
        for (name, amount) in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let sum = done.counters.entry(name).or_default();
            *sum = sum.saturating_add(amount);
        }
        Ok(done)
    }
}

/// Maps with a batched module.
struct BatchMap {
    guest: Guest,
    /// Of a map-only step: records become lines.
    separator: Option<Vec<u8>>,
    lines: Vec<u8>,
}

fn emit(printed: &[u8], separator: Option<&[u8]>, out: &mut Collector) -> Result<(), Reason> {
    let parsed = batch::each(printed, |key, value| match separator {
        None => out.emit(|to| to.extend_from_slice(key), |to| to.extend_from_slice(value.unwrap_or_default())),
        Some(separator) => out.emit(|to| push_line(to, key, separator, value), |_| ()),
    });
    parsed.map_err(|message| Reason::UserError { message, at: None })
}

fn push_line(to: &mut Vec<u8>, key: &[u8], separator: &[u8], value: Option<&[u8]>) {
    to.extend_from_slice(key);
    if let Some(value) = value {
        to.extend_from_slice(separator);
        to.extend_from_slice(value);
    }
}

impl MapFunction for BatchMap {
    const UNIT: Unit = Unit::Block;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Collector) -> Result<()> {
        let Self { guest, separator, lines } = self;
        let mut take = |printed: &[u8]| emit(printed, separator.as_deref(), out);
        if block.last() == Some(&b'\n') {
            return Ok(guest.feed(block, &mut take).map_err(ReadFailed)?);
        }
        // Every line of a batch has its line feed.
        lines.clear();
        lines.extend_from_slice(block);
        lines.push(b'\n');
        Ok(guest.feed(lines, &mut take).map_err(ReadFailed)?)
    }

    fn finish(&mut self, out: &mut Collector) -> Result<()> {
        let Self { guest, separator, .. } = self;
        guest.finish(&mut |printed| emit(printed, separator.as_deref(), out)).map_err(ReadFailed)?;
        for (name, amount) in guest.counters() {
            out.count(&name, amount);
        }
        Ok(())
    }
}

/// Reduces with a batched module.
struct BatchReduce {
    guest: Guest,
    separator: Vec<u8>,
    batch: Vec<u8>,
    /// Of the line before: a key that is smaller takes its place, so that parts can be merged.
    last_key: Vec<u8>,
}

impl BatchReduce {
    fn call(&mut self, lines: &mut Lines, is_last: bool) -> Result<()> {
        let Self { guest, separator, batch, last_key } = self;
        let mut line = Vec::new();
        let mut take = |printed: &[u8]| {
            let parsed = batch::each(printed, |key, value| {
                if key > last_key.as_slice() {
                    last_key.clear();
                    last_key.extend_from_slice(key);
                }
                line.clear();
                push_line(&mut line, key, separator, value);
                lines.keyed_line(last_key, &line);
            });
            parsed.map_err(|message| Reason::UserError { message, at: None })
        };
        guest.feed(batch, &mut take).map_err(ReadFailed)?;
        if is_last {
            guest.finish(&mut take).map_err(ReadFailed)?;
        }
        batch.clear();
        Ok(())
    }
}

impl ReduceFunction for BatchReduce {
    fn reduce(&mut self, key: &[u8], values: &mut dyn Group, lines: &mut Lines) -> Result<()> {
        let mut key = Some(key);
        while let Some(value) = values.next_value() {
            batch::push(&mut self.batch, key.take(), value);
            if self.batch.len() >= BATCH_BYTES {
                self.call(lines, false)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, lines: &mut Lines) -> Result<()> {
        self.call(lines, true)?;
        for (name, amount) in self.guest.counters() {
            lines.count(&name, amount);
        }
        Ok(())
    }
}

/// Starts combiners.
struct Combiner {
    recipe: Recipe,
    counts: Counts,
}

impl PeerOfRun for Combiner {
    type Peer = Guest;

    fn start(&mut self) -> Result<Guest, Reason> {
        self.recipe.start()
    }

    fn count(&mut self, name: String, amount: i64) {
        self.counts.add(name, amount);
    }
}

impl CombineRun for Combiner {
    fn combine(
        &mut self,
        records: &mut dyn Iterator<Item = (&[u8], &[u8])>,
        out: &mut Combined<'_>,
    ) -> Result<(), Reason> {
        let mut guest = self.recipe.start()?;
        let mut take = |printed: &[u8]| {
            let mut taken = Ok(());
            let parsed = batch::each(printed, |key, value| {
                if taken.is_ok() {
                    taken = out(key, value.unwrap_or_default());
                }
            });
            parsed.map_err(|message| Reason::UserError { message, at: None }).and(taken)
        };
        let mut bytes = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 8);
        let mut last: Option<Vec<u8>> = None;
        for (key, value) in records {
            let same = last.as_deref() == Some(key);
            batch::push(&mut bytes, (!same).then_some(key), value);
            if !same {
                last = Some(key.to_vec());
            }
            if bytes.len() >= BATCH_BYTES {
                guest.feed(&bytes, &mut take)?;
                bytes.clear();
            }
        }
        guest.feed(&bytes, &mut take)?;
        guest.finish(&mut take)?;
        for (name, amount) in guest.counters() {
            self.counts.add(name, amount);
        }
        Ok(())
    }
}
