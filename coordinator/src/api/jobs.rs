//! Jobs: submit, list, show, cancel, remove, and why they are where they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use gristmill_common::api::{
    EventView, EventsPage, Explanation, JobState, JobView, JobsPage, ReplayView, TaskState, TasksPage,
};
use gristmill_common::{Code, Digest, JobId, JobSpec, Problem, Stage, TaskName, limits};
use serde::Deserialize;

use super::answer::{Answer, Refusal};
use super::ask::{Asked, Nothing, Segment, Waiting, idempotency_key, page_items};
use super::body::JsonBytes;
use super::{App, bundles};
use crate::commit::target;
use crate::fresh;
use crate::journal::Row;
use crate::scheduler::{Command, Idempotency, JobFilter, Reply, TaskFilter, story};

/// Rows of a job's history that are read for one task's story.
const STORY_ROWS: usize = 10_000;

/// `GET /v1/jobs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    state: Option<JobState>,
    name: Option<String>,
}

/// `GET /v1/jobs/{id}/tasks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TasksQuery {
    step: Option<u16>,
    stage: Option<Stage>,
    state: Option<TaskState>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /v1/jobs/{id}/events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    limit: Option<usize>,
    cursor: Option<u64>,
}

/// `GET /v1/jobs/{id}/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    task: Option<String>,
}

/// `POST /v1/jobs/{id}/replay`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayQuery {
    task: String,
}

pub(super) async fn submit(
    State(app): State<App>,
    Asked(waiting): Asked<Waiting>,
    headers: HeaderMap,
    JsonBytes(body): JsonBytes,
) -> Answer<(StatusCode, Json<JobView>)> {
    let wait = waiting.time()?;
    let idempotency = idempotency_key(&headers)?.map(|key| Idempotency { key, body: Digest::of(&body) });
    let mut spec = Box::new(JobSpec::from_json(&body)?);
    app.store.check_room("a new job")?;
    if let Some(url) = spec.output.url.take() {
        spec.output.url = Some(canonical(&app, url).await?);
    }
    bundles::check(&app.store, &spec).await?;
    let fresh = fresh::job();
    let planning = app.driver.refusals().expect(fresh);
    let Reply::Submitted { job, existing } =
        app.driver.command(Command::SubmitJob { job: fresh, spec, idempotency }).await?
    else {
        return Err(Refusal::new(Code::Internal, "a submit was answered with something else"));
    };
    // Long enough for simple mistakes to be answered as such.
    wait_until(&app, job, Duration::from_millis(limits::SUBMIT_WAIT_MS), |state| state != JobState::Planning).await?;
    if let Some(problem) = planning.problem() {
        return Err(problem.into());
    }
    let view = wait_until(&app, job, wait, JobState::is_over).await?;
    let status = if existing { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(view)))
}

/// Writes an output's URL so that one place is reserved under one text.
async fn canonical(app: &App, url: String) -> Result<String, Problem> {
    let roots = Arc::clone(&app.roots);
    let canonical = tokio::task::spawn_blocking(move || target::canonical(&url, &roots)).await;
    canonical.map_err(|error| Problem::new(Code::Internal, format!("resolving the output: {error}")))
}

pub(super) async fn list(State(app): State<App>, Asked(asked): Asked<JobsQuery>) -> Answer<Json<JobsPage>> {
    let JobsQuery { limit, cursor, state, name } = asked;
    let limit = page_items(limit)?;
    let filter = JobFilter { state, name };
    let page = app.driver.query(move |scheduler, now| scheduler.jobs(&filter, cursor.as_deref(), limit, now));
    Ok(Json(page.await??))
}

pub(super) async fn show(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(waiting): Asked<Waiting>,
) -> Answer<Json<JobView>> {
    let wait = waiting.time()?;
    let job = resolve(&app, id).await?;
    Ok(Json(wait_until(&app, job, wait, JobState::is_over).await?))
}

pub(super) async fn cancel(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<Json<JobView>> {
    let job = resolve(&app, id).await?;
    app.driver.command(Command::CancelJob { job }).await?;
    Ok(Json(view(&app, job).await?))
}

pub(super) async fn retry(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<Json<JobView>> {
    let job = resolve(&app, id).await?;
    if let Some(spec) = app.driver.query(move |scheduler, _| scheduler.spec(job)).await? {
        // Of a job that was retained they are there; one that is refused below need not have them.
        let _ = bundles::check(&app.store, &spec).await;
    }
    app.driver.command(Command::RetryJob { job }).await?;
    Ok(Json(view(&app, job).await?))
}

pub(super) async fn replay(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(ReplayQuery { task }): Asked<ReplayQuery>,
) -> Answer<Json<ReplayView>> {
    let task: TaskName = task.parse().map_err(|error| Problem::new(Code::Invalid, format!("{error}")))?;
    let job = resolve(&app, id).await?;
    Ok(Json(app.driver.query(move |scheduler, _| scheduler.replay(job, task)).await??))
}

pub(super) async fn remove(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<StatusCode> {
    let job = resolve(&app, id).await?;
    app.driver.command(Command::RemoveJob { job }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn tasks(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(asked): Asked<TasksQuery>,
) -> Answer<Json<TasksPage>> {
    let TasksQuery { step, stage, state, limit, cursor } = asked;
    let limit = page_items(limit)?;
    let filter = TaskFilter { step, stage, state };
    let job = resolve(&app, id).await?;
    let page = app.driver.query(move |scheduler, _| scheduler.tasks(job, filter, cursor.as_deref(), limit));
    Ok(Json(page.await??))
}

pub(super) async fn explain(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(ExplainQuery { task }): Asked<ExplainQuery>,
) -> Answer<Json<Explanation>> {
    let task = task.map(|task| task.parse::<TaskName>()).transpose();
    let task = task.map_err(|error| Problem::new(Code::Invalid, error.to_string()))?;
    let job = resolve(&app, id).await?;
    let mut lines = app.driver.query(move |scheduler, _| scheduler.explain(job, task)).await??;
    if let Some(task) = task {
        let rows = rows(&app, job, 0, STORY_ROWS).await?;
        let entries = rows.iter().filter_map(|row| Some((row.seq, row.wall_ms, row.entry().ok()?)));
        lines.extend(story(entries, task));
        if rows.len() == STORY_ROWS {
            lines.push(format!(
                "its story is cut here: it was told from the first {STORY_ROWS} events of the job; `events` has them all"
            ));
        }
    }
    Ok(Json(Explanation { lines }))
}

pub(super) async fn events(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(EventsQuery { limit, cursor }): Asked<EventsQuery>,
) -> Answer<Json<EventsPage>> {
    let limit = page_items(limit)?;
    let job = resolve(&app, id).await?;
    let mut rows = rows(&app, job, cursor.unwrap_or(0), limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.seq.to_string());
    let events = rows.into_iter().map(event).collect::<Result<_, Problem>>()?;
    Ok(Json(EventsPage { events, next_cursor }))
}

/// Finds the job that a path names: an id, a unique prefix of one, or `last`.
pub(super) async fn resolve(app: &App, id: String) -> Result<JobId, Problem> {
    app.driver.query(move |scheduler, _| scheduler.resolve(&id)).await?
}

/// Shows a job.
pub(super) async fn view(app: &App, job: JobId) -> Result<JobView, Problem> {
    app.driver.query(move |scheduler, now| scheduler.job_view(job, now)).await?
}

/// Waits until the job's state is wanted, for at most this time or until the coordinator stops, and shows the job.
async fn wait_until(
    app: &App,
    job: JobId,
    time: Duration,
    wanted: impl Fn(JobState) -> bool,
) -> Result<JobView, Problem> {
    let over = tokio::time::sleep(time);
    tokio::pin!(over);
    loop {
        // Watched before it is looked at, so that no change falls between the two.
        let changed = app.driver.watch(job)?;
        let view = view(app, job).await?;
        if time.is_zero() || wanted(view.state) {
            return Ok(view);
        }
        tokio::select! {
            _ = changed => {}
            // Read again: the numbers have moved while the state has not.
            () = &mut over => return self::view(app, job).await,
            () = app.stop.cancelled() => return Ok(view),
        }
    }
}

async fn rows(app: &App, job: JobId, after: u64, limit: usize) -> Result<Vec<Row>, Problem> {
    let rows = app.driver.journal().rows(job, after, limit).await;
    rows.ok_or_else(|| Problem::new(Code::Unavailable, "the journal is closed: the coordinator is stopping"))
}

fn event(row: Row) -> Result<EventView, Problem> {
    let entry = serde_json::from_str(&row.body).map_err(|error| {
        Problem::new(Code::Internal, format!("row {} of the journal is not JSON: {error}", row.seq))
    })?;
    Ok(EventView { seq: row.seq, at: rfc3339(row.wall_ms), kind: row.kind, entry })
}

pub(super) fn rfc3339(wall_ms: u64) -> String {
    let millisecond = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millisecond).unwrap_or(jiff::Timestamp::MAX).to_string()
}
