//! What a supervisor and an executor say to each other: orders one way, replies the other, one JSON text a line.

use std::path::PathBuf;

use gristmill_common::wire::Outcome;
use gristmill_common::{Digest, TaskRange, WorkerId};
use serde::{Deserialize, Serialize};

use crate::control_groups::ControlGroups;
use crate::sandbox::Sandbox;

/// A line is never longer: results are flushed long before.
pub(crate) const LINE_BYTES: u64 = 256 << 20;

/// What a supervisor says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Comes first.
    Hello(Box<Hello>),
    /// Run these tasks, one after the other, under this grant's token.
    Run { token: String, tasks: TaskRange },
}

/// Where an executor works. Holds no worker token: what the executor may ask for is what its grants allow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The coordinator's address.
    pub(crate) url: String,
    /// Its certificate.
    pub(crate) pin: Option<Digest>,
    /// Whether tokens may travel to it in clear text.
    pub(crate) plain_allowed: bool,
    /// Whether it fetches from workers that serve their outputs.
    pub(crate) direct: bool,
    /// Whether map outputs are packed.
    pub(crate) packs: bool,
    /// The worker whose attempts it runs.
    pub(crate) worker: WorkerId,
    /// Directories from which it may read inputs.
    pub(crate) roots: Vec<PathBuf>,
    /// The directory in which all workers of this host have their places.
    pub(crate) state_dir: PathBuf,
    /// Where finished map outputs go.
    pub(crate) outputs: PathBuf,
    /// A directory of its own.
    pub(crate) scratch: PathBuf,
    /// What commands may touch; anything when absent.
    pub(crate) sandbox: Option<Sandbox>,
    /// Where they get control groups; none when absent.
    pub(crate) groups: Option<ControlGroups>,
}

/// What an executor says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// It has begun with the tasks of the last order: user code runs from now on.
    Begun {
        /// How long an attempt may go without progress, in milliseconds.
        progress_timeout_ms: u64,
        /// URLs of the plan's files that the tasks read.
        files: Vec<(u32, String)>,
    },
    /// Tasks ended.
    Ended(Vec<RangeResult>),
    /// Tasks could not run now, through no fault of theirs: they go back to the coordinator.
    Returned(TaskRange),
    /// All tasks of the last order ended.
    Idle,
}

/// How some tasks ended that all ended alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RangeResult {
    /// The tasks.
    pub(crate) tasks: TaskRange,
    /// How each ended.
    pub(crate) outcome: Outcome,
    /// How long each took on average, in microseconds.
    pub(crate) took_us: u64,
}
