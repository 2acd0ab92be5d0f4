//! Errors on the wire: RFC 9457 problem details with a short closed set of codes. The text is not API, the code is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of problem, and so what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is wrong; `pointer` says where.
    Invalid,
    /// No token, or one that is not known.
    Unauthorized,
    /// The token may not do this, or the Host or Origin is not allowed.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It clashes with what is there: an existing output, a reused idempotency key, a state that does not allow it.
    Conflict,
    /// The caller's view is out of date: another epoch, cluster, session or protocol.
    Stale,
    /// The body is larger than the route takes.
    TooLarge,
    /// The range asked for is not in the content.
    Range,
    /// What is asked for exists as an idea but is not built or not compiled in.
    Unsupported,
    /// Too many requests, or the coordinator is stopping; try again after `Retry-After`.
    Unavailable,
    /// The coordinator's store has no room.
    StorageFull,
    /// A fault of the coordinator.
    Internal,
}

impl Code {
    /// Returns the HTTP status that goes with the code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Stale => 412,
            Self::TooLarge => 413,
            Self::Range => 416,
            Self::Unsupported => 501,
            Self::Unavailable => 503,
            Self::StorageFull => 507,
            Self::Internal => 500,
        }
    }

    /// Returns a short title for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "invalid request",
            Self::Unauthorized => "no valid token",
            Self::Forbidden => "not allowed",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Stale => "out of date",
            Self::TooLarge => "too large",
            Self::Range => "range not satisfiable",
            Self::Unsupported => "not supported",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage full",
            Self::Internal => "internal error",
        }
    }
}

/// A refusal, as it travels (`application/problem+json`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub struct Problem {
    /// The code.
    pub code: Code,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What, where, why, and what to do next.
    pub detail: String,
    /// JSON pointer (RFC 6901) to the wrong part of the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

impl Problem {
    /// Makes a problem of this code.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, title: code.title().to_owned(), status: code.status(), detail: detail.into(), pointer: None }
    }

    /// Makes an `invalid` problem about the place that the pointer names.
    #[must_use]
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(Code::Invalid, detail) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)?;
        match self.pointer.as_deref() {
            Some("") => write!(f, " (at the top)"),
            Some(pointer) => write!(f, " (at {pointer})"),
            None => Ok(()),
        }
    }
}
