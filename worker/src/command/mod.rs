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
mod trace;
mod workplace;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_common::program::{BundleFile, Command};
use gristmill_common::{Reason, limits};

use crate::data;
use crate::program::{Feed, MapInput, MapTask, Program, ReduceTask, TaskDone};
use crate::streaming::{
    Aggregate, Counts, PeerOfRun, StreamCombine, StreamMap, StreamReduce, shuffle_partitioner, write_line,
};
use ending::Rules;
use environment::Attempt;
use process::{Process, Watch};
pub(crate) use spawner::SPAWNER_ARGUMENT;
pub(crate) use spawner::{Pool, main as spawner_main};
use trace::Recorded;
pub(crate) use trace::{NEXT, SCRIPT, STDIN, STDOUT, Trace};
pub(crate) use workplace::Workplace;

/// Name of the working directory.
pub(crate) const WORK: &str = "work";
/// The reducer that is built in.
const AGGREGATE: &str = "aggregate";

/// Puts files and archives into a working directory.
pub(crate) type Link = dyn Fn(&[BundleFile], &Path) -> Result<(), Reason> + Send + Sync;

/// What the commands of one executor have in common.
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    pub(crate) workplace: Workplace,
}

/// The program of a step of commands.
pub(crate) struct CommandProgram {
    command: Command,
    shared: Arc<Shared>,
    link: Box<Link>,
    /// Of an attempt that somebody looks at.
    trace: Option<Trace>,
}

/// What the programs of one attempt have in common.
struct Setting {
    command: Command,
    shared: Arc<Shared>,
    directory: PathBuf,
    env: Vec<(String, String)>,
    watch: Watch,
    trace: Option<Trace>,
}

impl CommandProgram {
    pub(crate) fn new(command: Command, shared: Arc<Shared>, link: Box<Link>, trace: Option<Trace>) -> Self {
        Self { command, shared, link, trace }
    }

    /// The working directory of an attempt.
    fn directory(&self) -> PathBuf {
        self.trace.as_ref().map_or_else(|| self.shared.workplace.path().to_owned(), Trace::work)
    }

    fn recording(&self) -> Option<&Trace> {
        self.trace.as_ref().filter(|trace| trace.records)
    }

    fn clear(&self) {
        if self.trace.is_none() {
            self.shared.workplace.leave();
        }
    }

    fn set_up_map(&self, task: &MapTask<'_>, directory: &Path) -> Result<Setting, Reason> {
        self.set_up(&Attempt::of_map(task, directory), Watch::new(&task.position, &task.cancel, &task.log))
    }

    fn set_up_reduce(&self, task: &ReduceTask<'_>, directory: &Path) -> Result<Setting, Reason> {
        self.set_up(&Attempt::of_reduce(task, directory), Watch::new(&task.position, &task.cancel, &task.log))
    }

    fn set_up(&self, attempt: &Attempt<'_>, watch: Watch) -> Result<Setting, Reason> {
        let directory = attempt.directory.to_owned();
        let made = match &self.trace {
            None => self.shared.workplace.enter(),
            Some(_) => fs::create_dir_all(directory.join(workplace::TMP)),
        };
        made.map_err(|error| ending::lost("make a working directory", &error))?;
        if !self.command.files.is_empty() {
            (self.link)(&self.command.files, &directory)?;
        }
        if let Some(trace) = &self.trace {
            trace.open_up();
        }
        let env = environment::of(&self.command, attempt);
        let (command, shared, trace) = (self.command.clone(), Arc::clone(&self.shared), self.trace.clone());
        Ok(Setting { command, shared, directory, env, watch, trace })
    }
}

impl Setting {
    /// Starts the mapper or the reducer.
    fn start_traced(&self, argv: &[String], is_mapper: bool) -> Result<Process, Reason> {
        let process = self.start(argv, is_mapper)?;
        match &self.trace {
            Some(trace) => Ok(process.printing_to(trace.stdout()?)),
            None => Ok(process),
        }
    }

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
            has_files: !self.command.files.is_empty(),
        };
        if let Some(trace) = &self.trace
            && argv != self.command.combiner.as_deref().unwrap_or_default()
        {
            trace.script(&start)?;
        }
        let rules = Rules::of(&self.command, name, is_mapper, self.shared.pool.is_fenced());
        Process::start(&self.shared, start, rules, &self.watch)
    }
}

/// Starts combiners in the attempt's working directory.
struct Combiners {
    setting: Arc<Setting>,
    counts: Counts,
}

impl PeerOfRun for Combiners {
    type Peer = Process;

    fn start(&mut self) -> Result<Process, Reason> {
        self.setting.start(self.setting.command.combiner.as_deref().unwrap_or_default(), false)
    }

    fn count(&mut self, name: String, amount: i64) {
        self.counts.add(name, amount);
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
        if let Some(trace) = self.recording() {
            return record_map(trace, &self.command, task);
        }
        let directory = self.directory();
        let setting = Arc::new(self.set_up_map(&task, &directory)?);
        let counts = Counts::default();
        let done = run_map(&setting, task, &counts);
        // Before the caller looks: an attempt without output leaves its directory to nobody.
        self.clear();
        Ok(counts.add_to(done?))
    }

    fn map_fed(&self, _: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        let directory = self.directory();
        let setting = Arc::new(self.set_up_map(&task, &directory)?);
        let counts = Counts::default();
        let shuffle = shuffle_of(&setting, &counts)?;
        let recorder = self.trace.as_ref().map(Trace::recorder).transpose()?;
        let peer = self.command.mapper.as_ref().map(|argv| setting.start_traced(argv, true)).transpose()?;
        let peer = peer.map(|peer| Recorded::new(peer, recorder));
        let mapper = StreamMap::new(peer, &self.command.streaming, false, false)?;
        let feed = Some(data::map_fed_shuffled(task, mapper, shuffle)?);
        let shared = self.trace.is_none().then(|| Arc::clone(&self.shared));
        Ok(Box::new(FedCommand { feed, counts, shared }))
    }

    fn reduce(&self, _: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        let streaming = &self.command.streaming;
        if is_aggregate(self.command.reducer.as_ref()) {
            return data::reduce(task, &mut Aggregate::new(streaming)?, None::<&data::NoCombiner>);
        }
        if let Some(trace) = self.recording() {
            let recorder = self.command.reducer.as_ref().map(|_| trace.recorder()).transpose()?;
            return data::reduce(task, &mut StreamReduce::new(recorder, streaming)?, None::<&data::NoCombiner>);
        }
        let directory = self.directory();
        let peer = match &self.command.reducer {
            Some(argv) => Some(self.set_up_reduce(&task, &directory)?.start_traced(argv, false)?),
            None => None,
        };
        let mut reducer = StreamReduce::new(peer, streaming)?;
        let done = data::reduce(task, &mut reducer, None::<&data::NoCombiner>);
        drop(reducer);
        self.clear();
        done
    }
}

/// A mapper that is fed by the reduce of the step before.
struct FedCommand {
    /// `None` once it ended: the program has to be gone before its directory.
    feed: Option<Box<dyn Feed>>,
    counts: Counts,
    /// Whose working directory is to be left; somebody may look at another one.
    shared: Option<Arc<Shared>>,
}

impl Feed for FedCommand {
    fn feed(&mut self, lines: &[u8]) -> Result<(), Reason> {
        self.feed.as_mut().map_or(Ok(()), |feed| feed.feed(lines))
    }

    fn finish(mut self: Box<Self>) -> Result<TaskDone, Reason> {
        let done = self.feed.take().map_or_else(|| Ok(TaskDone::default()), Feed::finish)?;
        Ok(self.counts.add_to(done))
    }
}

impl Drop for FedCommand {
    fn drop(&mut self) {
        self.feed = None;
        if let Some(shared) = &self.shared {
            shared.workplace.leave();
        }
    }
}

/// Writes down what the mapper would read.
fn record_map(trace: &Trace, command: &Command, task: MapTask<'_>) -> Result<TaskDone, Reason> {
    let numbered = matches!(task.input, MapInput::Generated { .. });
    let recorder = command.mapper.as_ref().map(|_| trace.recorder()).transpose()?;
    let mut mapper = StreamMap::new(recorder, &command.streaming, task.step.reduces == 0, numbered)?;
    let shuffle = data::Shuffle { partitioner: shuffle_partitioner(&command.streaming)?, combine: None };
    data::map_shuffled(task, &mut mapper, shuffle, write_line)
}

fn shuffle_of(setting: &Arc<Setting>, counts: &Counts) -> Result<data::Shuffle, Reason> {
    let streaming = &setting.command.streaming;
    let combiner = setting.command.combiner.as_ref().filter(|combiner| !is_aggregate(Some(combiner)));
    let combine = combiner.map(|_| {
        let combiners = Combiners { setting: Arc::clone(setting), counts: counts.clone() };
        Ok(Box::new(StreamCombine::new(combiners, streaming)?) as Box<dyn data::CombineRun>)
    });
    Ok(data::Shuffle { partitioner: shuffle_partitioner(streaming)?, combine: combine.transpose()? })
}

fn run_map(setting: &Arc<Setting>, task: MapTask<'_>, counts: &Counts) -> Result<TaskDone, Reason> {
    let streaming = &setting.command.streaming;
    let numbered = matches!(task.input, MapInput::Generated { .. });
    let shuffle = shuffle_of(setting, counts)?;
    let mapper = setting.command.mapper.as_ref();
    let peer = mapper.map(|argv| setting.start_traced(argv, true)).transpose()?;
    let mapper = StreamMap::new(peer, streaming, task.step.reduces == 0, numbered)?;
    let mut mapper = mapper.reading(&task.step.input_format);
    data::map_shuffled(task, &mut mapper, shuffle, write_line)
}
