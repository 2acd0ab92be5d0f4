//! Makes a program of typed stages: the one place where types turn into bytes and back.

use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::Result;
use gristmill_common::Reason;
use gristmill_common::reason::bounded;
use gristmill_worker::data::{
    self, Accumulate, Collector, Group, MapFunction, NoCombiner, Partitioner, ReduceFunction, Shuffle, Start, Unit,
    partition_of,
};
use gristmill_worker::program::{Feed, MapTask, Program, ReduceTask, TaskDone};

use super::combine::Combiner;
use super::job::{Folded, Folding, MapSide, ReduceSide, Stages, Uncombined};
use super::reduce::{Lines, Values};
use crate::codec::text::write_pair;
use crate::codec::{Key, Value};

/// The program of typed stages.
pub(super) struct Typed<M, F, R>(Stages<M, F, R>);

impl<M, F, R> Typed<M, F, R> {
    pub(super) fn new(stages: Stages<M, F, R>) -> Self {
        Self(stages)
    }
}

/// The command line checks arguments; those of a spec are seen here first, and no other attempt takes them.
fn unmakeable(error: &anyhow::Error) -> Reason {
    Reason::BadArguments { message: bounded(format!("{error:#}")) }
}

impl<M, F, R> Program for Typed<M, F, R>
where
    M: MapSide + 'static,
    F: Folding<M::Value>,
    R: ReduceSide<M::Key, F::Output>,
{
    fn check(&self, args: &[String]) -> Result<(), String> {
        let checked = self.0.check.as_ref().map_or(Ok(()), |check| check(args));
        let made = checked.and_then(|()| (self.0.mapper)(args)).and_then(|_| (self.0.reducer)(args));
        made.map(drop).map_err(|error| format!("{error:#}"))
    }

    fn map(&self, args: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let mapper = (self.0.mapper)(args).map_err(|error| unmakeable(&error))?;
        let text = write_record::<M::Key, M::Value>;
        match by_group::<M::Key>() {
            None => data::map(task, &mut TypedMap(mapper), self.0.folding.accumulate(), text),
            Some(shuffle) => data::map_shuffled(task, &mut TypedMap(mapper), shuffle, text),
        }
    }

    fn reduce(&self, args: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        let side = (self.0.reducer)(args).map_err(|error| unmakeable(&error))?;
        let mut reducer = TypedReduce::<R, M::Key, F::Output> { side, types: PhantomData };
        data::reduce(task, &mut reducer, self.0.folding.accumulate().as_ref())
    }

    fn map_fed(&self, args: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        let mapper = (self.0.mapper)(args).map_err(|error| unmakeable(&error))?;
        match by_group::<M::Key>() {
            None => data::map_fed(task, TypedMap(mapper), self.0.folding.accumulate()),
            Some(shuffle) => data::map_fed_shuffled(task, TypedMap(mapper), shuffle),
        }
    }
}

/// How records get from maps to reduces where keys are grouped: a group goes to one reduce as a whole.
fn by_group<K: Key + ?Sized>() -> Option<Shuffle> {
    let group = K::GROUP?;
    let by_group = move |key: &[u8], _: &[u8], count: u32| partition_of(&key[..group(key)], count);
    Some(Shuffle { partitioner: Partitioner::Function(Arc::new(by_group)), combine: None })
}

/// Writes the line of a map-only step.
fn write_record<K: Key + ?Sized, V: Value + ?Sized>(key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    write_pair(&K::decode(key)?, &V::decode(value)?, out);
    Ok(())
}

struct TypedMap<M>(M);

impl<M: MapSide> MapFunction for TypedMap<M> {
    const UNIT: Unit = M::UNIT;

    fn start(&mut self, start: &Start<'_>, _: &mut Collector) -> Result<()> {
        self.0.start(start)
    }

    #[inline]
    fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()> {
        self.0.map(bytes, out)
    }

    fn finish(&mut self, out: &mut Collector) -> Result<()> {
        self.0.finish(out)
    }
}

struct TypedReduce<R, K: ?Sized, V: ?Sized> {
    side: R,
    types: PhantomData<fn(&K, &V)>,
}

impl<K: Key + ?Sized, V: Value + ?Sized, R: ReduceSide<K, V>> ReduceFunction for TypedReduce<R, K, V> {
    const GROUP: Option<fn(&[u8]) -> usize> = K::GROUP;

    fn reduce(&mut self, key: &[u8], group: &mut dyn Group, out: &mut data::Lines) -> Result<()> {
        let mut values = Values::new(group);
        self.side.reduce(K::decode(key)?, &mut values, &mut Lines::new(out))?;
        Ok(values.check()?)
    }

    fn finish(&mut self, out: &mut data::Lines) -> Result<()> {
        self.side.finish(&mut Lines::new(out))
    }
}

impl<V: Value + ?Sized> Folding<V> for Uncombined {
    type Output = V;
    type Accumulate = NoCombiner;

    fn accumulate(&self) -> Option<NoCombiner> {
        None
    }
}

impl<V: Value + ?Sized + 'static, C: Combiner<V>> Folding<V> for Folded<C> {
    type Output = C::Output;
    type Accumulate = TypedCombiner<C, V>;

    fn accumulate(&self) -> Option<TypedCombiner<C, V>> {
        Some(TypedCombiner { combiner: Arc::clone(&self.0), types: PhantomData })
    }
}

/// A combiner over bytes.
pub struct TypedCombiner<C, V: ?Sized> {
    combiner: Arc<C>,
    types: PhantomData<fn(&V)>,
}

impl<V: Value + ?Sized + 'static, C: Combiner<V>> Accumulate for TypedCombiner<C, V> {
    type Acc = C::Acc;
    const FIXED_BYTES: Option<u64> = <C::Acc as Value>::FIXED_BYTES;

    #[inline]
    fn zero(&self) -> C::Acc {
        self.combiner.zero()
    }

    #[inline]
    fn add(&self, acc: &mut C::Acc, value: &[u8]) -> Result<()> {
        self.combiner.add(acc, V::decode(value)?);
        Ok(())
    }

    fn merge(&self, acc: &mut C::Acc, later: C::Acc) {
        self.combiner.merge(acc, later);
    }

    fn store(&self, acc: &C::Acc, out: &mut Vec<u8>) {
        acc.encode(out);
    }

    fn load(&self, bytes: &[u8]) -> Result<C::Acc> {
        Ok(C::Acc::decode(bytes)?)
    }

    fn finish(&self, acc: C::Acc, out: &mut Vec<u8>) {
        self.combiner.finish(acc).encode(out);
    }
}
