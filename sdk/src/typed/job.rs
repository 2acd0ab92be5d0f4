//! Joins the stages of a job. Each call adds a stage to the type, so that the whole is compiled as one.

use std::sync::Arc;

use anyhow::Result;
use gristmill_common::Reason;
use gristmill_worker::data::{Collector, Unit};
use gristmill_worker::program::{Feed, MapTask, Program, ReduceTask, TaskDone};

use super::combine::Combiner;
use super::map::{BlockMapper, Emit, Mapper};
use super::program::Typed;
use super::reduce::Reducer;
use crate::codec::{Key, Value};

/// A finished job: what [`App::job`](crate::app::App::job) takes.
#[derive(Clone)]
pub struct Job {
    program: Arc<dyn Program>,
}

/// Makes a stage from the job's arguments.
pub(super) type Make<T> = Box<dyn Fn(&[String]) -> Result<T> + Send + Sync>;
/// Checks the job's arguments.
pub(super) type Check = Box<dyn Fn(&[String]) -> Result<()> + Send + Sync>;

/// A job in the making: map side `M`, combiner `F`, reduce side `R`.
pub struct Stages<M, F, R> {
    pub(super) mapper: Make<M>,
    pub(super) folding: F,
    pub(super) reducer: Make<R>,
    pub(super) check: Option<Check>,
}

/// A map side that takes a record at a time.
pub struct Records<M>(M);
/// A map side that takes a block at a time.
pub struct WholeBlocks<M>(M);
/// No combiner.
#[derive(Clone, Copy, Debug)]
pub struct Uncombined;
/// A combiner.
pub struct Folded<C>(pub(super) Arc<C>);
/// The reduce side that writes a line `key TAB value` for each value.
#[derive(Clone, Copy, Debug)]
pub struct Print;
/// A user's reduce side.
pub struct Reduced<R>(pub(super) R);

impl Job {
    /// Starts a job with a mapper, made anew for each task from the job's arguments.
    pub fn map<M: Mapper + 'static>(
        make: impl Fn(&[String]) -> M + Send + Sync + 'static,
    ) -> Stages<Records<M>, Uncombined, Print> {
        Self::try_map(move |args| Ok(make(args)))
    }

    /// As [`Job::map`] for a mapper that the arguments may be wrong for. They are checked when the job is submitted.
    pub fn try_map<M: Mapper + 'static>(
        make: impl Fn(&[String]) -> Result<M> + Send + Sync + 'static,
    ) -> Stages<Records<M>, Uncombined, Print> {
        Stages::new(Box::new(move |args| make(args).map(Records)))
    }

    /// Starts a job with a mapper of whole blocks.
    pub fn map_blocks<M: BlockMapper + 'static>(
        make: impl Fn(&[String]) -> M + Send + Sync + 'static,
    ) -> Stages<WholeBlocks<M>, Uncombined, Print> {
        Self::try_map_blocks(move |args| Ok(make(args)))
    }

    /// As [`Job::map_blocks`] for a mapper that the arguments may be wrong for.
    pub fn try_map_blocks<M: BlockMapper + 'static>(
        make: impl Fn(&[String]) -> Result<M> + Send + Sync + 'static,
    ) -> Stages<WholeBlocks<M>, Uncombined, Print> {
        Stages::new(Box::new(move |args| make(args).map(WholeBlocks)))
    }
}

impl<M> Stages<M, Uncombined, Print> {
    fn new(mapper: Make<M>) -> Self {
        Self { mapper, folding: Uncombined, reducer: Box::new(|_| Ok(Print)), check: None }
    }
}

impl<M: MapSide, R> Stages<M, Uncombined, R> {
    /// Adds a combiner. A job whose keys are [`Grouped`](crate::codec::Grouped) has none, and does not compile with one.
    #[must_use]
    pub fn combine<C: Combiner<M::Value>>(self, combiner: C) -> Stages<M, Folded<C>, R> {
        const {
            let is_plain = <M::Key as Key>::GROUP.is_none();
            assert!(is_plain, "a job whose keys are `Grouped` has no combiner: one value of a group has no order");
        }
        let folding = Folded(Arc::new(combiner));
        Stages { mapper: self.mapper, folding, reducer: self.reducer, check: self.check }
    }
}

impl<M, F> Stages<M, F, Print> {
    /// Adds a reducer, made anew for each task from the job's arguments. Without one, each value is printed.
    pub fn reduce<R: Reducer + 'static>(
        self,
        make: impl Fn(&[String]) -> R + Send + Sync + 'static,
    ) -> Stages<M, F, Reduced<R>> {
        self.try_reduce(move |args| Ok(make(args)))
    }

    /// As [`Stages::reduce`] for a reducer that the arguments may be wrong for. They are checked when the job is submitted.
    pub fn try_reduce<R: Reducer + 'static>(
        self,
        make: impl Fn(&[String]) -> Result<R> + Send + Sync + 'static,
    ) -> Stages<M, F, Reduced<R>> {
        let reducer: Make<Reduced<R>> = Box::new(move |args| make(args).map(Reduced));
        Stages { mapper: self.mapper, folding: self.folding, reducer, check: self.check }
    }
}

impl<M, F, R> Stages<M, F, R> {
    /// Checks the arguments of the job when it is submitted; its error is shown to the user.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&[String]) -> Result<()> + Send + Sync + 'static) -> Self {
        self.check = Some(Box::new(check));
        self
    }
}

impl<M, F, R> From<Stages<M, F, R>> for Job
where
    M: MapSide + 'static,
    F: Folding<M::Value> + 'static,
    R: ReduceSide<M::Key, F::Output> + 'static,
{
    fn from(stages: Stages<M, F, R>) -> Self {
        Self { program: Arc::new(Typed::new(stages)) }
    }
}

impl Program for Job {
    fn check(&self, args: &[String]) -> Result<(), String> {
        self.program.check(args)
    }

    fn map(&self, args: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        self.program.map(args, task)
    }

    fn reduce(&self, args: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        self.program.reduce(args, task)
    }

    fn map_fed(&self, args: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        self.program.map_fed(args, task)
    }
}

/// Either kind of mapper.
pub trait MapSide {
    /// Key of what it emits.
    type Key: Key + ?Sized;
    /// Value of what it emits.
    type Value: Value + ?Sized;
    /// What it takes.
    const UNIT: Unit;

    /// See [`Mapper::start`].
    ///
    /// # Errors
    /// What user code says.
    fn start(&mut self, start: &super::Start<'_>) -> Result<()>;
    /// See [`Mapper::map`].
    ///
    /// # Errors
    /// What user code says.
    fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()>;
    /// See [`Mapper::finish`].
    ///
    /// # Errors
    /// What user code says.
    fn finish(&mut self, out: &mut Collector) -> Result<()>;
}

macro_rules! map_side {
    ($side:ident, $mapper:ident, $unit:expr) => {
        impl<M: $mapper> MapSide for $side<M> {
            type Key = M::Key;
            type Value = M::Value;
            const UNIT: Unit = $unit;

            fn start(&mut self, start: &super::Start<'_>) -> Result<()> {
                self.0.start(start)
            }

            #[inline]
            fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()> {
                self.0.map(bytes, &mut Emit::new(out))
            }

            fn finish(&mut self, out: &mut Collector) -> Result<()> {
                self.0.finish(&mut Emit::new(out))
            }
        }
    };
}

map_side!(Records, Mapper, Unit::Record);
map_side!(WholeBlocks, BlockMapper, Unit::Block);

/// A combiner, or none.
pub trait Folding<V: Value + ?Sized>: Send + Sync {
    /// What the reducer gets.
    type Output: Value + ?Sized;
    /// The combiner over bytes.
    type Accumulate: gristmill_worker::data::Accumulate;

    /// Returns the combiner over bytes.
    fn accumulate(&self) -> Option<Self::Accumulate>;
}

/// A reduce side of these keys and values.
pub trait ReduceSide<K: Key + ?Sized, V: Value + ?Sized> {
    /// See [`Reducer::reduce`].
    ///
    /// # Errors
    /// What user code says.
    fn reduce(
        &mut self,
        key: K::Decoded<'_>,
        values: &mut super::Values<'_, V>,
        out: &mut super::Lines<'_>,
    ) -> Result<()>;
    /// See [`Reducer::finish`].
    ///
    /// # Errors
    /// What user code says.
    fn finish(&mut self, out: &mut super::Lines<'_>) -> Result<()>;
}

impl<R: Reducer> ReduceSide<R::Key, R::Value> for Reduced<R> {
    fn reduce(
        &mut self,
        key: <R::Key as Key>::Decoded<'_>,
        values: &mut super::Values<'_, R::Value>,
        out: &mut super::Lines<'_>,
    ) -> Result<()> {
        self.0.reduce(key, values, out)
    }

    fn finish(&mut self, out: &mut super::Lines<'_>) -> Result<()> {
        self.0.finish(out)
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> ReduceSide<K, V> for Print {
    fn reduce(
        &mut self,
        key: K::Decoded<'_>,
        values: &mut super::Values<'_, V>,
        out: &mut super::Lines<'_>,
    ) -> Result<()> {
        while let Some(value) = values.next_ref() {
            out.emit(&key, value);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut super::Lines<'_>) -> Result<()> {
        Ok(())
    }
}
