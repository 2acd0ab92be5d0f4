//! Command programs: executables under the streaming contract, one process per attempt.
//!
//! [`CommandProgram`] is a [`Program`] made of a step of the plan. Its attempts have a working directory of their own, an
//! environment of their own, and a spawner that ends whatever they leave behind.

mod ending;
mod environment;
mod lookup;
mod process;
mod spawner;
mod stderr;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill_common::program::{BundleFile, Command};
use gristmill_common::{Reason, limits};

use crate::data;
use crate::program::{MapInput, MapTask, Program, ReduceTask, TaskDone};
use crate::streaming::{Aggregate, PeerOfRun, StreamCombine, StreamMap, StreamReduce, shuffle_partitioner, write_line};
use ending::Rules;
use environment::Attempt;
use process::{Process, Watch};
pub(crate) use spawner::SPAWNER_ARGUMENT;
pub(crate) use spawner::{Pool, main as spawner_main};

/// Name of the working directory in an attempt's scratch directory.
const WORK: &str = "work";
/// Name of the directory for temporary files in it.
const TMP: &str = "tmp";
/// The reducer that is built in.
const AGGREGATE: &str = "aggregate";

/// Puts files and archives into a working directory.
pub(crate) type Link = dyn Fn(&[BundleFile], &Path) -> Result<(), Reason> + Send + Sync;

/// The program of a step of commands.
pub(crate) struct CommandProgram {
    command: Command,
    pool: Arc<Pool>,
    link: Box<Link>,
}

/// What the programs of one attempt have in common.
struct Setting {
    command: Command,
    pool: Arc<Pool>,
    directory: PathBuf,
    env: Vec<(String, String)>,
    watch: Watch,
}

impl CommandProgram {
    pub(crate) fn new(command: Command, pool: Arc<Pool>, link: Box<Link>) -> Self {
        Self { command, pool, link }
    }

    fn set_up(&self, attempt: &Attempt<'_>, watch: Watch) -> Result<Setting, Reason> {
        let directory = attempt.directory.to_owned();
        fs::create_dir_all(directory.join(TMP)).map_err(|error| ending::lost("make a working directory", &error))?;
        if !self.command.files.is_empty() {
            (self.link)(&self.command.files, &directory)?;
        }
        let env = environment::of(&self.command, attempt);
        Ok(Setting { command: self.command.clone(), pool: Arc::clone(&self.pool), directory, env, watch })
    }
}

impl Setting {
    fn start(&self, argv: &[String], is_mapper: bool) -> Result<Process, Reason> {
        let name = argv.first().map_or("", String::as_str);
        let path = self.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path.as_str());
        let start = spawner::Start {
            program: lookup::find(name, &self.directory, path)?,
            argv: argv.to_vec(),
            env: self.env.clone(),
            directory: self.directory.clone(),
            memory_bytes: self.command.memory_bytes,
            directory_bytes: self.command.directory_bytes,
            processes: limits::COMMAND_PROCESSES,
        };
        Process::start(&self.pool, start, Rules::of(&self.command, name, is_mapper), &self.watch)
    }
}

/// Starts combiners in the attempt's working directory.
struct Combiners {
    setting: Arc<Setting>,
    counters: Arc<Mutex<BTreeMap<String, i64>>>,
}

impl PeerOfRun for Combiners {
    type Peer = Process;

    fn start(&mut self) -> Result<Process, Reason> {
        self.setting.start(self.setting.command.combiner.as_deref().unwrap_or_default(), false)
    }

    fn count(&mut self, name: String, amount: i64) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let value = counters.entry(name).or_default();
        *value = value.saturating_add(amount);
    }
}

fn is_aggregate(argv: Option<&Vec<String>>) -> bool {
    argv.is_some_and(|argv| matches!(argv.as_slice(), [name] if name == AGGREGATE))
}

impl Program for CommandProgram {
    fn check(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn map(&self, _: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let directory = task.scratch.join(WORK);
        let input = match &task.input {
            MapInput::Pieces { pieces, .. } => {
                let first = pieces.first();
                first.map(|piece| (piece.file.url.clone(), piece.start, piece.end - piece.start))
            }
            MapInput::Generated { .. } | MapInput::Part { .. } => None,
        };
        let attempt = Attempt {
            job: task.job,
            name: task.name,
            fence: task.fence,
            reduces: task.step.reduces,
            directory: &directory,
            input,
        };
        let watch =
            Watch { position: Arc::clone(&task.position), cancel: Arc::clone(&task.cancel), log: task.log.clone() };
        let setting = Arc::new(self.set_up(&attempt, watch)?);
        let counters = Arc::default();
        let done = run_map(&setting, task, &counters);
        // Before the caller looks: an attempt without output leaves its directory to nobody.
        let _ = fs::remove_dir_all(&directory);
        let mut done = done?;
        for (name, amount) in std::mem::take(&mut *counters.lock().unwrap_or_else(PoisonError::into_inner)) {
            let value = done.counters.entry(name).or_default();
            *value = value.saturating_add(amount);
        }
        Ok(done)
    }

    fn reduce(&self, _: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        let streaming = &self.command.streaming;
        if is_aggregate(self.command.reducer.as_ref()) {
            return data::reduce(task, &mut Aggregate::new(streaming)?, None::<&data::NoCombiner>);
        }
        let directory = task.scratch.join(WORK);
        let attempt = Attempt {
            job: task.job,
            name: task.name,
            fence: task.fence,
            reduces: task.step.reduces,
            directory: &directory,
            input: None,
        };
        let watch =
            Watch { position: Arc::clone(&task.position), cancel: Arc::clone(&task.cancel), log: task.log.clone() };
        let peer = match &self.command.reducer {
            Some(argv) => Some(self.set_up(&attempt, watch)?.start(argv, false)?),
            None => None,
        };
        let mut reducer = StreamReduce::new(peer, streaming)?;
        let done = data::reduce(task, &mut reducer, None::<&data::NoCombiner>);
        drop(reducer);
        let _ = fs::remove_dir_all(&directory);
        done
    }
}

fn run_map(
    setting: &Arc<Setting>,
    task: MapTask<'_>,
    counters: &Arc<Mutex<BTreeMap<String, i64>>>,
) -> Result<TaskDone, Reason> {
    let streaming = &setting.command.streaming;
    let numbered = matches!(task.input, MapInput::Generated { .. });
    let combiner = setting.command.combiner.as_ref().filter(|combiner| !is_aggregate(Some(combiner)));
    let combine = combiner.map(|_| {
        let combiners = Combiners { setting: Arc::clone(setting), counters: Arc::clone(counters) };
        Ok(Box::new(StreamCombine::new(combiners, streaming)?) as Box<dyn data::CombineRun>)
    });
    let shuffle = data::Shuffle { partitioner: shuffle_partitioner(streaming)?, combine: combine.transpose()? };
    let mapper = setting.command.mapper.as_ref();
    let peer = mapper.map(|argv| setting.start(argv, true)).transpose()?;
    let mut mapper = StreamMap::new(peer, streaming, task.step.reduces == 0, numbered)?;
    data::map_shuffled(task, &mut mapper, shuffle, write_line)
}
