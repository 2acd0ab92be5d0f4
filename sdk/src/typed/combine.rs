//! Combiners: accumulators that values are folded into, on the map side while collecting and once more in the reduce.

use crate::codec::{Owned, Value};

/// Folds the values of a key, so that one accumulator travels instead of all of them.
///
/// The reducer gets what [`Combiner::finish`] makes, as the only value of its key. Values are added in input order and
/// accumulators merged in input order, at places that depend on the job alone: also a sum of floats is the same each time.
pub trait Combiner<V: Value + ?Sized>: Send + Sync + 'static {
    /// What values are folded into.
    type Acc: Owned + Send;
    /// What the reducer gets.
    type Output: Value;

    /// Makes the accumulator of no value; cheap, without allocation if possible.
    fn zero(&self) -> Self::Acc;

    /// Adds a value.
    fn add(&self, acc: &mut Self::Acc, value: V::Decoded<'_>);

    /// Adds what another accumulator holds; its values come after those of `acc`.
    fn merge(&self, acc: &mut Self::Acc, later: Self::Acc);

    /// Makes the reducer's value.
    fn finish(&self, acc: Self::Acc) -> Self::Output;
}

/// Adds values up. A sum that does not fit its type panics, which fails the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum;

/// Keeps the smallest value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Min;

/// Keeps the largest value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Max;

macro_rules! numbers {
    ($combiner:ty, $(($type:ty, $zero:expr, $add:expr)),*) => {$(
        impl Combiner<$type> for $combiner {
            type Acc = $type;
            type Output = $type;

            #[inline]
            fn zero(&self) -> $type {
                $zero
            }

            #[inline]
            fn add(&self, acc: &mut $type, value: $type) {
                *acc = $add(*acc, value);
            }

            fn merge(&self, acc: &mut $type, later: $type) {
                *acc = $add(*acc, later);
            }

            fn finish(&self, acc: $type) -> $type {
                acc
            }
        }
    )*};
}

numbers!(
    Sum,
    (u64, 0, |a: u64, b| a.checked_add(b).expect("the sum fits u64")),
    (u32, 0, |a: u32, b| a.checked_add(b).expect("the sum fits u32")),
    (i64, 0, |a: i64, b| a.checked_add(b).expect("the sum fits i64")),
    (f64, 0.0, |a, b| a + b)
);
numbers!(Min, (u64, u64::MAX, u64::min), (i64, i64::MAX, i64::min), (f64, f64::INFINITY, f64::min));
numbers!(Max, (u64, 0, u64::max), (i64, i64::MIN, i64::max), (f64, f64::NEG_INFINITY, f64::max));
