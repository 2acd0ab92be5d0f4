//! One executor's work: gets what an attempt needs, runs user code under guard, and puts its output in place.

mod answers;
mod batch;
mod loader;
mod map;
mod reduce;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gristmill_common::plan::{PartForm, PlannedStep};
use gristmill_common::program::Kind;
use gristmill_common::reason::bounded;
use gristmill_common::wire::{Done, LogHead, Outcome, OutputsAnswer, PlanAnswer, SplitsAnswer};
use gristmill_common::{Fence, GrantName, JobId, Place, Reason, Stage, WorkerId};
use gristmill_storage::{Inbox, Roots};

use self::answers::Answers;
use self::batch::{Batch, Source};
use self::loader::Loader;
use super::coordinator::Coordinator;
use super::fetch::Peers;
use super::outputs::{Made, Outputs};
use super::printed::Printed;
use super::protocol::Hello;
use crate::command::Trace;
use crate::echo::Echo;
use crate::log::AttemptLog;
use crate::position::Position;
use crate::program::{Program, Programs, TaskDone};
use crate::skip::Skips;
use crate::supervisor::clock::Stopwatch;

/// Runs attempts one after the other.
pub(crate) struct Attempts<'a> {
    coordinator: Coordinator,
    answers: Answers,
    loader: Loader<'a>,
    roots: Roots,
    state_dir: PathBuf,
    /// Where attempts keep what does not fit into memory, and what they fetched.
    spills: PathBuf,
    /// The file that an attempt makes.
    made: PathBuf,
    position: Arc<Position>,
    cancel: Arc<AtomicBool>,
    outputs: Outputs,
    /// Of the attempt that runs.
    log: AttemptLog,
    /// Of an executor that is a process.
    echo: Option<Arc<Echo>>,
    printed: Option<Printed>,
    /// Of attempts that somebody looks at.
    pub(super) trace: Option<Trace>,
    /// Where workers of this host have their places; `None` for ones of other hosts.
    holders: BTreeMap<WorkerId, Option<PathBuf>>,
    /// Whether map outputs are packed.
    packs: bool,
    /// Connections to workers that serve outputs.
    peers: Peers,
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

/// One attempt of a batch.
struct Turn<'a> {
    program: &'a dyn Program,
    batch: &'a Batch,
    step: &'a PlannedStep,
    task: u32,
    fence: Fence,
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
        let coordinator = Coordinator::connect(hello, Arc::clone(&position))?;
        Ok(Self {
            answers: Answers::new(coordinator.clone(), hello.direct),
            loader: Loader::new(hello, programs, coordinator.clone()),
            coordinator,
            roots,
            state_dir: hello.state_dir.clone(),
            spills,
            made: hello.scratch.join("output"),
            position,
            cancel,
            outputs,
            log: AttemptLog::default(),
            echo: printed.as_ref().map(|_| Echo::create(&hello.scratch)).transpose()?.map(Arc::new),
            printed,
            trace: None,
            holders: BTreeMap::new(),
            packs: hello.packs,
            peers: Peers::default(),
        })
    }

    /// Gets what all tasks of an order need.
    pub(crate) fn prepare(&mut self, token: &str) -> Result<Batch, Setback> {
        let grant = gristmill_common::grant::name_of(token)
            .ok_or_else(|| Reason::Worker { message: "a grant's token cannot be read".to_owned() })?;
        let plan = self.plan(token, grant.job)?;
        let step = plan.head.steps.get(usize::from(grant.step));
        let next = plan.head.fused_with(grant.step).filter(|_| grant.stage == Stage::Reduce);
        for step in step.into_iter().chain(next) {
            self.loader.fetch(step, token)?;
        }
        let source = match grant.stage {
            Stage::Map => Source::Splits(self.answers.splits(token)?),
            Stage::Reduce => Source::Table(self.table(token, &grant)?),
        };
        let is_rough = step.is_some_and(|step| step.program().kind() != Kind::Native);
        // Nobody who looks at one attempt wants many.
        let is_rough = is_rough && self.trace.is_none();
        let skips = if plan.may_skip { self.answers.skips(token, is_rough)? } else { BTreeMap::new() };
        Ok(Batch { token: token.to_owned(), grant, plan, source, skips })
    }

    fn plan(&mut self, token: &str, job: JobId) -> Result<Arc<PlanAnswer>, Reason> {
        if let Some(plan) = self.answers.known_plan(job) {
            return Ok(plan);
        }
        let plan = self.answers.fetch_plan(token, job)?;
        self.loader.release();
        Ok(plan)
    }

    fn table(&mut self, token: &str, grant: &GrantName) -> Result<Arc<OutputsAnswer>, Setback> {
        if let Some(table) = self.answers.known_table(grant) {
            return Ok(table);
        }
        // A worker that started after the last table was read has a place now.
        self.holders.clear();
        self.answers.fetch_table(token, grant)
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
                self.answers.forget_table();
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
        let result = self.run_code(batch, task, batch.skips.get(&task).unwrap_or(&none));
        self.clean();
        (result, self.log.text())
    }

    /// Runs the code of one task, and puts what it made in place.
    fn attempt(&mut self, batch: &Batch, task: u32) -> Result<Done, Setback> {
        let step = batch.step()?;
        let is_kept = step.reduces == 0 || batch.grant.stage == Stage::Reduce;
        let none = if batch.plan.may_skip { Skips::none().taking_bad() } else { Skips::none() };
        let skips = batch.skips.get(&task).unwrap_or(&none);
        let done = self.run_code(batch, task, skips)?;
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

    /// Runs the code of one task.
    fn run_code(&mut self, batch: &Batch, task: u32, skips: &Skips) -> Result<TaskDone, Setback> {
        let step = batch.step()?;
        let Some(fence) = batch.grant.fence_of(task) else {
            return Err(Reason::Worker { message: format!("task {task} is not in its grant") }.into());
        };
        let program = self.loader.load(step, &batch.token, self.trace.clone())?;
        self.position.begin(fence, 0);
        let turn = Turn { program: &*program, batch, step, task, fence };
        match &batch.source {
            Source::Splits(splits) => Ok(self.map(&turn, splits, skips)?),
            Source::Table(table) => self.reduce(&turn, table, skips),
        }
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

/// Says whether a failure's record is to be looked for: its program cannot say where it was.
fn is_to_narrow(skips: &Skips, reason: &Reason) -> bool {
    let is_of_none = matches!(
        reason,
        Reason::BadArguments { .. }
            | Reason::InputChanged { .. }
            | Reason::InputUnreadable { .. }
            | Reason::BadRecord { .. }
    );
    skips.is_rough() && reason.is_user_failure() && !is_of_none
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
