//! A step whose program is WebAssembly: which module does what, and how records reach it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gristmill_common::program::{Module, Order, Wasm};
use gristmill_common::{Digest, Reason, Stage, TaskName};

use super::batch::{self, BATCH_BYTES};
use super::engine::{self, Interface, Loaded};
use super::functions::{BatchMap, BatchReduce};
use super::guest::{Guest, Recipe, Role};
use super::host::Settings;
use super::locate::Locate;
use crate::data::{self, CombineRun, Combined, Shuffle};
use crate::program::{Feed, MapInput, MapTask, Program, ReduceTask, TAG_VARIABLE, TaskDone};
use crate::streaming::{
    Counts, Peer, PeerOfRun, StreamCombine, StreamMap, StreamReduce, shuffle_partitioner, write_line,
};

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

    fn settings(&self, args: &Option<Module>, name: TaskName, cancel: &Arc<AtomicBool>) -> Settings {
        Settings {
            args: Self::args(args),
            env: self.wasm.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            random: u64::from(name.step) << 40 | u64::from(name.stage == Stage::Reduce) << 32 | u64::from(name.index),
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

    fn map_side(&self, task: &MapTask<'_>) -> Result<MapSide, Reason> {
        let counts = Counts::default();
        let partitioner = shuffle_partitioner(&self.wasm.streaming)?;
        let shuffle = Shuffle { partitioner, combine: self.combine(task, &counts)? };
        let numbered = matches!(task.input, MapInput::Generated { .. });
        let locate = Locate { position: Arc::clone(&task.position), numbered };
        let guest = Started::of(self.map_recipe(task))?.locating(locate);
        Ok(MapSide { guest, numbered, shuffle, counts })
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

/// A module that was started, by its interface.
enum Started {
    Batched(Guest),
    /// `None`: records pass as they are.
    Streaming(Option<Guest>),
}

impl Started {
    fn of(recipe: Option<Recipe>) -> Result<Self, Reason> {
        let Some(recipe) = recipe else { return Ok(Self::Streaming(None)) };
        let guest = recipe.start()?;
        Ok(match recipe.loaded.interface {
            Interface::Batched => Self::Batched(guest),
            Interface::Command => Self::Streaming(Some(guest)),
        })
    }

    fn locating(self, locate: Locate) -> Self {
        match self {
            Self::Batched(guest) => Self::Batched(guest.locating(locate)),
            Self::Streaming(guest) => Self::Streaming(guest.map(|guest| guest.locating(locate))),
        }
    }
}

/// What a map has besides its task.
struct MapSide {
    guest: Started,
    /// Whether it reads generated numbers.
    numbered: bool,
    shuffle: Shuffle,
    counts: Counts,
}

impl Program for WasmProgram {
    fn check(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn map(&self, _: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let MapSide { guest, numbered, shuffle, counts } = self.map_side(&task)?;
        let (streaming, map_only) = (&self.wasm.streaming, task.step.reduces == 0);
        let done = match guest {
            Started::Batched(guest) => {
                let separator = map_only.then(|| streaming.output_separator.clone().into_bytes());
                data::map_shuffled(task, &mut BatchMap::new(guest, separator), shuffle, write_line)
            }
            Started::Streaming(guest) => {
                let mapper = StreamMap::new(guest, streaming, map_only, numbered)?;
                let mut mapper = mapper.reading(&task.step.input_format);
                data::map_shuffled(task, &mut mapper, shuffle, write_line)
            }
        };
        done.map(|done| counts.add_to(done))
    }

    fn map_fed(&self, _: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        let MapSide { guest, shuffle, counts, .. } = self.map_side(&task)?;
        let feed = match guest {
            Started::Batched(guest) => data::map_fed_shuffled(task, BatchMap::new(guest, None), shuffle),
            Started::Streaming(guest) => {
                data::map_fed_shuffled(task, StreamMap::new(guest, &self.wasm.streaming, false, false)?, shuffle)
            }
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
        match Started::of(recipe)? {
            Started::Batched(guest) => {
                let separator = streaming.output_separator.clone().into_bytes();
                data::reduce(task, &mut BatchReduce::new(guest, separator), None::<&data::NoCombiner>)
            }
            Started::Streaming(guest) => {
                data::reduce(task, &mut StreamReduce::new(guest, streaming)?, None::<&data::NoCombiner>)
            }
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
        feed.finish().map(|done| counts.add_to(done))
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
