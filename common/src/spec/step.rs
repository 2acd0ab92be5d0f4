//! A step of the chain: its program and how it is run.

use serde::{Deserialize, Serialize};

use super::check::between;
use crate::absent::{is_yes, yes};
use crate::columns::Column;
use crate::digest::Digest;
use crate::limits;
use crate::order::TotalOrder;
use crate::problem::Problem;
use crate::program::{Command, Program, Wasm};

/// The ready-made program that takes an order.
pub const SORT: &str = "sort";

/// The ready-made program that finds the best lines, in one reduce task.
pub const TOP_K: &str = "top-k";

/// The ready-made program that reads two inputs, told apart by their tags.
pub const JOIN: &str = "join";
/// The tag of what is left in a join.
pub const LEFT: &str = "left";
/// The tag of what is right in a join.
pub const RIGHT: &str = "right";
/// One map stage and, unless map-only, one reduce stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Name of a program compiled into the workers, such as `word-count`. One of `native`, `command` and `wasm` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// Executables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<Command>>,
    /// WebAssembly modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<Box<Wasm>>,
    /// Arguments for a native program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Which executable may run it: a SHA-256, or `any`. Absent: the first worker that is granted a task pins its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Executable>,
    /// Reduce tasks; 4 when absent, of the ready-made `top-k` 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Whether the program's combiner is used, if it has one.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub combine: bool,
    /// Whether the step has a reduce stage; without one each map's output is a part, unsorted.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub reduce: bool,
    /// The order of all records, for the ready-made `sort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<TotalOrder>>,
    /// Columns that the program looks for in records of csv or Parquet: a job is refused when it is planned if a file lacks one.
    /// Those of an `order` are looked for anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// Whether its maps may run in the reduce tasks of the step before, where the plan finds that they can.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub fuse: bool,
}

/// Which builds of a program may run it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Executable {
    /// Only the one with this hash.
    Pinned(Digest),
    /// Every one that announces the name; outputs are only as equal as the builds.
    Any,
}

impl Serialize for Executable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pinned(digest) => serializer.collect_str(digest),
            Self::Any => serializer.serialize_str("any"),
        }
    }
}

impl<'de> Deserialize<'de> for Executable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "any" {
            return Ok(Self::Any);
        }
        text.parse().map(Self::Pinned).map_err(|_| serde::de::Error::custom("`any` or 64 hex digits are expected"))
    }
}

impl StepSpec {
    /// Makes a step of this native program with the defaults that absent fields have.
    #[must_use]
    pub fn native(name: impl Into<String>) -> Self {
        Self { native: Some(name.into()), ..Self::bare() }
    }

    /// Makes a step of these executables with the defaults that absent fields have.
    #[must_use]
    pub fn command(command: Command) -> Self {
        Self { command: Some(Box::new(command)), ..Self::bare() }
    }

    /// Makes a step of these modules with the defaults that absent fields have.
    #[must_use]
    pub fn wasm(wasm: Wasm) -> Self {
        Self { wasm: Some(Box::new(wasm)), ..Self::bare() }
    }

    fn bare() -> Self {
        Self {
            native: None,
            command: None,
            wasm: None,
            args: Vec::new(),
            executable: None,
            partitions: None,
            combine: true,
            reduce: true,
            order: None,
            columns: Vec::new(),
            fuse: true,
        }
    }

    /// Returns the program; of a step that was not checked and has none, a native one without a name.
    #[must_use]
    pub fn program(&self) -> Program<'_> {
        Program::of(self.native.as_deref(), self.command.as_deref(), self.wasm.as_deref())
    }

    /// Returns the number of reduce tasks, 0 for a map-only step.
    #[must_use]
    pub fn reduces(&self) -> u32 {
        let is_top = self.native.as_deref() == Some(TOP_K);
        let default = if is_top { 1 } else { limits::DEFAULT_PARTITIONS };
        if self.reduce { self.partitions.unwrap_or(default) } else { 0 }
    }

    pub(super) fn check(&self, at: &str) -> Result<(), Problem> {
        let kinds = [self.native.is_some(), self.command.is_some(), self.wasm.is_some()];
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            return Err(Problem::at(at, "a step has one program: `native`, `command` or `wasm`"));
        }
        match self.program() {
            Program::Native(name) => check_native(name, at)?,
            Program::Command(command) => command.check(&format!("{at}/command"))?,
            Program::Wasm(wasm) => wasm.check(&format!("{at}/wasm"))?,
        }
        if self.native.is_none() && (!self.args.is_empty() || self.executable.is_some()) {
            return Err(Problem::at(at, "`args` and `executable` are for native programs"));
        }
        between(&format!("{at}/partitions"), self.partitions, 1, limits::PARTITIONS)?;
        if let Some(order) = &self.order {
            order.check(&format!("{at}/order"))?;
            if self.native.as_deref() != Some(SORT) || !self.reduce {
                let detail = "an order is for the ready-made `sort`, with its reduce stage";
                return Err(Problem::at(format!("{at}/order"), detail));
            }
        }
        self.check_ready_made(at)?;
        if !self.reduce && self.partitions.is_some() {
            return Err(Problem::at(format!("{at}/partitions"), "a step without a reduce stage has no partitions"));
        }
        Ok(())
    }

    /// Refuses what ready-made programs could only fail at, or make a result of that is silently wrong.
    fn check_ready_made(&self, at: &str) -> Result<(), Problem> {
        if self.native.as_deref() == Some(SORT) && self.order.is_none() {
            let hint = "{} is one, by whole records; {\"key\": {\"bytes\": 10}} another";
            return Err(Problem::at(at, format!("the ready-made `sort` needs an `order`: {hint}")));
        }
        if self.native.as_deref() == Some(TOP_K) && self.partitions.is_some_and(|partitions| partitions > 1) {
            let detail =
                "the ready-made `top-k` finds the best of all lines in one reduce task: leave `partitions` out";
            return Err(Problem::at(format!("{at}/partitions"), detail));
        }
        Ok(())
    }
}

fn check_native(name: &str, at: &str) -> Result<(), Problem> {
    let most = limits::PROGRAM_NAME_BYTES;
    if name.is_empty() || name.len() > most || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        let detail = format!("a program's name is 1 to {most} of the characters A-Z a-z 0-9 - _ .");
        return Err(Problem::at(format!("{at}/native"), detail));
    }
    Ok(())
}
