//! Bundles: uploaded by users once, fetched by the workers whose jobs name them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use gristmill_common::api::StoredBundle;
use gristmill_common::program::Program;
use gristmill_common::{Code, Digest, JobSpec, Problem, limits};
use std::io::{Seek as _, SeekFrom};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::App;
use super::answer::{Answer, Refusal};
use super::ask::{Asked, Nothing, Segment};
use super::body::Upload;
use super::exchange::plan_of;
use super::guard::Grant;
use super::ranged::Slice;
use crate::store::{Store, StoreError, blocking};

pub(super) async fn write(
    State(app): State<App>,
    Segment(name): Segment,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    Upload(body): Upload,
) -> Answer<(StatusCode, Json<StoredBundle>)> {
    let sha256 = digest(&name)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limits::BUNDLE_BYTES) {
        let detail = format!("a bundle has at most {} bytes", limits::BUNDLE_BYTES);
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    let kept = app.store.put_bundle(sha256, body.into_data_stream()).await;
    let (is_new, bytes) = kept.map_err(|error| match &error {
        // What was sent is damaged, not what is kept.
        StoreError::Damaged { .. } => Problem::new(Code::Invalid, format!("{error}: nothing was kept")),
        error => error.problem(),
    })?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(StoredBundle { sha256, bytes })))
}

/// Answers GET and HEAD; either counts as a use.
pub(super) async fn read(State(app): State<App>, Segment(name): Segment, headers: HeaderMap) -> Answer<Response> {
    send(&app.store, digest(&name)?, &headers).await
}

/// Answers an attempt whose job names the bundle, and no other.
pub(super) async fn read_for_attempt(
    State(app): State<App>,
    Grant(grant): Grant,
    Segment(name): Segment,
    headers: HeaderMap,
) -> Answer<Response> {
    let sha256 = digest(&name)?;
    let plan = plan_of(&app, &grant).await?;
    if !plan.head.steps.iter().any(|step| step.program().bundles().contains(&sha256)) {
        return Err(Refusal::new(Code::Forbidden, format!("job {} does not name bundle {sha256}", grant.job)));
    }
    send(&app.store, sha256, &headers).await
}

async fn send(store: &Store, sha256: Digest, headers: &HeaderMap) -> Answer<Response> {
    let opened = {
        let store = store.clone();
        blocking(move || {
            let _ = store.use_bundle(sha256);
            store.open_bundle(sha256)
        })
    };
    let (mut file, bytes) = opened.await.map_err(|error| error.problem())?;
    let slice = Slice::of(headers, bytes)?;
    let sought = file.seek(SeekFrom::Start(slice.bytes.start));
    sought.map_err(|error| Problem::new(Code::Internal, format!("bundle {sha256}: {error}")))?;
    let rest = tokio::fs::File::from_std(file).take(slice.bytes.end - slice.bytes.start);
    Ok(slice.answer("application/octet-stream", Body::from_stream(ReaderStream::with_capacity(rest, CHUNK_BYTES))))
}

/// Bytes of one chunk of an answer.
const CHUNK_BYTES: usize = 256 << 10;

fn digest(name: &str) -> Result<Digest, Problem> {
    name.parse().map_err(|error| Problem::new(Code::Invalid, format!("a bundle is named by its SHA-256: {error}")))
}

/// Checks that every bundle of a spec is there, and that it stays.
pub(super) async fn check(store: &Store, spec: &JobSpec) -> Result<(), Problem> {
    let named: Vec<(String, Digest)> = named(spec);
    if named.is_empty() {
        return Ok(());
    }
    let store = store.clone();
    let missing =
        blocking(move || Ok::<_, StoreError>(named.into_iter().find(|(_, sha256)| !store.use_bundle(*sha256))));
    match missing.await.map_err(|error| error.problem())? {
        None => Ok(()),
        Some((pointer, sha256)) => {
            let detail =
                format!("bundle {sha256} is not here: upload it with `PUT /v1/bundles/{sha256}` and submit again");
            Err(Problem::at(pointer, detail))
        }
    }
}

/// Returns every bundle of a spec with its place there.
fn named(spec: &JobSpec) -> Vec<(String, Digest)> {
    let mut named = Vec::new();
    for (number, step) in spec.steps.iter().enumerate() {
        match step.program() {
            Program::Native(_) => {}
            Program::Command(command) => named.extend(
                command
                    .files
                    .iter()
                    .enumerate()
                    .map(|(index, file)| (format!("/steps/{number}/command/files/{index}/sha256"), file.sha256)),
            ),
            Program::Wasm(wasm) => {
                let modules = [("mapper", &wasm.mapper), ("combiner", &wasm.combiner), ("reducer", &wasm.reducer)];
                named.extend(modules.into_iter().filter_map(|(role, module)| {
                    Some((format!("/steps/{number}/wasm/{role}/module"), module.as_ref()?.module))
                }));
            }
        }
    }
    named
}
