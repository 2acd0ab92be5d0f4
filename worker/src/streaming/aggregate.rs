//! Hadoop's aggregate package as a reducer: keys are `Type:id`, each type folds the values of its ids.
//!
//! Source: `org.apache.hadoop.mapreduce.lib.aggregate`. Types are told apart without regard to case.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use gristmill_common::Reason;
use gristmill_common::program::Streaming;

use super::record::KeyOrder;
use crate::data::{Group, Lines, ReduceFunction};

/// The reducer.
pub(crate) struct Aggregate {
    order: KeyOrder,
    separator: Vec<u8>,
}

impl Aggregate {
    /// Makes the reducer of a step.
    ///
    /// # Errors
    /// When the spec's options cannot be read.
    pub(crate) fn new(streaming: &Streaming) -> Result<Self, Reason> {
        Ok(Self { order: KeyOrder::of(streaming)?, separator: streaming.output_separator.clone().into_bytes() })
    }
}

/// What the values of one key are folded into.
enum Fold {
    LongSum(i64),
    LongMax(i64),
    LongMin(i64),
    DoubleSum(f64),
    StringMax(Option<Vec<u8>>),
    StringMin(Option<Vec<u8>>),
    Unique(BTreeSet<Vec<u8>>),
    Histogram(BTreeMap<Vec<u8>, i64>),
}

impl Fold {
    fn of(kind: &[u8]) -> Result<Self> {
        Ok(match kind.to_ascii_lowercase().as_slice() {
            b"longvaluesum" => Self::LongSum(0),
            b"longvaluemax" => Self::LongMax(i64::MIN),
            b"longvaluemin" => Self::LongMin(i64::MAX),
            b"doublevaluesum" => Self::DoubleSum(0.0),
            b"stringvaluemax" => Self::StringMax(None),
            b"stringvaluemin" => Self::StringMin(None),
            b"uniqvaluecount" => Self::Unique(BTreeSet::new()),
            b"valuehistogram" => Self::Histogram(BTreeMap::new()),
            _ => bail!("`{}` is no type of the aggregate reducer", String::from_utf8_lossy(kind)),
        })
    }

    fn add(&mut self, value: &[u8]) -> Result<()> {
        match self {
            Self::LongSum(sum) => *sum = sum.wrapping_add(long(value)?),
            Self::LongMax(max) => *max = (*max).max(long(value)?),
            Self::LongMin(min) => *min = (*min).min(long(value)?),
            Self::DoubleSum(sum) => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                *sum += text.trim().parse::<f64>().with_context(|| not_a_number(value))?;
            }
            Self::StringMax(max) => {
                if max.as_deref().is_none_or(|max| value > max) {
                    *max = Some(value.to_vec());
                }
            }
            Self::StringMin(min) => {
                if min.as_deref().is_none_or(|min| value < min) {
                    *min = Some(value.to_vec());
                }
            }
            Self::Unique(values) => {
                if !values.contains(value) {
                    values.insert(value.to_vec());
                }
            }
            Self::Histogram(counts) => {
                let (value, count) = match memchr::memrchr(b'\t', value) {
                    Some(at) => (&value[..at], long(&value[at + 1..])?),
                    None => (value, 1),
                };
                *counts.entry(value.to_vec()).or_default() += count;
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::LongSum(number) | Self::LongMax(number) | Self::LongMin(number) => {
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Self::DoubleSum(number) => out.extend_from_slice(java_double(*number).as_bytes()),
            Self::StringMax(text) | Self::StringMin(text) => out.extend_from_slice(text.as_deref().unwrap_or_default()),
            Self::Unique(values) => out.extend_from_slice(values.len().to_string().as_bytes()),
            Self::Histogram(counts) => out.extend_from_slice(histogram(counts.values().copied().collect()).as_bytes()),
        }
    }
}

fn long(value: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.trim().parse().with_context(|| not_a_number(value))
}

fn not_a_number(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    format!("the aggregate reducer cannot add `{}`", text.chars().take(100).collect::<String>())
}

/// Unique values; least, middle and greatest count, mean and standard deviation of the counts.
fn histogram(mut counts: Vec<i64>) -> String {
    counts.sort_unstable();
    let (Some(least), Some(most)) = (counts.first(), counts.last()) else { return "0".to_owned() };
    let total = counts.len() as f64;
    let mean = counts.iter().sum::<i64>() as f64 / total;
    let variance = counts.iter().map(|&count| (count as f64 - mean).powi(2)).sum::<f64>() / total;
    let (middle, deviation) = (counts[counts.len() / 2], java_double(variance.sqrt()));
    format!("{}\t{least}\t{middle}\t{most}\t{}\t{deviation}", counts.len(), java_double(mean))
}

/// Writes a number as Java's `Double.toString`.
fn java_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

impl ReduceFunction for Aggregate {
    fn reduce(&mut self, sort_key: &[u8], values: &mut dyn Group, lines: &mut Lines) -> Result<()> {
        let mut folded: Option<(Vec<u8>, Fold)> = None;
        while let Some(value) = values.next_value() {
            let (key, value) = self.order.printed(sort_key, value);
            let (_, fold) = match &mut folded {
                Some(folded) => folded,
                none => {
                    let colon = memchr::memchr(b':', key);
                    let text = || format!("`{}` is not Type:id", String::from_utf8_lossy(key));
                    let (kind, id) = key.split_at(colon.with_context(text)?);
                    none.insert((id[1..].to_vec(), Fold::of(kind)?))
                }
            };
            fold.add(value)?;
        }
        let Some((id, fold)) = folded else { return Ok(()) };
        lines.line(|out| {
            out.extend_from_slice(&id);
            out.extend_from_slice(&self.separator);
            fold.write(out);
        });
        Ok(())
    }

    fn finish(&mut self, _: &mut Lines) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_javas() {
        let cases = [
            (0.0, "0.0"),
            (3.0, "3.0"),
            (-2.5, "-2.5"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (9_999_999.0, "9999999.0"),
            (f64::NAN, "NaN"),
        ];
        for (number, text) in cases {
            assert_eq!(java_double(number), text);
        }
    }
}
