//! Names of things. Newtypes, so that a fence is never passed for a task index; they print as a person writes them.
//!
//! Nothing here makes an id: whoever owns randomness does, and passes it in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// Names a job. A version 7 UUID, so that ids sort by submission time.
    JobId
);
impl JobId {
    /// Returns the two numbers of its Hadoop name, `job_1764000000000_0042`: what scripts that were written for Hadoop
    /// expect in `mapreduce_job_id` and in the output of `hadoop jar`. Both are cut out of the id, so two jobs of one
    /// millisecond may share them; it is a name to show, never one to find a job by.
    #[must_use]
    pub fn hadoop_numbers(self) -> String {
        let bits = self.0.as_u128();
        format!("{}_{:04}", bits >> 80, bits % 10_000)
    }
}

uuid_id!(
    /// Names a worker across its restarts: it is kept in the worker's state directory.
    WorkerId
);
uuid_id!(
    /// Names one life of a worker process.
    SessionId
);

/// Names an attempt: a cluster-wide number that is never used twice.
///
/// `epoch counter * 2^36 + n`: the counter is durable before the first grant of an epoch, so no block of fences ever
/// has to be reserved (docs/decisions/0003).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl Fence {
    /// Fences per epoch: 2^36. 131,072 epochs fit into the 2^53 that every JSON reader keeps exactly.
    pub const PER_EPOCH: u64 = 1 << 36;

    /// Returns the first fence of the epoch with this counter.
    #[must_use]
    pub fn first_of(epoch_counter: u64) -> Self {
        Self(epoch_counter.saturating_mul(Self::PER_EPOCH))
    }

    /// Returns the fence `n` after this one.
    #[must_use]
    pub fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}

/// Counts how often map outputs of a step were invalidated; a reduce attempt names the one it read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// One life of a coordinator: the cluster it serves and how often that cluster's coordinator has started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// The cluster, made when the journal is created.
    pub cluster: Uuid,
    /// Rises by one at every start of a coordinator.
    pub counter: u64,
}

/// The map half or the reduce half of a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Splits become map outputs, or parts when the step is map-only.
    Map,
    /// Partitions become parts.
    Reduce,
}

impl Stage {
    /// Returns the letter used in task names: `m` or `r`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Map => 'm',
            Self::Reduce => 'r',
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Map => "map",
            Self::Reduce => "reduce",
        })
    }
}

/// Names a task inside its job: `m12`, `r3`, and `s1.m12` for the steps after the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskName {
    /// Index of the step, from 0.
    pub step: u16,
    /// Half of the step.
    pub stage: Stage,
    /// Index of the task in its stage, from 0.
    pub index: u32,
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step > 0 {
            write!(f, "s{}.", self.step)?;
        }
        write!(f, "{}{}", self.stage.letter(), self.index)
    }
}

/// Says why a text is not a task name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task: write m12 or r3, with s1. in front for the second step")]
pub struct NotATask(pub String);

impl FromStr for TaskName {
    type Err = NotATask;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotATask(text.chars().take(80).collect());
        let (step, rest) = match text.strip_prefix('s') {
            Some(rest) => {
                let (step, rest) = rest.split_once('.').ok_or_else(bad)?;
                (step.parse().map_err(|_| bad())?, rest)
            }
            None => (0, text),
        };
        let (stage, index) = if let Some(index) = rest.strip_prefix('m') {
            (Stage::Map, index)
        } else if let Some(index) = rest.strip_prefix('r') {
            (Stage::Reduce, index)
        } else {
            return Err(bad());
        };
        if !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self { step, stage, index: index.parse().map_err(|_| bad())? })
    }
}

impl Serialize for TaskName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hadoop_knows_a_job_by_two_numbers() {
        let job: JobId = "019d21c3-1800-7c3a-8000-00000000002a".parse().expect("an id");
        assert_eq!(job.hadoop_numbers(), "1774387927040_6922");
        assert_eq!(JobId(Uuid::nil()).hadoop_numbers(), "0_0000");
    }

    #[test]
    fn task_names_read_back() {
        for text in ["m0", "r3", "s1.m12", "s2.r4000000000"] {
            assert_eq!(text.parse::<TaskName>().expect(text).to_string(), text);
        }
        for text in ["", "x1", "m", "m-1", "m+1", "s1m2", "s.m2", "sx.m2", "m99999999999"] {
            assert!(text.parse::<TaskName>().is_err(), "{text}");
        }
    }

    #[test]
    fn fences_of_epochs_do_not_overlap() {
        assert!(Fence::first_of(1).plus(Fence::PER_EPOCH - 1) < Fence::first_of(2));
    }
}
