//! What every answer has in common: problems as `application/problem+json`, whatever it was that refused.

use axum::Json;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use gristmill_common::{Code, Problem};
use gristmill_storage::StorageError;

/// How a handler says no.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: Problem,
    /// Size of what a range was asked of, for 416.
    size: Option<u64>,
}

/// What handlers return.
pub(super) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// Says that a range is not in something of this size.
    pub(super) fn range(size: u64) -> Self {
        let problem = Problem::new(Code::Range, format!("the range is not in the {size} bytes that there are"));
        Self { problem, size: Some(size) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, size: None }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        error.problem().into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { problem, size } = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = ?problem.code, detail = problem.detail.escape_debug().to_string(), "refused");
        }
        let code = problem.code;
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match code {
            Code::Unavailable => headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1")),
            Code::StorageFull => headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10")),
            Code::Unauthorized => headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            _ => None,
        };
        if let Some(value) = size.and_then(|size| HeaderValue::from_str(&format!("bytes */{size}")).ok()) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        response
    }
}

/// Answers what no route is for.
pub(super) async fn no_such_route(uri: Uri) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no route {}", uri.path()))
}

/// Answers a method that a route does not have. The status is the one HTTP has for it, which no code stands for.
pub(super) async fn no_such_method(method: Method, route: Option<MatchedPath>) -> Refusal {
    let path = route.as_ref().map_or("the route", MatchedPath::as_str);
    let taken = super::routes::methods_of(path).join(" and ");
    let mut problem = Problem::new(Code::Invalid, format!("{path} does not take {method}, but {taken}"));
    problem.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
    problem.into()
}

/// Answers when a handler panicked: the request is lost, the coordinator goes on.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer wants")]
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    Refusal::new(Code::Internal, "the coordinator failed at this request; its log says where").into_response()
}
