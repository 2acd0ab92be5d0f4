//! Logs of attempts: handed over by the attempts themselves, read by users.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use gristmill_common::reason::bounded;
use gristmill_common::wire::LogHead;
use gristmill_common::{Code, JobId, Problem, TaskName};
use serde::{Deserialize, Serialize};

use super::App;
use super::answer::{Answer, Refusal};
use super::ask::{Asked, Nothing, Segment};
use super::body::WholeBody;
use super::guard::Grant;
use super::jobs::resolve;
use crate::store::{LogName, StoreError, blocking};

/// Says in an answer which log is its last, for `?after=`.
const CURSOR: &str = "x-log-cursor";

/// `GET /v1/jobs/{id}/logs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    task: Option<String>,
    fence: Option<u64>,
    after: Option<u64>,
}

/// First line of a log as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    worker: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// Takes the log of an attempt that runs, before its report.
pub(super) async fn write(
    State(app): State<App>,
    Grant(grant): Grant,
    Segment(index): Segment,
    Asked(Nothing {}): Asked<Nothing>,
    WholeBody(body): WholeBody,
) -> Answer<StatusCode> {
    let index: u32 = index.parse().map_err(|_| Problem::new(Code::NotFound, "the job has no such task"))?;
    if grant.fence_of(index).is_none() {
        return Err(Refusal::new(Code::Forbidden, format!("task {index} is not in the grant of this token")));
    }
    let line = body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len());
    let (head, text) = body.split_at(line);
    let head: LogHead = serde_json::from_slice(head)
        .map_err(|error| Problem::new(Code::Invalid, format!("the first line says what the log is of: {error}")))?;
    let worker = app.driver.query(move |scheduler, _| scheduler.runner(&grant, index)).await?;
    let Some(worker) = worker else {
        return Err(Refusal::new(Code::Stale, format!("the attempt at task {index} is over: drop its log")));
    };
    let (is_failed, kept) = (head.failed.is_some(), Kept { worker, failed: head.failed.map(bounded) });
    let mut log = serde_json::to_vec(&kept).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    log.extend_from_slice(text);
    let store = app.store.clone();
    let put = blocking(move || store.put_log(&grant, index, is_failed, &log));
    put.await.map_err(|error| error.problem())?;
    Ok(StatusCode::NO_CONTENT)
}

/// All attempts of a task, or the failed ones of the job.
pub(super) async fn read(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(LogsQuery { task, fence, after }): Asked<LogsQuery>,
) -> Answer<Response> {
    let task = task.map(|task| task.parse::<TaskName>()).transpose();
    let task = task.map_err(|error| Problem::new(Code::Invalid, error.to_string()))?;
    let job = resolve(&app, id).await?;
    let store = app.store.clone();
    let mut names = blocking(move || store.logs(job)).await.map_err(|error| error.problem())?;
    let last = names.last().map_or(0, |name| name.number).max(after.unwrap_or(0));
    names.retain(|name| {
        let wanted = match (task, fence) {
            (None, None) => name.failed,
            (task, fence) => {
                task.is_none_or(|task| task == name.task) && fence.is_none_or(|fence| fence == name.fence.0)
            }
        };
        wanted && after.is_none_or(|after| name.number > after)
    });
    let logs = stream::try_unfold((app.store.clone(), names.into_iter()), move |(store, mut names)| async move {
        let Some(name) = names.next() else { return Ok::<_, std::io::Error>(None) };
        let (from, of) = (store.clone(), name.clone());
        let log = blocking(move || from.log(job, &of)).await;
        Ok(Some((told(job, &name, log), (store, names))))
    });
    let mut response = Body::from_stream(logs).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // What users' programs write must never be taken for a page of ours.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CURSOR, HeaderValue::from(last));
    Ok(response)
}

/// One log under its header line.
fn told(job: JobId, name: &LogName, log: Result<Vec<u8>, StoreError>) -> Bytes {
    let LogName { task, fence, .. } = name;
    let log = match log {
        Ok(log) => log,
        // It went with its job while it was read.
        Err(error) => return format!("==> {task} attempt {} of job {job}: {error} <==\n", fence.0).into(),
    };
    let line = log.iter().position(|byte| *byte == b'\n').unwrap_or(log.len());
    let (head, text) = log.split_at(line);
    let kept = serde_json::from_slice::<Kept>(head).unwrap_or_else(|_| Kept { worker: "?".to_owned(), failed: None });
    let outcome = kept.failed.map_or_else(|| "finished".to_owned(), |why| format!("failed: {why}"));
    let header = format!("==> {task} attempt {} on {}: {outcome}", fence.0, kept.worker);
    // One header is one line, whatever a reason or a name holds.
    let mut told: String = header.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    told.push_str(" <==");
    let mut told = told.into_bytes();
    told.extend_from_slice(if text.is_empty() { b"\n" } else { text });
    if told.last() != Some(&b'\n') {
        told.push(b'\n');
    }
    told.into()
}
