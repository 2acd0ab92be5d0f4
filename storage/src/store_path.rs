//! Names of users' files in the coordinator's store.
//!
//! A path is one or more names joined by `/`; none is empty, `.` or `..`, none holds a control character, and each fits
//! into a file name after the store has encoded it. So no such path can lead out of the store's directory.

use std::fmt;

use crate::error::StorageError;
use crate::url::store_url;

/// A file's path in the store, as people write it: `uploads/a.txt`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StorePath(String);

/// Bytes of one encoded name: what Linux file systems take, less what a staged write adds.
const NAME_BYTES: usize = 200;
/// Bytes of a whole encoded path: with the data directory in front, what Linux takes.
const PATH_BYTES: usize = 2_048;

impl StorePath {
    /// Reads a path that is already percent-decoded.
    ///
    /// # Errors
    /// [`StorageError::BadUrl`] for a path that is not one.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let bad = |why: &str| StorageError::BadUrl { url: store_url(text), why: why.to_owned() };
        let mut encoded_bytes = 0;
        for name in text.split('/') {
            if name.is_empty() || name == "." || name == ".." {
                return Err(bad("a path in the store is names joined by single slashes, none of them `.` or `..`"));
            }
            if name.chars().any(char::is_control) {
                return Err(bad("a name in the store has no control characters"));
            }
            let encoded = object_store::path::PathPart::from(name).as_ref().len();
            if encoded > NAME_BYTES {
                return Err(bad("a name in the store is at most 200 bytes long after percent-encoding"));
            }
            encoded_bytes += encoded + 1;
            if encoded_bytes > PATH_BYTES {
                return Err(bad("a path in the store is at most 2048 bytes long after percent-encoding"));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Joins names; `None` if that is no path.
    pub(crate) fn from_names<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let names: Option<Vec<&str>> = names.into_iter().map(|name| std::str::from_utf8(name).ok()).collect();
        Self::parse(&names?.join("/")).ok()
    }

    /// Reads it back from the object's name; `None` for a name that this type did not make.
    pub(crate) fn from_object(path: &object_store::path::Path) -> Option<Self> {
        let names = path.parts().map(|part| {
            let decoded = percent_encoding::percent_decode(part.as_ref().as_bytes()).decode_utf8().ok()?;
            Some(decoded.into_owned())
        });
        Self::parse(&names.collect::<Option<Vec<_>>>()?.join("/")).ok()
    }

    /// Returns the object's name: each name percent-encoded as `object_store` does.
    pub(crate) fn to_object(&self) -> object_store::path::Path {
        self.0.split('/').collect()
    }

    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns its names.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split('/').map(str::as_bytes)
    }

    /// Returns its URL.
    #[must_use]
    pub fn url(&self) -> String {
        store_url(&self.0)
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_leave_room_for_what_the_store_adds() {
        assert!(StorePath::parse(&"a".repeat(200)).is_ok());
        assert!(StorePath::parse(&"a".repeat(201)).is_err());
        assert!(StorePath::parse(&"%".repeat(67)).is_err(), "encoded it is three times as long");
        let long = vec!["%".repeat(60); 12].join("/");
        assert!(long.len() < PATH_BYTES && StorePath::parse(&long).is_err());
    }
}
