//! What worker and coordinator say to each other: one long poll (`POST /v1/worker/poll`) does everything.
//!
//! A poll is full state, not deltas, so that it may be lost, repeated or reordered. `seq` numbers a session's polls;
//! a repeated `seq` gets the stored answer. `seen` is the last answer the worker processed: a grant of an answer up to
//! `seen` that the worker does not run, report or return is not held and is queued again; grants of later answers are
//! sent again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::absent::is_default;
use crate::digest::Digest;
use crate::grant::GrantName;
use crate::ids::{Epoch, Fence, Generation, JobId, SessionId, Stage, WorkerId};
use crate::plan::{PartForm, PlanHead, SplitInput};
use crate::program::Kind;
use crate::range::{FenceRange, TaskRange};
use crate::reason::{Place, Reason};
use crate::shuffle::{Holder, ShuffleAddress};

/// A worker's poll.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRequest {
    /// [`crate::limits::PROTOCOL`] of the worker.
    pub protocol: u32,
    /// The worker.
    pub worker: WorkerId,
    /// This life of its process.
    pub session: SessionId,
    /// How often the worker's directory was claimed: of two sessions the one with the higher number is the living one.
    pub incarnation: u64,
    /// Number of this poll in its session, from 1.
    pub seq: u64,
    /// `seq` of the last answer that was processed; 0 for none.
    pub seen: u64,
    /// The last epoch the worker knows.
    pub epoch: Option<Epoch>,
    /// What the worker is and can do.
    pub about: WorkerAbout,
    /// Attempts it would take now beyond what it holds (idle slots and room to prefetch).
    pub free_slots: u32,
    /// Attempts it holds: running ones and prefetched ones, not the ones in `finished` or `returned`.
    pub running: Vec<Running>,
    /// Reports that are not acknowledged yet, as many as fit.
    pub finished: Vec<Report>,
    /// Attempts given back without a result: prefetched ones on a drain, ones it could not start.
    pub returned: Vec<FenceRange>,
    /// Jobs whose outputs are in the worker's directory.
    pub holds: Vec<JobId>,
    /// Whether the worker is stopping: it takes no more grants, and relays what it holds.
    pub draining: bool,
    /// Why it takes no grants now although it could, for people: its disk is nearly full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_room: Option<String>,
}

impl PollRequest {
    /// Makes what a worker says before its first poll: no number yet, nothing held, nothing to report, no free slots.
    #[must_use]
    pub fn new(worker: WorkerId, session: SessionId, about: WorkerAbout) -> Self {
        Self {
            protocol: crate::limits::PROTOCOL,
            worker,
            session,
            incarnation: 1,
            seq: 0,
            seen: 0,
            epoch: None,
            about,
            free_slots: 0,
            running: Vec::new(),
            finished: Vec::new(),
            returned: Vec::new(),
            holds: Vec::new(),
            draining: false,
            no_room: None,
        }
    }
}

/// What a worker is and can do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerAbout {
    /// A name for people: the host's name and the number of the worker's directory.
    pub name: String,
    /// Workers with the same text may read each other's files; proven by opening them.
    pub host: String,
    /// Version of the program.
    pub version: String,
    /// Attempts it runs at a time.
    pub slots: u32,
    /// Programs compiled in.
    pub programs: Vec<String>,
    /// Hash of its executable.
    pub executable: Digest,
    /// Directories from which it may read inputs, as absolute paths.
    pub roots: Vec<String>,
    /// Kinds of programs beside native ones that it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// What its operator says of it (`--label NAME=VALUE`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Memory for all its slots together, in bytes; 0 where it is not known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory_bytes: u64,
    /// Where it serves its map outputs to other workers; it fetches from those that serve theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<ShuffleAddress>,
}

/// Attempts that a worker holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Their fences.
    pub fences: FenceRange,
    /// Thousandths of the work done; absent while not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_permille: Option<u16>,
    /// What user code says it is doing; workers of protocol 3 and later tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Results of attempts of one grant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The grant's token: proves that the attempts were granted.
    pub token: String,
    /// The results.
    pub results: Vec<TaskResult>,
}

/// How attempts of a range of tasks ended; a range of more than one only where all ended alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResult {
    /// The tasks, inside the grant's.
    pub tasks: TaskRange,
    /// How they ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With an output, perhaps an empty one.
    Done(Done),
    /// With a failure.
    Failed(Reason),
}

/// A finished attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// What it made.
    pub output: Output,
    /// Records read.
    pub records_in: u64,
    /// Bytes of the sections that a reduce read, as they were shuffled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bytes_in: u64,
    /// Milliseconds that the attempt took.
    pub took_ms: u64,
    /// Counters of user code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, i64>,
    /// Records that were left out, at most [`crate::limits::SKIPS_PER_REPORT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// A record that was left out because user code cannot deal with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Where it is.
    pub at: Place,
    /// What user code did with it, or what is wrong with it.
    pub why: String,
    /// Whether the reader of the input left it out by itself, because it is not of the input's format.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by_reader: bool,
}

/// A map output or a part: a run file of the `runs` crate (one partition for a part), or a finished file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Records in it.
    pub records: u64,
    /// Bytes of the file; 0 for no output at all.
    pub bytes: u64,
    /// Bytes that the user gets of a part: of the text that a run renders to, of a finished file all; 0 for a map output.
    #[serde(default)]
    pub text_bytes: u64,
    /// XXH3-64 of the logical records of a run, in hex, or CRC-64/NVME of a finished file: equal for equal attempts
    /// whatever the block layout.
    pub digest: String,
    /// Where it is.
    pub at: Location,
    /// What kind of file a part is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub form: PartForm,
}

/// Where an output is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// Nowhere: the attempt made no record.
    #[default]
    Nothing,
    /// Here: the file in base64, at most [`crate::limits::INLINE_OUTPUT_BYTES`] before encoding.
    Inline(String),
    /// In the directory of the worker that reported it. Map outputs only.
    Worker(WorkerId),
    /// In the coordinator's store, under a name made of job, task and fence.
    Store,
}

/// The coordinator's answer to a poll.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollResponse {
    /// The coordinator's epoch; a lower or foreign one is refused by the worker.
    pub epoch: Epoch,
    /// `seq` of the poll that is answered.
    pub seq: u64,
    /// What became of reported attempts; they may be forgotten.
    pub acks: Vec<Ack>,
    /// Attempts that the worker named and may go on with; others it named in `running` are to be stopped.
    pub keep: Vec<FenceRange>,
    /// New attempts, and ones of answers the worker has not seen.
    pub grants: Vec<Grant>,
    /// Map outputs to send to the store.
    pub relay: Vec<Relay>,
    /// Jobs whose outputs may be deleted.
    pub drop: Vec<JobId>,
    /// The lease lasts this long from now, in milliseconds.
    pub lease_ms: u64,
    /// A worker that has nothing new to say polls again after this long, in milliseconds.
    pub next_poll_ms: u64,
    /// Whether the worker shall finish what it runs and stop.
    pub drain: bool,
}

impl PollResponse {
    /// Says whether the answer carries nothing that the worker waits for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.acks.is_empty() && self.grants.is_empty() && self.relay.is_empty() && self.drop.is_empty() && !self.drain
    }
}

/// What became of reported attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The attempts.
    pub fences: FenceRange,
    /// What became of them.
    pub verdict: Verdict,
}

/// What became of a report.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It won its task, or its failure was counted.
    Accepted,
    /// The same attempt was accepted before.
    Duplicate,
    /// The task was won by another attempt, was reopened, or its job is over or unknown: drop the output.
    Superseded,
    /// It contradicts what is known of the attempt, or its token is not this cluster's.
    Conflict,
}

/// A right to attempts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Names tasks and fences ([`crate::grant::name_of`]) and proves the right to them.
    pub token: String,
}

/// A map output that its holder shall put into the store (`PUT /v1/worker/output/{map}` under this token).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Names job, step, map and fence ([`crate::grant::name_of`], one task) and proves the right to write the blob.
    pub token: String,
}

/// Answer of `GET /v1/worker/plan`: what all tasks of a job share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanAnswer {
    /// The head of the plan. `files` is empty: the splits of a grant bring the files they name.
    pub head: PlanHead,
    /// Whether records may be left out, so that attempts have to ask which ones (`GET /v1/worker/skips`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub may_skip: bool,
}

/// Answer of `GET /v1/worker/skips`: what the attempts of a grant have to know of records that user code failed at.
///
/// It is asked for under each grant and never remembered: the table of map outputs outlives many of these lists.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipsAnswer {
    /// Tasks of the grant with a failure at a record, in order.
    pub tasks: Vec<TaskSkips>,
}

/// A task that failed at a record before: its attempts name records exactly, and leave these out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSkips {
    /// The task.
    pub task: u32,
    /// What is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Skipped>,
}

/// Answer of `GET /v1/worker/splits`: the inputs of the map tasks of the grant whose token was given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitsAnswer {
    /// One input for each task of the grant, in order; pieces index `files`.
    pub splits: Vec<SplitInput>,
    /// The files that the splits name, with their index in the plan.
    pub files: Vec<NamedFile>,
}

/// A file of a plan with its index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// Index in the plan; what [`crate::plan::Piece::file`] names.
    pub index: u32,
    /// The file.
    pub file: crate::plan::PinnedFile,
}

/// Answer of `GET /v1/worker/outputs`: where the map outputs of the grant's step are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputsAnswer {
    /// Generation of the table; rises when an output is lost.
    pub generation: Generation,
    /// One entry for each map, in map order; maps without output are left out.
    pub outputs: Vec<OutputRef>,
    /// Workers that serve outputs they hold; only for workers that asked (`?direct=true`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub holders: BTreeMap<WorkerId, Holder>,
}

/// One map output, for those who fetch it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputRef {
    /// The map task.
    pub map: u32,
    /// The attempt that won.
    pub fence: Fence,
    /// Bytes of the run file.
    pub bytes: u64,
    /// Where it is; inline ones bring their bytes.
    pub at: Vec<Location>,
}

/// Body of `POST /v1/worker/fetch`: one partition of several map outputs, from the coordinator's store or, on the same path,
/// from the worker that holds them.
///
/// The answer is, for each map named and in that order, the section of the run file for that partition, preceded by its
/// length as 8 bytes little-endian; a length of `u64::MAX` says that this output is not there. With `from` all lengths come
/// first, and then the sections in turns of 256 KiB: a merge of them can begin long before the end of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// The partition.
    pub partition: u32,
    /// The outputs: map task and winning attempt.
    pub outputs: Vec<(u32, Fence)>,
    /// Sections in turns, without the first so many bytes behind the lengths; one after the other without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// Query of `PUT /v1/worker/output/{index}` for a part that is a finished file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutOutput {
    /// Bytes of the file. Absent for a run file, which says itself what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// CRC-64/NVME of the file that is the body, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Whether the file lies in the store's inbox under the name that [`placed_name`] makes, instead of in the body.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placed: bool,
}

/// First line of a log that is sent (`PUT /v1/worker/log/{index}`), as JSON; what the attempt wrote follows as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogHead {
    /// Why the attempt failed, for people; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The name under which an output lies in a worker's directory or in the store: `JOB/s0-m12-a4711`.
#[must_use]
pub fn output_name(job: JobId, step: u16, stage: Stage, index: u32, fence: Fence) -> String {
    format!("{job}/s{step}-{}{index}-{fence}", stage.letter())
}

/// The name under which a worker of the same host lays a part into the inbox of the coordinator's store, from its [`output_name`].
#[must_use]
pub fn placed_name(output_name: &str) -> String {
    output_name.replace('/', "-")
}

/// As [`output_name`], for a task of a grant; `None` if the task is not in it.
#[must_use]
pub fn output_name_in(grant: &GrantName, index: u32) -> Option<String> {
    Some(output_name(grant.job, grant.step, grant.stage, index, grant.fence_of(index)?))
}
