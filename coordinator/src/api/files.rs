//! Users' files in the coordinator's store: `store://…`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use gristmill_common::api::StoredFile;
use gristmill_common::{Code, limits};
use gristmill_storage::{ObjectFacts, StorageError, StorePath};
use serde::{Deserialize, Serialize};

use super::App;
use super::answer::{Answer, Refusal};
use super::ask::{Asked, Nothing, Segment};
use super::body::Upload;
use super::jobs::rfc3339;
use super::ranged::Slice;

/// `?prefix=` of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefix {
    #[serde(default)]
    prefix: String,
}

/// A list of files.
#[derive(Serialize)]
pub(super) struct Files {
    files: Vec<StoredFile>,
}

/// How many files were deleted.
#[derive(Serialize)]
pub(super) struct Removed {
    removed: u64,
}

pub(super) async fn list(State(app): State<App>, Asked(asked): Asked<Prefix>) -> Answer<Json<Files>> {
    let found = app.store.files().list(&asked.prefix, limits::INPUT_FILES).await?;
    Ok(Json(Files { files: found.into_iter().map(stored).collect() }))
}

pub(super) async fn write(
    State(app): State<App>,
    Segment(path): Segment,
    Asked(Nothing {}): Asked<Nothing>,
    Upload(body): Upload,
) -> Answer<(StatusCode, Json<StoredFile>)> {
    let path = StorePath::parse(&path)?;
    let facts = app.store.put_file(&path, body.into_data_stream()).await.map_err(|error| error.problem())?;
    Ok((StatusCode::CREATED, Json(stored(facts))))
}

pub(super) async fn read(State(app): State<App>, Segment(path): Segment, headers: HeaderMap) -> Answer<Response> {
    let path = StorePath::parse(&path)?;
    let facts = app.store.files().head(&path).await?;
    let slice = Slice::of(&headers, facts.bytes)?;
    // Of the version whose size was seen, so that what is sent has the length that is announced.
    let body = if slice.bytes.is_empty() {
        Body::empty()
    } else {
        let (_, stream) = app.store.files().open(&path, Some(slice.bytes.clone()), Some(&facts.version)).await?;
        Body::from_stream(stream)
    };
    Ok(slice.answer("application/octet-stream", body))
}

pub(super) async fn remove(
    State(app): State<App>,
    Segment(path): Segment,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer<StatusCode> {
    app.store.files().delete(&StorePath::parse(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes all files whose path starts with a prefix, which must end in `/`: a typing error costs one directory at most.
pub(super) async fn remove_all(State(app): State<App>, Asked(asked): Asked<Prefix>) -> Answer<Json<Removed>> {
    let directory = asked.prefix.strip_suffix('/').unwrap_or_default();
    StorePath::parse(directory).map_err(|_| {
        Refusal::new(Code::Invalid, "`prefix` must name a directory and end in `/`, such as `?prefix=uploads/old/`")
    })?;
    let mut removed = 0;
    for facts in app.store.files().list(&asked.prefix, limits::INPUT_FILES).await? {
        match app.store.files().delete(&facts.path).await {
            Ok(()) => removed += 1,
            // Somebody else deleted it meanwhile.
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(Removed { removed }))
}

fn stored(facts: ObjectFacts) -> StoredFile {
    let modified_at = Some(rfc3339(u64::try_from(facts.modified_ms).unwrap_or_default()));
    StoredFile { url: facts.path.url(), bytes: facts.bytes, modified_at }
}
