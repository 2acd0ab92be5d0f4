//! What the tasks of an order have in common: their grant, the plan of their job, and what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gristmill_common::plan::{PlannedStep, SplitInput};
use gristmill_common::program::Kind;
use gristmill_common::wire::{NamedFile, OutputsAnswer, PlanAnswer, SplitsAnswer};
use gristmill_common::{GrantName, Reason, TaskRange};

use crate::skip::Skips;

/// What the tasks of an order have in common.
pub(crate) struct Batch {
    pub(super) token: String,
    pub(super) grant: GrantName,
    pub(super) plan: Arc<PlanAnswer>,
    pub(super) source: Source,
    /// Of tasks that failed at a record before.
    pub(super) skips: BTreeMap<u32, Skips>,
}

/// Where tasks find what they read.
pub(super) enum Source {
    /// Of maps.
    Splits(Arc<SplitsAnswer>),
    /// Of reduces.
    Table(Arc<OutputsAnswer>),
}

impl Batch {
    pub(crate) fn progress_timeout_ms(&self) -> u64 {
        self.plan.head.progress_timeout_ms
    }

    /// Returns number and URL of the files that the tasks read.
    pub(crate) fn files(&self, tasks: TaskRange) -> Vec<(u32, String)> {
        let Source::Splits(splits) = &self.source else { return Vec::new() };
        let read: BTreeSet<u32> = tasks.iter().filter_map(|task| pieces(splits, &self.grant, task)).flatten().collect();
        let named = splits.files.iter().filter(|named| read.contains(&named.index));
        named.map(|named| (named.index, named.file.url.clone())).collect()
    }

    pub(crate) fn is_command(&self) -> bool {
        self.step().is_ok_and(|step| step.program().kind() == Kind::Command)
    }

    pub(super) fn step(&self) -> Result<&PlannedStep, Reason> {
        self.plan
            .head
            .steps
            .get(usize::from(self.grant.step))
            .ok_or_else(|| Reason::Worker { message: format!("the plan has no step {}", self.grant.step) })
    }
}

/// Returns what a map task of the grant reads.
pub(super) fn split<'a>(splits: &'a SplitsAnswer, grant: &GrantName, task: u32) -> Option<&'a SplitInput> {
    splits.splits.get(task.checked_sub(grant.tasks.first)? as usize)
}

/// Returns a file that a split names. The files are sorted: a grant may name as many as tasks.
pub(super) fn find(splits: &SplitsAnswer, index: u32) -> Result<&NamedFile, Reason> {
    let found = splits.files.binary_search_by_key(&index, |named| named.index).ok();
    found
        .and_then(|at| splits.files.get(at))
        .ok_or_else(|| Reason::Worker { message: format!("the splits do not bring file {index} of the plan") })
}

fn pieces(splits: &SplitsAnswer, grant: &GrantName, task: u32) -> Option<Vec<u32>> {
    let Some(SplitInput::Files(pieces)) = split(splits, grant, task) else { return None };
    Some(pieces.iter().map(|piece| piece.file).collect())
}
