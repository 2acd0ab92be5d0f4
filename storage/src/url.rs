//! Reads and writes `file:///…` and `store://…` URLs.
//!
//! Percent-encoding is resolved name by name, so an encoded slash or dot can never change where a path leads; `.` and
//! `..` are refused, encoded or not. There is no host, query or fragment: `?`, `*` and `[…]` are wildcards unless they
//! are percent-encoded.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::error::StorageError;
use crate::pattern::{Pattern, Segment};
use crate::store_path::StorePath;

/// Where a URL leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// Into the file system of the machine that opens it.
    File(Pattern),
    /// Into the coordinator's store.
    Store(Pattern),
}

/// What has a meaning in our URLs, besides `/`.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'*')
    .add(b'[')
    .add(b']')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// As [`ENCODED`], but for the wildcards.
const ENCODED_GLOB: &AsciiSet = &ENCODED.remove(b'?').remove(b'*').remove(b'[').remove(b']');

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`StorageError::BadUrl`] or [`StorageError::Unsupported`], with what to write.
    pub fn parse(url: &str) -> Result<Self, StorageError> {
        let bad = |why: &str| Err(StorageError::BadUrl { url: url.to_owned(), why: why.to_owned() });
        if let Some(path) = url.strip_prefix("file:///") {
            return Ok(Self::File(pattern(url, path)?));
        }
        if let Some(path) = url.strip_prefix("store://") {
            return Ok(Self::Store(pattern(url, path)?));
        }
        if url.starts_with("file:") {
            return bad("a file URL has no host and an absolute path: file:///path");
        }
        let planned = ["s3://", "gs://", "az://", "http://", "https://"];
        if planned.iter().any(|scheme| url.starts_with(scheme)) {
            let why = "buckets and web servers are not built yet; use file:/// or store:// URLs".to_owned();
            return Err(StorageError::Unsupported { what: url.to_owned(), why });
        }
        bad("this is not a URL that can be read here; use file:/// or store:// URLs")
    }

    /// Reads the URL of one file or directory in the file system.
    ///
    /// # Errors
    /// As [`Self::parse`], and for other schemes and wildcards.
    pub fn parse_file(url: &str) -> Result<PathBuf, StorageError> {
        match Self::parse(url)? {
            Self::File(pattern) if pattern.is_literal() => Ok(path_of(&pattern)),
            Self::File(_) => Err(StorageError::BadUrl {
                url: url.to_owned(),
                why: "wildcards are not allowed here; write %2A for a literal *, %3F for ? and %5B for [".to_owned(),
            }),
            Self::Store(_) => Err(StorageError::BadUrl {
                url: url.to_owned(),
                why: "a file:/// URL is expected here, this names the coordinator's store".to_owned(),
            }),
        }
    }

    /// Reads the URL of one file in the store.
    ///
    /// # Errors
    /// As [`Self::parse`], and for other schemes and wildcards.
    pub fn parse_store(url: &str) -> Result<StorePath, StorageError> {
        let bad = |why: &str| StorageError::BadUrl { url: url.to_owned(), why: why.to_owned() };
        match Self::parse(url)? {
            Self::Store(pattern) if pattern.is_literal() => StorePath::from_names(pattern.literal_prefix())
                .ok_or_else(|| bad("this cannot be the name of a file in the store")),
            Self::Store(_) => Err(bad("wildcards are not allowed here")),
            Self::File(_) => Err(bad("a store:// URL is expected here")),
        }
    }
}

/// Returns the absolute path in front of a file pattern's first wildcard.
pub(crate) fn path_of(pattern: &Pattern) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(pattern.literal_prefix().into_iter().map(OsStr::from_bytes));
    path
}

fn pattern(url: &str, path: &str) -> Result<Pattern, StorageError> {
    let directory = path.is_empty() || path.ends_with('/');
    let path = path.strip_suffix('/').unwrap_or(path);
    let names = path.split('/').filter(|_| !path.is_empty());
    let segments = names.map(|name| segment(name).map_err(|why| StorageError::BadUrl { url: url.to_owned(), why }));
    Ok(Pattern::new(segments.collect::<Result<_, _>>()?, directory))
}

fn segment(text: &str) -> Result<Segment, String> {
    if text == "**" {
        return Ok(Segment::AnyDepth);
    }
    check_encoding(text)?;
    let name: Vec<u8> = percent_decode(text.as_bytes()).collect();
    match name.as_slice() {
        b"" => return Err("there is an empty name between two slashes".to_owned()),
        b"." | b".." => return Err("`.` and `..` are not allowed; write the path without them".to_owned()),
        name if name.contains(&b'/') => return Err("a name cannot hold an encoded slash".to_owned()),
        name if name.contains(&0) => return Err("a name cannot hold a zero byte".to_owned()),
        _ => {}
    }
    if !text.contains(['*', '?', '[']) {
        return Ok(Segment::Literal(name));
    }
    let (globbed, spelled) = glob_text(text)?;
    let pattern = glob::Pattern::new(&globbed).map_err(|error| {
        format!("`{text}` is not a pattern: {}; write %2A for a literal *, %3F for ? and %5B for [", error.msg)
    })?;
    Ok(Segment::Glob { pattern, spelled })
}

/// Every `%` must begin an encoded byte; a fragment is refused, since it would silently be part of the name.
fn check_encoding(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let digit = |n: usize| bytes.get(at + n).is_some_and(u8::is_ascii_hexdigit);
        match byte {
            b'%' if !(digit(1) && digit(2)) => return Err("`%` must be followed by two hex digits".to_owned()),
            b'#' => return Err("there is no fragment here; write %23 for a # in a name".to_owned()),
            byte if byte.is_ascii_control() => return Err("control characters must be percent-encoded".to_owned()),
            _ => {}
        }
    }
    Ok(())
}

/// Turns a name with raw wildcards into the text of a glob in which encoded characters stand for themselves.
fn glob_text(text: &str) -> Result<(String, Option<char>), String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        // Neighbouring encoded bytes may be one character: they are decoded together.
        let mut end = at;
        while rest.as_bytes().get(end) == Some(&b'%') {
            end += 3;
        }
        let decoded = percent_decode(&rest.as_bytes()[at..end]).decode_utf8();
        let decoded = decoded.map_err(|_| "a name with wildcards must be UTF-8".to_owned())?;
        if out.rfind('[') <= out.rfind(']') {
            out.push_str(&glob::Pattern::escape(&decoded));
        } else if decoded.contains(['!', '-', ']']) {
            return Err("inside [ ] write `!`, `-` and `]` without percent-encoding".to_owned());
        } else {
            out.push_str(&decoded);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    let spelled = percent_decode(text.as_bytes()).decode_utf8_lossy().chars().next();
    let wild = text.starts_with(['*', '?', '[']);
    Ok((out, spelled.filter(|_| !wild)))
}

/// Writes the URL of an absolute path; wildcard characters stand for themselves.
#[must_use]
pub fn file_url(path: &Path) -> String {
    encode(path, ENCODED)
}

/// Writes the URL of an absolute path whose `*`, `?`, `[` and `]` are wildcards.
#[must_use]
pub fn glob_url(path: &Path) -> String {
    encode(path, ENCODED_GLOB)
}

/// Writes the URL of a file in the store.
pub(crate) fn store_url(path: &str) -> String {
    format!("store://{}", percent_encode(path.as_bytes(), ENCODED))
}

fn encode(path: &Path, set: &'static AsciiSet) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), set))
}
