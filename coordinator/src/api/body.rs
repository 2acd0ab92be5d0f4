//! Bodies of requests: JSON read whole under a limit, and uploads as streams.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use gristmill_common::{Code, Problem, limits};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::answer::Refusal;
use super::routes::BodyLimit;

/// The bytes of a JSON body: its content type is right and it keeps the route's limit.
pub(super) struct JsonBytes(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        check_type(&request)?;
        read_whole(request).await.map(Self)
    }
}

/// A body of any type, read whole under the route's limit.
pub(super) struct WholeBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read_whole(request).await.map(Self)
    }
}

async fn read_whole(request: Request) -> Result<Bytes, Refusal> {
    let BodyLimit(limit) = request.extensions().get::<BodyLimit>().copied().unwrap_or_default();
    let read = Limited::new(request.into_body(), limit).collect();
    let time = Duration::from_millis(limits::BODY_READ_MS);
    match tokio::time::timeout(time, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            Code::TooLarge,
            format!("the body is larger than the {limit} bytes that this route takes"),
        )),
        Ok(Err(error)) => Err(Refusal::new(Code::Invalid, format!("the body could not be read: {error}"))),
        Err(_) => Err(Refusal::new(Code::Invalid, format!("the body did not come within {} ms", limits::BODY_READ_MS))),
    }
}

/// A JSON body that is a `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        // serde_json itself refuses more than 128 levels.
        let value = serde_json::from_slice(&bytes).map_err(|error| Problem::new(Code::Invalid, error.to_string()))?;
        Ok(Self(value))
    }
}

/// A body of any size and type, as it comes.
pub(super) struct Upload(pub(super) Body);

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limits::UPLOAD_BYTES) {
            let detail = format!("a file in the store has at most {} bytes", limits::UPLOAD_BYTES);
            return Err(Refusal::new(Code::TooLarge, detail));
        }
        Ok(Self(request.into_body()))
    }
}

/// A form or an image of a page can send other types across origins without asking; JSON it cannot.
fn check_type(request: &Request) -> Result<(), Problem> {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let mut problem = Problem::new(Code::Invalid, "send the body with `Content-Type: application/json`");
    problem.status = 415;
    Err(problem)
}
