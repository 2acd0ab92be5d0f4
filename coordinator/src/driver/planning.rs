//! Planning one job, with patience for the coordinator's own disk.

use std::sync::Arc;
use std::time::Duration;

use gristmill_common::plan::{Plan, PlanSummary};
use gristmill_common::{Code, JobId, JobSpec, Problem, limits};

use super::effects::{Surroundings, guarded};
use crate::planner;

/// Plans a job. A disk that fails is given a few tries: one bad moment must not end a job that was taken.
pub(super) async fn plan(
    job: JobId,
    spec: &JobSpec,
    surroundings: &Surroundings,
) -> Result<(Arc<Plan>, PlanSummary), Problem> {
    let mut wait_ms = limits::COMMIT_BACKOFF_MS;
    let mut tries = 1;
    loop {
        let planned = guarded(planner::plan(job, spec, &surroundings.store, &surroundings.roots)).await;
        let problem = match planned {
            Ok(Ok(planned)) => return Ok(planned),
            Ok(Err(problem)) => problem,
            Err(panic) => {
                tracing::error!(%job, panic, "the planner panicked");
                let detail = format!("the planner panicked: {panic}; this is a bug in Gristmill");
                return Err(Problem::new(Code::Internal, detail));
            }
        };
        if problem.code != Code::Internal || tries == limits::PLAN_TRIES {
            return Err(problem);
        }
        tracing::error!(%job, %problem, wait_ms, "cannot plan; it is tried again");
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        wait_ms = (wait_ms * 2).min(limits::RETRY_BACKOFF_MAX_MS);
        tries += 1;
    }
}
