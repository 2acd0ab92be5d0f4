//! What requests ask for beside their body: query parameters, path parameters, headers. Wrong ones are named.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use gristmill_common::{Code, Problem, limits};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Refusal;

/// Items of a page when nothing else is asked for.
const PAGE_DEFAULT: usize = 100;

/// The query of a request; parameters that the route does not have are refused.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let Query(query) = Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            let detail = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Refusal::new(Code::Invalid, format!("in the query: {detail}"))
        })?;
        Ok(Self(query))
    }
}

/// The one parameter in the path of a route.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(segment) = path.map_err(|error| Refusal::new(Code::Invalid, error.body_text()))?;
        Ok(Self(segment))
    }
}

/// The two parameters in the path of a route.
pub(super) struct TwoSegments(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for TwoSegments {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((first, second)) = path.map_err(|error| Refusal::new(Code::Invalid, error.body_text()))?;
        Ok(Self(first, second))
    }
}

/// A query without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `?wait=`: how long an answer may take.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    #[serde(default)]
    wait: Option<String>,
}

impl Waiting {
    /// Returns how long to wait, at most [`limits::WAIT_MAX_MS`].
    pub(super) fn time(&self) -> Result<Duration, Problem> {
        let Some(text) = &self.wait else { return Ok(Duration::ZERO) };
        let wait_ms = duration_ms(text).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            Problem::new(Code::Invalid, format!("`wait={text}`: write a time such as 500ms, 10s or 1m"))
        })?;
        Ok(Duration::from_millis(wait_ms.min(limits::WAIT_MAX_MS)))
    }
}

fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Turns `?limit=` into a number of items.
pub(super) fn page_items(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=limits::PAGE_ITEMS).contains(&limit) => Ok(limit),
        Some(limit) => {
            let detail = format!("`limit={limit}` is not allowed: 1 to {} is", limits::PAGE_ITEMS);
            Err(Problem::new(Code::Invalid, detail))
        }
    }
}

/// Returns the token of the `Authorization` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns the key under which a repeated submit finds its job.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        !text.is_empty()
            && text.len() <= limits::IDEMPOTENCY_KEY_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let detail = || format!("an `Idempotency-Key` is 1 to {} visible characters", limits::IDEMPOTENCY_KEY_BYTES);
    text.map(|text| Some(text.to_owned())).ok_or_else(|| Problem::new(Code::Invalid, detail()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_bounded() {
        let time = |text: &str| Waiting { wait: Some(text.to_owned()) }.time().map_err(|problem| problem.code);
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(time("9m"), Ok(Duration::from_millis(limits::WAIT_MAX_MS)));
        for text in ["", "s", "-1s", "1h", "1.5s", "99999999999999999999s", "99999999999999999m"] {
            assert_eq!(time(text), Err(Code::Invalid), "{text}");
        }
    }

    #[test]
    fn bearers_are_found() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(with("bearer  abc").as_deref(), Some("abc"));
        assert_eq!((with("Basic abc"), with("abc")), (None, None));
    }
}
