//! The words, types and limits that every part of Gristmill shares. No I/O, no clock, no randomness.
//!
//! # Words
//!
//! One meaning each, in code, URLs, metrics and pages:
//!
//! | word | meaning |
//! |---|---|
//! | job | what a user submits: inputs, a chain of steps, an output |
//! | step | one map stage and, unless the step is map-only, one reduce stage |
//! | stage | the map half or the reduce half of a step |
//! | task | one unit of a stage: a split to map or a partition to reduce |
//! | attempt | one try of a task, named by its fence |
//! | fence | a cluster-wide number that is never used twice; names an attempt |
//! | split | the input of a map task: one or more byte ranges, or a count of generated records |
//! | partition | the share of the keys that one reduce task handles |
//! | run | one sorted piece of records in the block format of the `runs` crate |
//! | part | the output of one task of a stage nobody shuffles: a reduce's, or a map-only step's |
//! | spill | a run written because the sort budget was used up |
//! | slot | room for one attempt on a worker |
//! | grant | a range of tasks given to a worker in one poll, with their fences and one token |
//! | lease | a worker's right to its attempts, renewed by every poll |
//! | generation | how often the map outputs of a step were invalidated |
//! | poll, report | the worker's one request; the result of an attempt inside it |
//! | win | the first valid report of an open task |
//! | commit | the output becomes visible under its final name |
//! | entry | one durable fact in the journal |
//! | record | one key/value of data; one line of a text input |
//! | program | user code |
//! | counter | a number that user code adds to, summed over won attempts |

mod absent;
pub mod api;
pub mod columns;
pub mod command_line;
pub mod csv;
pub mod digest;
pub mod fields;
pub mod format;
pub mod grant;
pub mod ids;
pub mod limits;
pub mod order;
pub mod output;
pub mod plan;
pub mod problem;
pub mod program;
pub mod quantity;
pub mod range;
pub mod reason;
pub mod shuffle;
pub mod spec;
pub mod wire;

pub use command_line::{Backslash, split_command_line};
pub use digest::Digest;
pub use grant::{GrantName, TokenSecret};
pub use ids::{Epoch, Fence, Generation, JobId, SessionId, Stage, TaskName, WorkerId};
pub use problem::{Code, Problem};
pub use range::{FenceRange, TaskRange};
pub use reason::{Place, Reason};
pub use spec::JobSpec;
