//! A map whose lines come from the reduce of the step before, in the same task: no part lies between them.
//!
//! The lines are what the part's text would be, gathered into blocks, so that the mapper makes of them what it makes of a part.
//! User code of both halves takes turns on one thread: whatever happens, the position says at whose record it was.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gristmill_common::Reason;
use gristmill_common::format::InputFormat;
use gristmill_runs::RunSummary;

use super::blocks::{BUFFER_BYTES, Block};
use super::collect::{Collector, Sink};
use super::function::{Accumulate, MapFunction, Start};
use super::map::{self, Attempt, Shuffle};
use super::output::PartOutput;
use super::{counters, failure};
use crate::position::Spot;
use crate::program::{Feed, MapInput, MapTask, ReduceTask, TaskDone};
use crate::skip::Skips;

/// What the maps of fused steps leave out: the plan fuses none of a job that leaves records out.
static NO_SKIPS: LazyLock<Skips> = LazyLock::new(Skips::none);
/// What they read.
static LINES: LazyLock<InputFormat> = LazyLock::new(InputFormat::default);

/// As [`super::map`] for a task whose input is [`MapInput::Fed`].
///
/// # Errors
/// What user code says of its start.
pub fn map_fed<M: MapFunction + 'static, C: Accumulate>(
    task: MapTask<'_>,
    mapper: M,
    combiner: Option<C>,
) -> Result<Box<dyn Feed>, Reason> {
    let sink = map::sink(&task, combiner);
    Fed::start(task, mapper, sink)
}

/// As [`super::map_shuffled`] for a task whose input is [`MapInput::Fed`].
///
/// # Errors
/// What user code says of its start.
pub fn map_fed_shuffled<M: MapFunction + 'static>(
    task: MapTask<'_>,
    mapper: M,
    shuffle: Shuffle,
) -> Result<Box<dyn Feed>, Reason> {
    let sink = map::shuffled_sink(&task, shuffle);
    Fed::start(task, mapper, sink)
}

struct Fed<M> {
    attempt: Attempt<'static, M>,
    part: u32,
    /// Bytes of lines so far.
    offset: u64,
}

impl<M: MapFunction + 'static> Fed<M> {
    fn start(task: MapTask<'_>, mapper: M, sink: Box<dyn Sink>) -> Result<Box<dyn Feed>, Reason> {
        let MapInput::Fed { part } = task.input else {
            return Err(failure::worker("a map that reads by itself was to be fed"));
        };
        let mut out = Collector::new(sink, task.position, task.cancel);
        out.enter(Arc::from(Spot::Fed(part).name()));
        let attempt = Attempt::new(mapper, out, &NO_SKIPS, &LINES);
        let mut fed = Self { attempt, part, offset: 0 };
        fed.turn(|attempt| {
            // As the mapper of a step that is not fused is told.
            let name = Spot::Part(part).name();
            let started = attempt.mapper.start(&Start { name: &name, offset: 0, tag: None }, &mut attempt.out);
            started.map_err(|error| failure::user(&error, Some(attempt.out.place())))
        })?;
        Ok(Box::new(fed))
    }

    /// Lets the mapper work, and says so meanwhile.
    fn turn<T>(&mut self, work: impl FnOnce(&mut Attempt<'static, M>) -> Result<T, Reason>) -> Result<T, Reason> {
        let before = self.attempt.out.position().visit(Spot::Fed(self.part), self.offset);
        let worked = work(&mut self.attempt);
        self.attempt.out.position().come_back(before);
        worked
    }
}

impl<M: MapFunction + 'static> Feed for Fed<M> {
    fn feed(&mut self, lines: &[u8]) -> Result<(), Reason> {
        let block = Block { bytes: lines, offset: self.offset };
        self.turn(|attempt| attempt.map_block(&block))?;
        self.offset += lines.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TaskDone, Reason> {
        let Self { attempt, part, offset } = *self;
        // Nobody comes back: with the map the attempt is over.
        attempt.out.position().visit(Spot::Fed(part), offset);
        attempt.finish()
    }
}

/// Where the text goes that a reduce writes.
#[expect(clippy::large_enum_variant, reason = "there is one for an attempt, and every line of a part goes through it")]
pub(super) enum Destination {
    Part(PartOutput),
    Next(Box<Next>),
}

/// The next step's map, and lines that it has not been given yet.
pub(super) struct Next {
    feed: Box<dyn Feed>,
    block: Vec<u8>,
}

impl Destination {
    pub(super) fn of(task: &mut ReduceTask<'_>) -> Self {
        match task.next.take() {
            None => Self::Part(PartOutput::new(task.output, task.fence, task.step, task.skips)),
            Some(feed) => Self::Next(Box::new(Next { feed, block: Vec::new() })),
        }
    }

    /// Takes a line with its line feed. The key is that of a part.
    #[inline]
    pub(super) fn push(&mut self, key: &[u8], text: &[u8]) -> Result<(), Reason> {
        match self {
            Self::Part(part) => part.push(key, text),
            Self::Next(next) => next.push(text),
        }
    }

    /// Takes a line for a part that is never merged by key.
    #[inline]
    pub(super) fn push_unkeyed(&mut self, text: &[u8]) -> Result<(), Reason> {
        match self {
            Self::Part(part) => part.push_unkeyed(text),
            Self::Next(next) => next.push(text),
        }
    }

    /// Ends what was written; counters of the next map are added to these.
    pub(super) fn finish(self, counted: &mut BTreeMap<String, i64>) -> Result<RunSummary, Reason> {
        match self {
            Self::Part(mut part) => part.finish(),
            Self::Next(next) => {
                let done = next.finish()?;
                counters::add_all(counted, done.counters);
                Ok(done.summary)
            }
        }
    }
}

impl Next {
    fn push(&mut self, text: &[u8]) -> Result<(), Reason> {
        if self.block.len() + text.len() > BUFFER_BYTES && !self.block.is_empty() {
            self.hand_over()?;
        }
        if self.block.capacity() == 0 {
            self.block.reserve(BUFFER_BYTES);
        }
        self.block.extend_from_slice(text);
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Reason> {
        let fed = self.feed.feed(&self.block);
        self.block.clear();
        // A line may have been as long as a line may be.
        self.block.shrink_to(BUFFER_BYTES);
        fed
    }

    fn finish(mut self) -> Result<TaskDone, Reason> {
        if !self.block.is_empty() {
            self.hand_over()?;
        }
        self.feed.finish()
    }
}
