//! The control half of what workers ask: the poll, and the plan, splits and outputs that a grant is about.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use gristmill_common::plan::{Plan, PlanHead, SplitInput};
use gristmill_common::wire::{
    NamedFile, OutputsAnswer, PlanAnswer, PollRequest, PollResponse, SkipsAnswer, SplitsAnswer,
};
use gristmill_common::{Code, GrantName, Problem, Stage};
use std::sync::Arc;

use super::App;
use super::answer::Answer;
use super::ask::{Asked, Nothing};
use super::body::JsonBody;
use super::guard::Grant;

pub(super) async fn poll(
    State(app): State<App>,
    JsonBody(request): JsonBody<PollRequest>,
) -> Answer<Json<PollResponse>> {
    Ok(Json(app.driver.poll(request).await?))
}

pub(super) async fn plan(
    State(app): State<App>,
    Grant(grant): Grant,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<Json<PlanAnswer>> {
    let plan = plan_of(&app, &grant).await?;
    let PlanHead { files: _, steps, progress_timeout_ms } = &plan.head;
    let head = PlanHead { files: Vec::new(), steps: steps.clone(), progress_timeout_ms: *progress_timeout_ms };
    let may_skip = app.driver.query(move |scheduler, _| scheduler.may_skip(grant.job)).await?;
    Ok(Json(PlanAnswer { head, may_skip }))
}

pub(super) async fn splits(
    State(app): State<App>,
    Grant(grant): Grant,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<Json<SplitsAnswer>> {
    if grant.stage != Stage::Map {
        return Err(Problem::new(Code::Invalid, "only maps have splits").into());
    }
    let plan = plan_of(&app, &grant).await?;
    let splits: Option<Vec<SplitInput>> = grant.tasks.iter().map(|index| plan.split(grant.step, index)).collect();
    let splits = splits.ok_or_else(|| Problem::new(Code::NotFound, "the plan has no such tasks"))?;
    let mut named = BTreeSet::new();
    for split in &splits {
        if let SplitInput::Files(pieces) = split {
            named.extend(pieces.iter().map(|piece| piece.file));
        }
    }
    let file = |index: u32| Some(NamedFile { index, file: plan.head.files.get(index as usize)?.clone() });
    let files: Option<Vec<NamedFile>> = named.into_iter().map(file).collect();
    let files = files.ok_or_else(|| Problem::new(Code::Internal, "the plan names a file that it does not have"))?;
    Ok(Json(SplitsAnswer { splits, files }))
}

pub(super) async fn skips(
    State(app): State<App>,
    Grant(grant): Grant,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<Json<SkipsAnswer>> {
    Ok(Json(app.driver.query(move |scheduler, _| scheduler.skips(&grant)).await??))
}

pub(super) async fn outputs(
    State(app): State<App>,
    Grant(grant): Grant,
    Asked(Outputs { direct }): Asked<Outputs>,
) -> Answer<Json<OutputsAnswer>> {
    let table = app.driver.query(move |scheduler, _| {
        let table = scheduler.outputs(&grant)?;
        Ok::<_, Problem>(if direct { OutputsAnswer { holders: scheduler.holders(&grant), ..table } } else { table })
    });
    Ok(Json(table.await??))
}

/// The query of `GET /v1/worker/outputs`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outputs {
    /// Whether the worker fetches from other workers.
    #[serde(default)]
    direct: bool,
}

/// Returns the plan of a grant's job, as long as the job is there.
pub(super) async fn plan_of(app: &App, grant: &GrantName) -> Result<Arc<Plan>, Problem> {
    let job = grant.job;
    let digest = app.driver.query(move |scheduler, _| scheduler.plan_summary(job).map(|plan| plan.digest)).await?;
    let digest = digest.ok_or_else(|| Problem::new(Code::NotFound, format!("job {job} is over or has no plan")))?;
    app.store.plan(job, digest).await.map_err(|error| error.problem())
}
