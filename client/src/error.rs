//! Why a call failed, by what the caller can do about it.

use std::error::Error;
use std::io;

use gristmill_common::{Code, Problem};

use crate::endpoint::EndpointError;

/// Says why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator understood and said no.
    #[error("{0}")]
    Problem(Problem),
    /// The coordinator does not know the token, or there was none.
    #[error(
        "{url} refused the token: {detail}; use the join line or the token that the coordinator printed at its start"
    )]
    Unauthorized {
        /// The coordinator's address.
        url: String,
        /// What it said.
        detail: String,
    },
    /// No connection, or it broke. The call may or may not have been carried out.
    #[error("cannot reach {url}: {cause}; is the coordinator running there, and is the address right?")]
    Unreachable {
        /// The coordinator's address.
        url: String,
        /// What failed.
        cause: String,
    },
    /// Whoever answers at that address is not the coordinator whose certificate was pinned.
    #[error(
        "{url} shows another certificate than expected: {cause}; get a fresh join line from the coordinator, and if it did not change, somebody is in between"
    )]
    BadCertificate {
        /// The coordinator's address.
        url: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// The answer is not one of a coordinator.
    #[error(
        "{url} gave an answer that is not understood: {cause}; is a coordinator of about this version listening there?"
    )]
    Malformed {
        /// The coordinator's address.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// The call was not made.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl ClientError {
    /// Says whether the same call may succeed in a while.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => {
                matches!(problem.code, Code::Unavailable) || matches!(problem.status, 429 | 502 | 503 | 504)
            }
            Self::Unauthorized { .. } | Self::BadCertificate { .. } | Self::Malformed { .. } | Self::Endpoint(_) => {
                false
            }
        }
    }

    /// Returns the code of the coordinator's refusal, if it was one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            Self::Unauthorized { .. } => Some(Code::Unauthorized),
            _ => None,
        }
    }

    /// Sorts a failure of the HTTP client.
    pub(crate) fn from_http(url: &str, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        if let Some(tls) = find_tls(error) {
            return match tls {
                rustls::Error::InvalidCertificate(_) => Self::BadCertificate { url, cause: tls.to_string() },
                _ => Self::Unreachable { url, cause: format!("the TLS handshake failed: {tls}") },
            };
        }
        let cause = root_cause(error);
        // A body that breaks off counts as a decoding error there; JSON is decoded by us.
        if error.is_builder() {
            return Self::Malformed { url, cause };
        }
        Self::Unreachable {
            url,
            cause: if error.is_timeout() { "it does not answer in time".to_owned() } else { cause },
        }
    }
}

/// Finds the TLS error behind a failure. An [`io::Error`] hides what it wraps from `source()`, so it is opened by hand.
fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &'a (dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}
