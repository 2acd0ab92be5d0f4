//! What the coordinator answered about the grants at hand: asked for once, and kept as long as the next order may need it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::wire::{OutputsAnswer, PlanAnswer, SplitsAnswer, TaskSkips};
use gristmill_common::{Code, Generation, GrantName, JobId, Reason};

use super::Setback;
use crate::executor::coordinator::{Coordinator, worker_failure};
use crate::skip::Skips;

/// The answers of one executor.
pub(super) struct Answers {
    coordinator: Coordinator,
    /// Whether the table of outputs is to name workers that serve them.
    direct: bool,
    /// Of the last job.
    plan: Option<(JobId, Arc<PlanAnswer>)>,
    /// Of the last grant of maps.
    splits: Option<(String, Arc<SplitsAnswer>)>,
    /// Of the last step whose reduces ran.
    table: Option<((JobId, u16, Generation), Arc<OutputsAnswer>)>,
}

impl Answers {
    pub(super) fn new(coordinator: Coordinator, direct: bool) -> Self {
        Self { coordinator, direct, plan: None, splits: None, table: None }
    }

    /// The plan of a job if it is the last one's, which is asked for no more.
    pub(super) fn known_plan(&self, job: JobId) -> Option<Arc<PlanAnswer>> {
        self.plan.as_ref().filter(|(of, _)| *of == job).map(|(_, plan)| Arc::clone(plan))
    }

    pub(super) fn fetch_plan(&mut self, token: &str, job: JobId) -> Result<Arc<PlanAnswer>, Reason> {
        let answer = self.coordinator.call("fetch the job's plan", |client| {
            let token = token.to_owned();
            async move { client.plan(&token).await }
        })?;
        let plan = Arc::new(answer);
        self.plan = Some((job, Arc::clone(&plan)));
        Ok(plan)
    }

    /// The splits of a grant, their files in order.
    pub(super) fn splits(&mut self, token: &str) -> Result<Arc<SplitsAnswer>, Reason> {
        if let Some((_, splits)) = self.splits.as_ref().filter(|(of, _)| of == token) {
            return Ok(Arc::clone(splits));
        }
        let mut answer = self.coordinator.call("fetch the grant's splits", |client| {
            let token = token.to_owned();
            async move { client.splits(&token).await }
        })?;
        answer.files.sort_unstable_by_key(|named| named.index);
        let splits = Arc::new(answer);
        self.splits = Some((token.to_owned(), Arc::clone(&splits)));
        Ok(splits)
    }

    /// Asked for each time: the next grant may leave out more.
    pub(super) fn skips(&self, token: &str, is_rough: bool) -> Result<BTreeMap<u32, Skips>, Reason> {
        let answer = self.coordinator.call("fetch the records to leave out", |client| {
            let token = token.to_owned();
            async move { client.skips(&token).await }
        })?;
        let careful = |bad: TaskSkips| {
            let skips = Skips::careful(bad.records);
            (bad.task, if is_rough { skips.rough() } else { skips }.taking_bad())
        };
        Ok(answer.tasks.into_iter().map(careful).collect())
    }

    /// The table of map outputs of a grant of reduces, if it is the last one's and nothing made it doubtful.
    pub(super) fn known_table(&self, grant: &GrantName) -> Option<Arc<OutputsAnswer>> {
        let (of, table) = self.table.as_ref()?;
        (*of == table_of(grant)).then(|| Arc::clone(table))
    }

    pub(super) fn fetch_table(&mut self, token: &str, grant: &GrantName) -> Result<Arc<OutputsAnswer>, Setback> {
        self.table = None;
        let direct = self.direct;
        let answer = self.coordinator.try_call(|client| {
            let token = token.to_owned();
            async move { client.outputs(&token, direct).await }
        });
        let answer = answer.map_err(|error| match error.code() {
            // A map is being made again, or the attempt is no longer wanted.
            Some(Code::Stale) => Setback::NotNow,
            _ => worker_failure("fetch the table of map outputs", &error).into(),
        })?;
        let table = Arc::new(answer);
        self.table = Some((table_of(grant), Arc::clone(&table)));
        Ok(table)
    }

    /// What is known of the outputs may be what was wrong.
    pub(super) fn forget_table(&mut self) {
        self.table = None;
    }
}

/// Which table a grant of reduces reads.
fn table_of(grant: &GrantName) -> (JobId, u16, Generation) {
    (grant.job, grant.step, grant.generation)
}
