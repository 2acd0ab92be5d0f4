//! One executor's work: gets what an attempt needs, runs user code under guard, and puts its output in place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gristmill_client::ClientError;
use gristmill_common::plan::{PartForm, PlannedStep, SplitInput, feeding};
use gristmill_common::program::{BundleFile, Kind, Program as UserCode, Wasm};
use gristmill_common::reason::bounded;
use gristmill_common::wire::{Done, LogHead, NamedFile, Outcome, OutputsAnswer, PlanAnswer, SplitsAnswer, TaskSkips};
use gristmill_common::{
    Code, Fence, Generation, GrantName, JobId, Place, Reason, Stage, TaskName, TaskRange, WorkerId,
};
use gristmill_storage::{Inbox, Roots};

use super::coordinator::{Coordinator, RemoteReader, worker_failure};
use super::fetch::Peers;
use super::guard::guarded;
use super::inputs::GrantInputs;
use super::outputs::{Made, Outputs};
use super::printed::Printed;
use super::protocol::Hello;
use super::sections::Sections;
use crate::bundles::Bundles;
use crate::command::{self, CommandProgram, Pool, Trace, WORK, Workplace};
use crate::echo::Echo;
use crate::log::AttemptLog;
use crate::position::Position;
use crate::program::{Feed, InputPiece, MapInput, MapTask, Program, Programs, ReduceTask, TaskDone};
use crate::skip::{Skips, narrowed};
use crate::supervisor::clock::Stopwatch;

/// Runs attempts one after the other.
pub(crate) struct Attempts<'a> {
    programs: &'a Programs,
    coordinator: Coordinator,
    roots: Roots,
    state_dir: PathBuf,
    spills: PathBuf,
    made: PathBuf,
    position: Arc<Position>,
    cancel: Arc<AtomicBool>,
    outputs: Outputs,
    bundles: Arc<Bundles>,
    /// Of the attempt that runs.
    log: AttemptLog,
    /// Of an executor that is a process.
    echo: Option<Arc<Echo>>,
    commands: Arc<command::Shared>,
    /// Of maps that run in the reduces of the step before, beside those.
    next_commands: Arc<command::Shared>,
    printed: Option<Printed>,
    /// Of attempts that somebody looks at.
    pub(super) trace: Option<Trace>,
    holders: BTreeMap<WorkerId, Option<PathBuf>>,
    /// Whether outputs are fetched from workers that serve them.
    direct: bool,
    /// Whether map outputs are packed.
    packs: bool,
    /// Connections to those.
    peers: Peers,
    /// Of the last job.
    plan: Option<(JobId, Arc<PlanAnswer>)>,
    /// Of the last grant of maps.
    splits: Option<(String, Arc<SplitsAnswer>)>,
    /// Of the last step whose reduces ran.
    table: Option<((JobId, u16, Generation), Arc<OutputsAnswer>)>,
}

/// Why an attempt made nothing.
#[derive(Debug)]
pub(crate) enum Setback {
    /// It failed.
    Failed(Reason),
    /// It cannot run now, which is nobody's failure: the coordinator takes it back.
    NotNow,
}

impl From<Reason> for Setback {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

/// What the tasks of an order have in common.
pub(crate) struct Batch {
    token: String,
    grant: GrantName,
    plan: Arc<PlanAnswer>,
    source: Source,
    /// Of tasks that failed at a record before.
    skips: BTreeMap<u32, Skips>,
}

/// One attempt of a batch.
struct Turn<'a> {
    program: &'a dyn Program,
    batch: &'a Batch,
    step: &'a PlannedStep,
    task: u32,
    fence: Fence,
}

/// Says whether a failure's record is to be looked for: its program cannot say where it was.
fn is_to_narrow(skips: &Skips, reason: &Reason) -> bool {
    let is_of_input =
        matches!(reason, Reason::InputChanged { .. } | Reason::InputUnreadable { .. } | Reason::BadRecord { .. });
    skips.is_rough() && reason.is_user_failure() && !is_of_input
}

/// The next step, whose maps run in the reduces of this one.
struct NextStep<'a> {
    step: &'a PlannedStep,
    program: Arc<dyn Program>,
    /// A directory of its own for spills.
    scratch: PathBuf,
}

/// Name of that directory, in the attempt's scratch directory.
const NEXT: &str = "next";
/// Name of the working directory of its commands, beside [`WORK`].
const NEXT_WORK: &str = "next-work";

enum Source {
    Splits(Arc<SplitsAnswer>),
    Table(Arc<OutputsAnswer>),
}

impl Batch {
    pub(crate) fn progress_timeout_ms(&self) -> u64 {
        self.plan.head.progress_timeout_ms
    }

    /// Returns number and URL of the files that the tasks read.
    pub(crate) fn files(&self, tasks: TaskRange) -> Vec<(u32, String)> {
        let Source::Splits(splits) = &self.source else { return Vec::new() };
        let read: BTreeSet<u32> = tasks.iter().filter_map(|task| pieces(splits, &self.grant, task)).flatten().collect();
        let named = splits.files.iter().filter(|named| read.contains(&named.index));
        named.map(|named| (named.index, named.file.url.clone())).collect()
    }

    pub(super) fn is_command(&self) -> bool {
        self.step().is_ok_and(|step| step.program().kind() == Kind::Command)
    }

    fn step(&self) -> Result<&PlannedStep, Reason> {
        self.plan
            .head
            .steps
            .get(usize::from(self.grant.step))
            .ok_or_else(|| Reason::Worker { message: format!("the plan has no step {}", self.grant.step) })
    }
}

fn split<'a>(splits: &'a SplitsAnswer, grant: &GrantName, task: u32) -> Option<&'a SplitInput> {
    splits.splits.get(task.checked_sub(grant.tasks.first)? as usize)
}

/// Returns a file that a split names. The files are sorted: a grant may name as many as tasks.
fn find(splits: &SplitsAnswer, index: u32) -> Result<&NamedFile, Reason> {
    let found = splits.files.binary_search_by_key(&index, |named| named.index).ok();
    found
        .and_then(|at| splits.files.get(at))
        .ok_or_else(|| Reason::Worker { message: format!("the splits do not bring file {index} of the plan") })
}

fn pieces(splits: &SplitsAnswer, grant: &GrantName, task: u32) -> Option<Vec<u32>> {
    let Some(SplitInput::Files(pieces)) = split(splits, grant, task) else { return None };
    Some(pieces.iter().map(|piece| piece.file).collect())
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(
        hello: &Hello,
        programs: &'a Programs,
        position: Arc<Position>,
        cancel: Arc<AtomicBool>,
        printed: Option<Printed>,
    ) -> io::Result<Self> {
        let spills = hello.scratch.join("spills");
        fs::create_dir_all(&spills)?;
        let roots = Roots::new(&hello.roots, [&hello.state_dir]).map_err(io::Error::other)?;
        let outputs = Outputs {
            worker: hello.worker,
            directory: hello.outputs.clone(),
            jobs: BTreeSet::new(),
            inbox: Inbox::near(&hello.state_dir),
        };
        let commands = |directory: &str| {
            Arc::new(command::Shared {
                pool: Pool::new(hello.scratch.clone(), hello.sandbox.clone(), hello.groups.clone()),
                workplace: Workplace::new(hello.scratch.join(directory)),
            })
        };
        Ok(Self {
            programs,
            coordinator: Coordinator::connect(hello, Arc::clone(&position))?,
            roots,
            state_dir: hello.state_dir.clone(),
            spills,
            made: hello.scratch.join("output"),
            position,
            cancel,
            outputs,
            bundles: Arc::new(Bundles::new(&hello.state_dir)),
            log: AttemptLog::default(),
            echo: printed.as_ref().map(|_| Echo::create(&hello.scratch)).transpose()?.map(Arc::new),
            commands: commands(WORK),
            next_commands: commands(NEXT_WORK),
            printed,
            trace: None,
            holders: BTreeMap::new(),
            direct: hello.direct,
            packs: hello.packs,
            peers: Peers::default(),
            plan: None,
            splits: None,
            table: None,
        })
    }

    /// Gets what all tasks of an order need.
    pub(crate) fn prepare(&mut self, token: &str) -> Result<Batch, Setback> {
        let grant = gristmill_common::grant::name_of(token)
            .ok_or_else(|| Reason::Worker { message: "a grant's token cannot be read".to_owned() })?;
        let plan = self.plan_of(token, grant.job)?;
        let next = plan.head.fused_with(grant.step).filter(|_| grant.stage == Stage::Reduce);
        let steps = plan.head.steps.get(usize::from(grant.step)).into_iter().chain(next);
        for sha256 in steps.flat_map(|step| step.program().bundles()) {
            self.bundles.path(&self.coordinator, token, sha256)?;
        }
        let source = match grant.stage {
            Stage::Map => Source::Splits(self.splits_of(token)?),
            Stage::Reduce => Source::Table(self.table_of(token, &grant)?),
        };
        let is_rough =
            plan.head.steps.get(usize::from(grant.step)).is_some_and(|step| step.program().kind() != Kind::Native);
        // Nobody who looks at one attempt wants many.
        let is_rough = is_rough && self.trace.is_none();
        let skips = if plan.may_skip { self.skips_of(token, is_rough)? } else { BTreeMap::new() };
        Ok(Batch { token: token.to_owned(), grant, plan, source, skips })
    }

    /// Asked for each time: the next grant may leave out more.
    fn skips_of(&self, token: &str, is_rough: bool) -> Result<BTreeMap<u32, Skips>, Reason> {
        let answer = self.coordinator.call("fetch the records to leave out", |client| {
            let token = token.to_owned();
            async move { client.skips(&token).await }
        })?;
        let careful = |bad: TaskSkips| {
            let skips = Skips::careful(bad.records);
            (bad.task, if is_rough { skips.rough() } else { skips }.taking_bad())
        };
        Ok(answer.tasks.into_iter().map(careful).collect())
    }

    fn plan_of(&mut self, token: &str, job: JobId) -> Result<Arc<PlanAnswer>, Reason> {
        if let Some((_, plan)) = self.plan.as_ref().filter(|(of, _)| *of == job) {
            return Ok(Arc::clone(plan));
        }
        let answer = self.coordinator.call("fetch the job's plan", |client| {
            let token = token.to_owned();
            async move { client.plan(&token).await }
        })?;
        let plan = Arc::new(answer);
        self.bundles.release();
        self.plan = Some((job, Arc::clone(&plan)));
        Ok(plan)
    }

    fn splits_of(&mut self, token: &str) -> Result<Arc<SplitsAnswer>, Reason> {
        if let Some((_, splits)) = self.splits.as_ref().filter(|(of, _)| of == token) {
            return Ok(Arc::clone(splits));
        }
        let mut answer = self.coordinator.call("fetch the grant's splits", |client| {
            let token = token.to_owned();
            async move { client.splits(&token).await }
        })?;
        answer.files.sort_unstable_by_key(|named| named.index);
        let splits = Arc::new(answer);
        self.splits = Some((token.to_owned(), Arc::clone(&splits)));
        Ok(splits)
    }

    fn table_of(&mut self, token: &str, grant: &GrantName) -> Result<Arc<OutputsAnswer>, Setback> {
        let key = (grant.job, grant.step, grant.generation);
        if let Some((_, table)) = self.table.as_ref().filter(|(of, _)| *of == key) {
            return Ok(Arc::clone(table));
        }
        // A worker that started after the last table was read has a place now.
        self.holders.clear();
        self.table = None;
        let direct = self.direct;
        let answer = self.coordinator.try_call(|client| {
            let token = token.to_owned();
            async move { client.outputs(&token, direct).await }
        });
        let answer = answer.map_err(|error| match error.code() {
            // A map is being made again, or the attempt is no longer wanted.
            Some(Code::Stale) => Setback::NotNow,
            _ => worker_failure("fetch the table of map outputs", &error).into(),
        })?;
        let table = Arc::new(answer);
        self.table = Some((key, Arc::clone(&table)));
        Ok(table)
    }

    /// Runs one task and describes how it ended, and how long it took in microseconds. `None` when it is to be given back.
    pub(crate) fn run(&mut self, batch: &Batch, task: u32) -> Option<(Outcome, u64)> {
        let watch = Stopwatch::start();
        // A new one each time: a thread that outlived its attempt must not write into another's.
        self.log = AttemptLog::of(&self.position, self.echo.as_ref());
        let result = self.attempt(batch, task);
        let took_us = watch.elapsed_us();
        self.hand_over_log(batch, task, &result);
        let outcome = match result {
            Ok(done) => Outcome::Done(Done { took_ms: took_us / 1000, ..done }),
            Err(setback) => {
                // What was known of the outputs may be what was wrong.
                self.table = None;
                self.clean();
                match setback {
                    Setback::Failed(reason) => Outcome::Failed(reason),
                    Setback::NotNow => return None,
                }
            }
        };
        Some((outcome, took_us))
    }

    /// Sends what the attempt wrote, if it wrote anything. A log that does not arrive is no reason to fail a task.
    fn hand_over_log(&self, batch: &Batch, task: u32, result: &Result<Done, Setback>) {
        if let Some(printed) = &self.printed {
            printed.drain(&self.log);
        }
        if self.log.is_empty() || matches!(result, Err(Setback::NotNow)) {
            return;
        }
        let failed = match result {
            Err(Setback::Failed(reason)) => Some(bounded(reason.to_string())),
            Err(Setback::NotNow) | Ok(_) => None,
        };
        let sent = self.coordinator.hand_over_log(&batch.token, task, &LogHead { failed }, &self.log.text());
        if let Err(error) = sent {
            tracing::warn!(task = %batch.grant.task(task), %error, "the log of an attempt is not kept");
        }
    }

    /// Runs one task for somebody who looks at it: what it makes is dropped, and nobody is told. Returns what it wrote to its log.
    pub(super) fn replay(&mut self, batch: &Batch, task: u32) -> (Result<TaskDone, Setback>, Vec<u8>) {
        self.log = AttemptLog::of(&self.position, self.echo.as_ref());
        let none = Skips::none();
        let result = self.made(batch, task, batch.skips.get(&task).unwrap_or(&none));
        self.clean();
        (result, self.log.text())
    }

    /// Runs the code of one task.
    fn made(&mut self, batch: &Batch, task: u32, skips: &Skips) -> Result<TaskDone, Setback> {
        let step = batch.step()?;
        let Some(fence) = batch.grant.fence_of(task) else {
            return Err(Reason::Worker { message: format!("task {task} is not in its grant") }.into());
        };
        let program = self.program(step, &batch.token)?;
        self.position.begin(fence, 0);
        let turn = Turn { program: &*program, batch, step, task, fence };
        match &batch.source {
            Source::Splits(splits) => Ok(self.map(&turn, splits, skips)?),
            Source::Table(table) => self.reduce(&turn, table, skips),
        }
    }

    fn attempt(&mut self, batch: &Batch, task: u32) -> Result<Done, Setback> {
        let step = batch.step()?;
        let is_kept = step.reduces == 0 || batch.grant.stage == Stage::Reduce;
        let none = if batch.plan.may_skip { Skips::none().taking_bad() } else { Skips::none() };
        let skips = batch.skips.get(&task).unwrap_or(&none);
        let done = self.made(batch, task, skips)?;
        let made = Made {
            token: &batch.token,
            grant: &batch.grant,
            index: task,
            is_kept,
            form: if is_kept { step.part_form } else { PartForm::Run },
            tasks: step.tasks(batch.grant.stage),
            path: &self.made,
            summary: done.summary,
        };
        let output = self.outputs.place(&self.coordinator, &made)?;
        let skipped = skips.left_out();
        // A no-op map leaves nothing to clean, and a hundred thousand of them a second leave no time to look.
        if output.records > 0 || batch.grant.stage == Stage::Reduce {
            self.clean();
        }
        let TaskDone { records_in, bytes_in, counters, .. } = done;
        Ok(Done { output, records_in, bytes_in, took_ms: 0, counters, skipped })
    }

    fn program(&self, step: &PlannedStep, token: &str) -> Result<Arc<dyn Program>, Reason> {
        self.program_of(step, token, (Arc::clone(&self.commands), self.trace.clone()))
    }

    fn program_of(
        &self,
        step: &PlannedStep,
        token: &str,
        (shared, trace): (Arc<command::Shared>, Option<Trace>),
    ) -> Result<Arc<dyn Program>, Reason> {
        match step.program() {
            UserCode::Native(name) => {
                let found = self.programs.find(name).cloned();
                found.ok_or_else(|| Reason::Worker { message: format!("this worker has no program `{name}`") })
            }
            UserCode::Command(command) => {
                let (bundles, coordinator) = (Arc::clone(&self.bundles), self.coordinator.clone());
                let token = token.to_owned();
                let link =
                    move |files: &[BundleFile], directory: &Path| bundles.link(&coordinator, &token, files, directory);
                Ok(Arc::new(CommandProgram::new(command.clone(), shared, Box::new(link), trace)))
            }
            UserCode::Wasm(wasm) => self.wasm(wasm, token),
        }
    }

    #[cfg(feature = "wasm")]
    fn wasm(&self, wasm: &Wasm, token: &str) -> Result<Arc<dyn Program>, Reason> {
        let path = |sha256| self.bundles.path(&self.coordinator, token, sha256);
        Ok(Arc::new(crate::wasm::WasmProgram::new(wasm, path)?))
    }

    #[cfg(not(feature = "wasm"))]
    fn wasm(&self, _: &Wasm, _: &str) -> Result<Arc<dyn Program>, Reason> {
        let message = "this worker is built without WebAssembly: build it with the feature `wasm`";
        Err(Reason::Worker { message: message.to_owned() })
    }

    fn map(&self, turn: &Turn<'_>, splits: &SplitsAnswer, skips: &Skips) -> Result<TaskDone, Reason> {
        match self.map_once(turn, splits, skips) {
            Err(reason) if is_to_narrow(skips, &reason) => Err(narrowed(skips, reason, |skips| {
                self.clean();
                self.map_once(turn, splits, skips)
            })),
            done => done,
        }
    }

    fn map_once(&self, turn: &Turn<'_>, splits: &SplitsAnswer, skips: &Skips) -> Result<TaskDone, Reason> {
        let Turn { program, batch, step, task, fence } = *turn;
        let inputs;
        let input = match split(splits, &batch.grant, task) {
            None => return Err(Reason::Worker { message: format!("the plan has no split for task {task}") }),
            Some(&SplitInput::Generated { first, count }) => MapInput::Generated { first, count },
            Some(&SplitInput::Part { part }) => MapInput::Part { part, text: Box::new(self.part(&batch.token, part)?) },
            Some(SplitInput::Files(pieces)) => {
                let named = pieces.iter().map(|piece| find(splits, piece.file)).collect::<Result<Vec<_>, _>>()?;
                let pieces = named.iter().zip(pieces).map(|(named, piece)| InputPiece {
                    index: piece.file,
                    file: &named.file,
                    start: piece.start,
                    end: piece.end,
                    unpacked: piece.unpacked,
                });
                let pieces = pieces.collect();
                inputs = GrantInputs::new(&self.coordinator, &self.roots, &batch.token, named);
                MapInput::Pieces { pieces, inputs: &inputs }
            }
        };
        let map = MapTask {
            job: batch.grant.job,
            name: batch.grant.task(task),
            fence,
            step,
            input,
            output: &self.made,
            scratch: &self.spills,
            packs: self.packs,
            position: Arc::clone(&self.position),
            log: self.log.clone(),
            cancel: Arc::clone(&self.cancel),
            skips,
        };
        guarded(|| program.map(&step.args, map)).unwrap_or_else(|message| Err(self.panicked(message, Some(splits))))
    }

    /// The text of a part of the step before.
    fn part(&self, token: &str, part: u32) -> Result<RemoteReader, Reason> {
        let (coordinator, token) = (self.coordinator.clone(), token.to_owned());
        let open = move |from| {
            coordinator.try_call(|client| {
                let token = token.clone();
                async move { client.part(&token, part, from).await }
            })
        };
        let explain = Box::new(|error: &ClientError| worker_failure("read a part of the step before", error));
        RemoteReader::open(self.coordinator.clone(), Box::new(open), explain, 0, None)
    }

    /// A section that is damaged or out of reach is looked for once more before its map has to run again: within a generation,
    /// outputs are relayed, and the table that is remembered does not know it.
    fn reduce(&mut self, turn: &Turn<'_>, table: &OutputsAnswer, skips: &Skips) -> Result<TaskDone, Setback> {
        let reason = match self.reduce_once(turn, table, skips) {
            Ok(done) => return Ok(done),
            Err(reason @ (Reason::LostOutput { .. } | Reason::Unreachable { .. })) => reason,
            Err(reason) if is_to_narrow(skips, &reason) => {
                let reason = narrowed(skips, reason, |skips| {
                    self.clean();
                    self.reduce_once(turn, table, skips)
                });
                return Err(reason.into());
            }
            Err(reason) => return Err(reason.into()),
        };
        tracing::warn!(%reason, "looking for the map output once more");
        self.clean();
        self.table = None;
        let table = self.table_of(&turn.batch.token, &turn.batch.grant)?;
        Ok(self.reduce_once(turn, &table, skips)?)
    }

    fn reduce_once(&mut self, turn: &Turn<'_>, table: &OutputsAnswer, skips: &Skips) -> Result<TaskDone, Reason> {
        let Turn { program, batch, step, task, fence } = *turn;
        let next = self.next_of(batch)?;
        let mut finder = Sections {
            feeding: feeding(batch.grant.step, step.fused),
            coordinator: &self.coordinator,
            state_dir: &self.state_dir,
            scratch: &self.spills,
            holders: &mut self.holders,
            peers: &mut self.peers,
        };
        let sections = finder.all(&batch.token, &batch.grant, task, table)?;
        let bytes_in = sections.iter().map(|section| section.len).sum();
        let reduce = ReduceTask {
            job: batch.grant.job,
            name: batch.grant.task(task),
            fence,
            step,
            sections,
            output: &self.made,
            next: None,
            scratch: &self.spills,
            position: Arc::clone(&self.position),
            log: self.log.clone(),
            cancel: Arc::clone(&self.cancel),
            skips,
        };
        let run = || {
            let next = next.map(|next| self.start_next(&next, turn, skips)).transpose()?;
            program.reduce(&step.args, ReduceTask { next, ..reduce })
        };
        let done = guarded(run).unwrap_or_else(|message| Err(self.panicked(message, None)))?;
        Ok(TaskDone { bytes_in, ..done })
    }

    /// What runs the maps of the next step, if they are fused with this one.
    fn next_of<'b>(&self, batch: &'b Batch) -> Result<Option<NextStep<'b>>, Reason> {
        // Who only writes down what the reducer reads prints nothing that could be mapped.
        let is_recording = self.trace.as_ref().is_some_and(|trace| trace.records);
        let Some(step) = batch.plan.head.fused_with(batch.grant.step).filter(|_| !is_recording) else {
            return Ok(None);
        };
        let scratch = self.spills.join(NEXT);
        fs::create_dir_all(&scratch).map_err(|error| worker_failure("make a scratch directory", &error))?;
        let trace = self.trace.as_ref().filter(|_| step.program().kind() == Kind::Command);
        let trace = trace.map(Trace::of_next).transpose()?;
        let program = self.program_of(step, &batch.token, (Arc::clone(&self.next_commands), trace))?;
        Ok(Some(NextStep { step, program, scratch }))
    }

    fn start_next(&self, next: &NextStep<'_>, turn: &Turn<'_>, skips: &Skips) -> Result<Box<dyn Feed>, Reason> {
        let GrantName { job, step, .. } = turn.batch.grant;
        let map = MapTask {
            job,
            name: TaskName { step: step.saturating_add(1), stage: Stage::Map, index: turn.task },
            fence: turn.fence,
            step: next.step,
            input: MapInput::Fed { part: turn.task },
            output: &self.made,
            scratch: &next.scratch,
            packs: self.packs,
            position: Arc::clone(&self.position),
            log: self.log.clone(),
            cancel: Arc::clone(&self.cancel),
            skips,
        };
        next.program.map_fed(&next.step.args, map)
    }

    fn panicked(&self, message: String, splits: Option<&SplitsAnswer>) -> Reason {
        let files = splits.map(|splits| splits.files.iter().map(|named| (named.index, named.file.url.clone())));
        let files: BTreeMap<u32, String> = files.into_iter().flatten().collect();
        Reason::Panicked { message: bounded(message), at: place(&self.position, &files) }
    }

    /// Removes what the attempt left.
    fn clean(&self) {
        let _ = fs::remove_file(&self.made);
        empty(&self.spills);
    }
}

/// Names the record that user code was given last.
pub(crate) fn place(position: &Position, files: &BTreeMap<u32, String>) -> Option<Place> {
    position.snapshot().place(|index| files.get(&index).cloned().unwrap_or_else(|| format!("input file {index}")))
}

fn empty(directory: &Path) {
    let any = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if any && let Err(error) = fs::remove_dir_all(directory).and_then(|()| fs::create_dir_all(directory)) {
        tracing::warn!(path = %directory.display(), %error, "cannot empty the scratch directory");
    }
}
