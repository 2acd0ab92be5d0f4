//! The text of a job's output, as a stream: all parts one after the other, merged by key, or one part.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use gristmill_common::api::JobState;
use gristmill_common::{Code, Problem};
use serde::Deserialize;

use super::App;
use super::answer::{Answer, Refusal};
use super::ask::{Asked, Nothing, Segment, TwoSegments};
use super::jobs::{resolve, view};
use super::ranged::{self, Slice};
use crate::render::{self, Rendered, Wanted};

/// `?merge=key`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputQuery {
    merge: Option<Merge>,
}

/// How parts become one text.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Merge {
    /// In the order of their records' keys.
    Key,
}

pub(super) async fn whole(
    State(app): State<App>,
    Segment(id): Segment,
    Asked(OutputQuery { merge }): Asked<OutputQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let wanted = merge.map_or(Wanted::Concatenated, |Merge::Key| Wanted::Merged);
    answer(&app, id, wanted, &headers).await
}

pub(super) async fn part(
    State(app): State<App>,
    TwoSegments(id, part): TwoSegments,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
) -> Answer<Response> {
    let number = part.strip_prefix("part-").unwrap_or(&part);
    let index = number.parse().map_err(|_| Refusal::new(Code::NotFound, "parts are numbered from 0"))?;
    answer(&app, id, Wanted::Part(index), &headers).await
}

async fn answer(app: &App, id: String, wanted: Wanted, headers: &HeaderMap) -> Answer<Response> {
    let job = resolve(app, id).await?;
    let view = view(app, job).await?;
    if view.state != JobState::Succeeded {
        let detail = format!("job {job} is {}: only a job that succeeded has an output", view.state.word());
        return Err(Refusal::new(Code::Conflict, detail));
    }
    if let Some(url) = view.spec.output.url {
        return Err(Problem::new(Code::Conflict, format!("the output of job {job} is at {url}: read it there")).into());
    }
    let range = ranged::asked(headers);
    Ok(text(render::output(&app.store, job, wanted, range).await?, range.is_some()))
}

/// Sends rendered text.
pub(super) fn text(rendered: Rendered, partial: bool) -> Response {
    let Rendered { total_bytes, range, body } = rendered;
    Slice::rendered(range, total_bytes, partial).answer("text/plain; charset=utf-8", Body::from_stream(body))
}
