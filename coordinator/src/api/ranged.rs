//! `Range` (RFC 9110, section 14): one range of bytes of something whose size is known.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gristmill_storage::ByteRange;

use super::answer::{Answer, Refusal};

/// Reads the `Range` header.
///
/// Other forms than `bytes=a-b`, `bytes=a-` and `bytes=-n` are answered whole, as HTTP allows. So is a range under a
/// condition (`If-Range`), since what we send has no validator that could match.
pub(super) fn asked(headers: &HeaderMap) -> Option<ByteRange> {
    let value = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE))?;
    ByteRange::parse(value.to_str().ok()?)
}

/// Which bytes to send of something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Slice {
    /// The bytes.
    pub(super) bytes: Range<u64>,
    size: u64,
    partial: bool,
}

impl Slice {
    /// Reads the headers of a request for something of this size.
    pub(super) fn of(headers: &HeaderMap, size: u64) -> Answer<Self> {
        let Some(range) = asked(headers) else { return Ok(Self { bytes: 0..size, size, partial: false }) };
        let bytes = range.of(size).ok_or_else(|| Refusal::range(size))?;
        Ok(Self { bytes, size, partial: true })
    }

    /// Says which bytes of a text were rendered.
    pub(super) fn rendered(bytes: Range<u64>, size: u64, partial: bool) -> Self {
        Self { bytes, size, partial }
    }

    /// Makes the answer with these bytes.
    pub(super) fn answer(&self, content_type: &'static str, body: Body) -> Response {
        let length = self.bytes.end - self.bytes.start;
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // What users' data says must never be taken for a page of ours.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.partial {
            let text = format!("bytes {}-{}/{}", self.bytes.start, self.bytes.end.saturating_sub(1), self.size);
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(header::CONTENT_RANGE, value);
            }
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(range: &str, size: u64) -> Result<(Range<u64>, bool), ()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range).expect("a header"));
        Slice::of(&headers, size).map(|slice| (slice.bytes, slice.partial)).map_err(drop)
    }

    #[test]
    fn three_forms_are_understood_and_others_are_answered_whole() {
        assert_eq!(slice("bytes=2-4", 10), Ok((2..5, true)));
        assert_eq!(slice("bytes=2-", 10), Ok((2..10, true)));
        assert_eq!(slice("bytes=-3", 10), Ok((7..10, true)));
        assert_eq!(slice("bytes=8-99", 10), Ok((8..10, true)));
        assert_eq!(slice("bytes=-99", 10), Ok((0..10, true)));
        for whole in ["bytes=1-2,4-5", "lines=1-2", "bytes=5-2", "bytes=a-b", "bytes", "-"] {
            assert_eq!(slice(whole, 10), Ok((0..10, false)), "{whole}");
        }
        for outside in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(slice(outside, 10), Err(()), "{outside}");
        }
        assert_eq!(slice("bytes=0-", 0), Err(()));
    }
}
