//! The data half of what workers ask: inputs and outputs that lie with the coordinator. Opened by the token of a grant,
//! and by it only for the job that it names.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gristmill_common::wire::{FetchRequest, PutOutput, output_name, output_name_in};
use gristmill_common::{Code, GrantName, Problem, Stage, limits};
use gristmill_runs::Checksum;
use gristmill_storage::Location;

use super::answer::{Answer, Refusal};
use super::ask::{Asked, Nothing, Segment};
use super::body::{JsonBody, Upload};
use super::exchange::plan_of;
use super::guard::Grant;
use super::ranged::{self, Slice};
use super::{App, output};
use crate::render::{self, PartSource, RenderError};
use crate::scheduler::Command;
use crate::store::{StoreError, blocking};

/// One input file of the plan, if it lies in the store.
pub(super) async fn input(
    State(app): State<App>,
    Grant(grant): Grant,
    Segment(file): Segment,
    headers: HeaderMap,
) -> Answer<Response> {
    let index: usize = file.parse().map_err(|_| no_such("input"))?;
    let plan = plan_of(&app, &grant).await?;
    let pinned = plan.head.files.get(index).ok_or_else(|| no_such("input"))?;
    let path = Location::parse_store(&pinned.url)?;
    let slice = Slice::of(&headers, pinned.bytes)?;
    if slice.bytes.is_empty() {
        return Ok(slice.answer("application/octet-stream", Body::empty()));
    }
    let opened = app.store.files().open(&path, Some(slice.bytes.clone()), Some(&pinned.version)).await;
    let (_, stream) = opened.map_err(|error| changed(&error))?;
    Ok(slice.answer("application/octet-stream", Body::from_stream(stream)))
}

/// A file that is gone or another one is no longer what was planned: that is the job's failure, not a missing route.
fn changed(error: &gristmill_storage::StorageError) -> Problem {
    use gristmill_storage::StorageError::{InputChanged, NotFound};
    match error {
        InputChanged { .. } | NotFound { .. } => Problem::new(Code::Stale, format!("the input changed: {error}")),
        _ => error.problem(),
    }
}

fn no_such(what: &str) -> Problem {
    Problem::new(Code::NotFound, format!("the job has no such {what}"))
}

/// The text of one part of the step before: what a map of a later step reads.
pub(super) async fn part(
    State(app): State<App>,
    Grant(grant): Grant,
    Segment(part): Segment,
    headers: HeaderMap,
) -> Answer<Response> {
    let index: u32 = part.parse().map_err(|_| no_such("part"))?;
    let step = grant.step.checked_sub(1).filter(|_| grant.stage == Stage::Map).ok_or_else(|| no_such("part"))?;
    let job = grant.job;
    let found = app.driver.query(move |scheduler, _| {
        let stage =
            if scheduler.spec(job)?.steps.get(usize::from(step))?.reduces() > 0 { Stage::Reduce } else { Stage::Map };
        Some((stage, scheduler.part(job, step, index)))
    });
    let (stage, part) = found.await?.ok_or_else(|| no_such("part"))?;
    let Some((fence, output)) = part else {
        return Err(Refusal::new(Code::Stale, format!("part {index} is not made, or is being made again")));
    };
    let range = ranged::asked(&headers);
    let source = PartSource::new(job, step, stage, index, fence, output);
    let (store, looked_at, is_whole) = (app.store.clone(), source.clone(), range.is_none());
    // All of it where all is wanted: damage in the middle would otherwise only break the answer off, again and again.
    let found = blocking(move || if is_whole { looked_at.verify(&store) } else { looked_at.open(&store).map(drop) });
    if let Err(error) = found.await {
        if matches!(error, RenderError::Part { .. }) {
            let lost = Command::LoseParts { job, step, parts: vec![(index, fence)], why: error.to_string() };
            app.driver.command(lost).await?;
            return Err(Refusal::new(Code::Stale, format!("{error}; it is made again")));
        }
        return Err(error.problem().into());
    }
    Ok(output::text(render::part(&app.store, source, range).await?, range.is_some()))
}

/// One partition of several map outputs, in the framing that [`FetchRequest`] describes.
pub(super) async fn fetch(
    State(app): State<App>,
    Grant(grant): Grant,
    Asked(Nothing {}): Asked<Nothing>,
    JsonBody(request): JsonBody<FetchRequest>,
) -> Answer<Response> {
    if grant.stage != Stage::Reduce {
        return Err(Refusal::new(Code::Invalid, "only reduces fetch map outputs"));
    }
    if request.outputs.len() > limits::OUTPUTS_PER_FETCH {
        let detail = format!("at most {} outputs may be named in one fetch", limits::OUTPUTS_PER_FETCH);
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    let GrantName { job, step, .. } = grant;
    let made = app.driver.query(move |scheduler, _| scheduler.feeding(job, step)).await?;
    let (from, stage) = made.ok_or_else(|| no_such("map output"))?;
    let FetchRequest { partition, outputs, from: at } = request;
    let count = outputs.len();
    let store = app.store.clone();
    // An output that is not there or not whole is left out, and reported as lost by who asked.
    let open = move |number: usize| {
        let &(map, fence) = outputs.get(number)?;
        let name = output_name(job, from, stage, map, fence);
        store.open_output(&name).inspect_err(|error| tracing::warn!(%error, "asked for a map output")).ok()
    };
    let mut response = Body::from_stream(gristmill_listen::frames(partition, count, at, open)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Puts what was sent, or laid into the inbox, into the store.
async fn take(app: &App, name: &str, about: PutOutput, body: Body) -> Answer<Result<(), StoreError>> {
    let PutOutput { checksum, placed, bytes } = about;
    Ok(match (checksum, bytes, placed) {
        (None, None, false) => app.store.put_output(name, body.into_data_stream()).await.map(drop),
        (None, Some(bytes), true) => app.store.take_laid(name, bytes).await,
        (Some(crc), Some(bytes), false) => {
            let crc = u64::from_str_radix(&crc, 16);
            let crc = crc.map_err(|_| Refusal::new(Code::Invalid, "`checksum` is 16 hex digits"))?;
            app.store.put_finished(name, Checksum::new(crc, bytes), body.into_data_stream()).await
        }
        _ => {
            let detail = "a finished file comes with `checksum` and `bytes`, or with `placed` and `bytes`";
            return Err(Refusal::new(Code::Invalid, detail));
        }
    })
}

/// Takes the output of an attempt: a part, or a map output on its way to other hosts.
pub(super) async fn store_output(
    State(app): State<App>,
    Grant(grant): Grant,
    Segment(index): Segment,
    Asked(about): Asked<PutOutput>,
    Upload(body): Upload,
) -> Answer<StatusCode> {
    let index: u32 = index.parse().map_err(|_| no_such("task"))?;
    let (Some(name), Some(fence)) = (output_name_in(&grant, index), grant.fence_of(index)) else {
        return Err(Refusal::new(Code::Forbidden, format!("task {index} is not in the grant of this token")));
    };
    let wanted = app.driver.query(move |scheduler, _| scheduler.is_granted(&grant, index)).await?;
    if !wanted {
        let detail = format!("the attempt {fence} at task {index} is over: drop its output");
        return Err(Refusal::new(Code::Stale, detail));
    }
    let GrantName { job, step, .. } = grant;
    if let Err(error) = take(&app, &name, about, body).await? {
        let problem = match &error {
            // What was sent is damaged, not what is kept.
            StoreError::Damaged { .. } => Problem::new(Code::Invalid, error.to_string()),
            error => error.problem(),
        };
        if grant.stage == Stage::Map && problem.code == Code::StorageFull {
            let past_quota = matches!(error, StoreError::Quota { .. });
            let why = error.to_string();
            // The worker is told in any case; this is for whoever waits for the job.
            let _ = app.driver.command(Command::RefuseOutput { job, step, map: index, fence, why, past_quota }).await;
        }
        return Err(problem.into());
    }
    if grant.stage == Stage::Map {
        app.driver.command(Command::StoreOutput { job, step, map: index, fence }).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
