//! The workloads of `docs/performance.md`, one noun a file.

mod cluster;
mod grep;
mod growth;
mod relay;
mod sort;
mod streaming;
mod tasks;
mod words;

use anyhow::Result;

use crate::bench::Bench;
use crate::report::Report;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    /// W1: word count of English text.
    Words,
    /// W2: word count of millions of distinct words.
    Zipf,
    /// W3: sort.
    Sort,
    /// W4: tasks per second.
    Tasks,
    /// W5: a tiny job.
    Latency,
    /// W6: two Python programs.
    Streaming,
    /// W8: grep.
    Grep,
    /// W9: cluster beside `run`.
    Cluster,
    /// W9z: the same where the shuffle weighs.
    Shuffle,
    /// W9r: polls beside a relay.
    Relay,
    /// W10: growth with the input.
    Growth,
}

const NAMES: [(&str, Workload); 11] = [
    ("W1", Workload::Words),
    ("W2", Workload::Zipf),
    ("W3", Workload::Sort),
    ("W4", Workload::Tasks),
    ("W5", Workload::Latency),
    ("W6", Workload::Streaming),
    ("W8", Workload::Grep),
    ("W9", Workload::Cluster),
    ("W9z", Workload::Shuffle),
    ("W9r", Workload::Relay),
    ("W10", Workload::Growth),
];

/// Reads a workload's name.
pub(crate) fn parse(text: &str) -> Result<Workload, String> {
    let found = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, workload)| *workload).ok_or_else(|| format!("there are {}", NAMES.map(|(name, _)| name).join(", ")))
}

impl Workload {
    pub(crate) fn run(self, bench: &Bench) -> Result<Report> {
        match self {
            Self::Words => words::english(bench),
            Self::Zipf => words::zipf(bench),
            Self::Sort => sort::sort(bench),
            Self::Tasks => tasks::no_op(bench),
            Self::Latency => tasks::tiny(bench),
            Self::Streaming => streaming::python(bench),
            Self::Grep => grep::grep(bench),
            Self::Cluster => cluster::words(bench),
            Self::Shuffle => cluster::zipf(bench),
            Self::Relay => relay::sort(bench),
            Self::Growth => growth::words(bench),
        }
    }
}
