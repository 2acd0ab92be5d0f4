//! What users see of the coordinator: the answers of the public API, a stable JSON contract.
//!
//! snake_case, times in RFC 3339 UTC, sizes in bytes, durations as `_ms`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::absent::is_default;
use crate::digest::Digest;
use crate::ids::{JobId, Stage, TaskName, WorkerId};
use crate::limits;
use crate::quantity::{counted, size};
use crate::reason::Reason;
use crate::spec::JobSpec;

/// Where a job is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Inputs are being listed, pinned and split.
    Planning,
    /// Tasks are queued or running.
    Running,
    /// All tasks are won; the output is being made visible. Can only succeed.
    Committing,
    /// The output is there.
    Succeeded,
    /// It failed; `reason` says why.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// Says whether the job is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Returns the word used in JSON and tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job, as `GET /v1/jobs/{id}` shows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// When it was submitted.
    pub submitted_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Milliseconds from submit to end, or to now.
    pub elapsed_ms: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<JobFailure>,
    /// Its stages, in order; empty while planning.
    pub stages: Vec<StageView>,
    /// Input files and bytes.
    pub input: InputView,
    /// What it made; present when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputView>,
    /// Counters of user code, summed over won attempts.
    pub counters: BTreeMap<String, i64>,
    /// Records that were left out (`on_bad_record`) by attempts that won.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skipped_records: u64,
    /// The first [`crate::limits::SKIPS_SHOWN`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedView>,
    /// Tasks that made something else when they ran again (`on_nondeterminism`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub differing_outputs: u64,
    /// What was submitted.
    pub spec: JobSpec,
}

/// A record that was left out, as views, manifests and dead-letter files name it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkippedView {
    /// The task that could not deal with it.
    pub task: TaskName,
    /// URL of the input file, or a name of what else was read (`partition 3`).
    pub file: String,
    /// Byte offset of the record in the (decompressed) file, or its number.
    pub offset: u64,
    /// What user code did with it.
    pub why: String,
}

/// Why a job failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFailure {
    /// The task that could not be done; absent for a failure of planning or commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
    /// Why, from the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// All of it for people, with what to do next.
    pub message: String,
}

/// Numbers of one stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StageView {
    /// Index of the step.
    pub step: u16,
    /// Half of the step.
    pub stage: Stage,
    /// Tasks in all.
    pub tasks: u32,
    /// Tasks that wait for a worker, for a retry or for the stage before.
    pub queued: u32,
    /// Tasks granted to workers.
    pub running: u32,
    /// Tasks won.
    pub won: u32,
    /// Failed attempts so far, of user code.
    pub failures: u64,
    /// Attempts lost with their worker or its lease so far.
    pub losses: u64,
    /// Thousandths of the stage done, from won tasks and the progress of running ones.
    pub progress_permille: u16,
    /// Records read by won attempts.
    pub records_in: u64,
    /// Records written by won attempts.
    pub records_out: u64,
    /// Bytes of outputs of won attempts.
    pub output_bytes: u64,
    /// Of a reduce stage: how the records are shared by the partitions. Not in lists of jobs that are not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadView>,
    /// Whether its tasks run the maps of the next step too: records in are of the reduce, records out of the map.
    #[serde(default, skip_serializing_if = "is_default")]
    pub maps_next: bool,
}

/// How a step's records are shared by its partitions: least, median, most of what the won reduces read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpreadView {
    /// Partitions whose reduce is won.
    pub partitions: u32,
    /// Records; of an even number of partitions, the lower of the two in the middle is the median.
    pub records: [u64; 3],
    /// Bytes, as they were shuffled.
    pub bytes: [u64; 3],
    /// The partition with the largest share of both.
    pub hottest: PartitionView,
}

/// What one reduce read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionView {
    /// Its number.
    pub partition: u32,
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

impl SpreadView {
    /// Says for people which partition is hot, if one is: it has many times what others have, and enough to matter.
    #[must_use]
    pub fn hot(&self, step: u16) -> Option<String> {
        let Self { records: [_, median_records, most_records], bytes: [_, median_bytes, most_bytes], hottest, .. } =
            self;
        let is_far = |most: u64, median: u64| most > median.saturating_mul(limits::HOT_FACTOR);
        let is_hot = is_far(*most_records, *median_records) || is_far(*most_bytes, *median_bytes);
        if !is_hot || hottest.records < limits::HOT_RECORDS {
            return None;
        }
        let PartitionView { partition, records, bytes } = hottest;
        Some(format!(
            "partition {partition} of step {step} is hot: its reduce read {} ({}), the median one {} ({})",
            counted(*records, "record"),
            size(*bytes),
            counted(*median_records, "record"),
            size(*median_bytes)
        ))
    }
}

/// What a job reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InputView {
    /// Files.
    pub files: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
}

/// What a job made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputView {
    /// Where: a `file:///` or `store://` URL, or `/v1/jobs/{id}/output` of this coordinator.
    pub url: String,
    /// Bytes of text.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Parts.
    pub parts: u32,
}

/// A page of jobs, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Give it as `cursor` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for the stage before it.
    Blocked,
    /// Waits for a worker or for a retry.
    Queued,
    /// Granted to a worker.
    Running,
    /// Won.
    Won,
    /// Failed for good, in a job that goes on with the others.
    Failed,
}

/// A task, as `GET /v1/jobs/{id}/tasks` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// Its name.
    pub task: TaskName,
    /// Where it is in its life.
    pub state: TaskState,
    /// Name of the worker that runs it or won it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The attempt that runs or won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// Name of the worker that runs a backup attempt of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// What the user code of the running attempt said last that it is doing (`reporter:status:`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Failures of user code so far.
    pub failures: u32,
    /// Workers that died under it so far.
    pub losses: u32,
}

/// A page of tasks, in task order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TasksPage {
    /// The tasks.
    pub tasks: Vec<TaskView>,
    /// Give it as `cursor` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Answer of `POST /v1/jobs/{id}/replay?task=`: what it takes to run a task once more elsewhere, of which its job learns nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplayView {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskName,
    /// Token that reads what the task's attempts read, and can do nothing else.
    pub token: String,
    /// The executable that runs the step, of a native program that is pinned to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Digest>,
}

/// Why a job or a task is where it is: sentences for people, the most important first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The sentences.
    pub lines: Vec<String>,
}

/// One line of a job's history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventView {
    /// Number in the journal.
    pub seq: u64,
    /// When it was written.
    pub at: String,
    /// What happened, in one word: `granted`, `won`, `failed`, `lost`, `adopted`, …
    pub kind: String,
    /// The whole entry.
    pub entry: serde_json::Value,
}

/// A page of a job's history, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventsPage {
    /// The events.
    pub events: Vec<EventView>,
    /// Give it as `cursor` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A worker, as `GET /v1/workers` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// `live`, `draining`, `silent` (its lease ran out), `quarantined` or `on probation`.
    pub state: String,
    /// Why it is quarantined or on probation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Attempts it runs at a time.
    pub slots: u32,
    /// Attempts it holds.
    pub running: u32,
    /// Milliseconds since its last poll.
    pub last_poll_ms: u64,
    /// Version of its program.
    pub version: String,
    /// Programs compiled in.
    pub programs: Vec<String>,
    /// Directories from which it may read inputs.
    pub roots: Vec<String>,
    /// Why it takes no work now: its disk is nearly full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_room: Option<String>,
}

/// All workers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkersPage {
    /// The workers, by name.
    pub workers: Vec<WorkerView>,
}

/// A file in the coordinator's store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredFile {
    /// `store://…`
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<String>,
}

/// A bundle in the coordinator's store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredBundle {
    /// Hash of its content, and its name.
    pub sha256: Digest,
    /// Its size.
    pub bytes: u64,
}

/// Answer of `GET /v1/about`: enough for a client to know whom it talks to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Version of the coordinator.
    pub version: String,
    /// The cluster.
    pub cluster: uuid::Uuid,
    /// Counter of its epoch.
    pub epoch: u64,
    /// Directories from which the coordinator may read inputs and write outputs.
    pub roots: Vec<String>,
}
