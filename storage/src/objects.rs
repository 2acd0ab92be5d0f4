//! Users' files in the coordinator's store, `store://path`, through `object_store`: a local directory today.
//!
//! A file appears whole (temporary name, fsync, rename, fsync of the directory) and is never changed, only replaced, so
//! its entity tag is its version. No path can leave the directory: see [`StorePath`].

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _};

use crate::error::StorageError;
use crate::store_path::StorePath;

pub use bytes::Bytes;

/// A file's bytes as they are read.
pub type ObjectStream = BoxStream<'static, Result<Bytes, StorageError>>;

/// What is known of a file without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectFacts {
    /// Its path.
    pub path: StorePath,
    /// Its size.
    pub bytes: u64,
    /// Its entity tag.
    pub version: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// The files of one store.
#[derive(Clone, Debug)]
pub struct Objects {
    inner: Arc<dyn ObjectStore>,
    directory: PathBuf,
}

/// Bytes that are collected before they are written: buckets take no smaller parts.
const PART_BYTES: usize = 5 << 20;

impl Objects {
    /// Keeps files under a directory, which must exist.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn local(directory: &Path) -> Result<Self, StorageError> {
        let local = LocalFileSystem::new_with_prefix(directory)
            .map_err(|error| StorageError::io("open", directory, io::Error::other(error)))?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self { inner: Arc::new(local), directory: directory.to_path_buf() })
    }

    /// Returns where a file, or a directory of files, of this path lies: for outputs that appear whole, by one rename.
    #[must_use]
    pub fn place(&self, path: &StorePath) -> PathBuf {
        self.directory.join(path.to_object().as_ref())
    }

    /// Writes a file, at most `limit` bytes; replaces one of the same path. Returns its size.
    ///
    /// # Errors
    /// The stream's own error, or why it could not be written; nothing appears then.
    pub async fn put<S>(&self, path: &StorePath, mut body: S, limit: u64) -> Result<u64, StorageError>
    where
        S: Stream<Item = Result<Bytes, StorageError>> + Unpin,
    {
        let failed = |error| convert(path, "write", error);
        let mut upload = self.inner.put_multipart(&path.to_object()).await.map_err(failed)?;
        let result = match send(path, &mut body, limit, upload.as_mut()).await {
            Ok(written) => upload.complete().await.map(|_| written).map_err(failed),
            Err(error) => Err(error),
        };
        if result.is_err() {
            // The first error is the one to tell; a leftover has a temporary name and is swept at the next start.
            let _ = upload.abort().await;
        }
        result
    }

    /// Looks a file up.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is none.
    pub async fn head(&self, path: &StorePath) -> Result<ObjectFacts, StorageError> {
        let meta = self.inner.head(&path.to_object()).await.map_err(|error| convert(path, "look up", error))?;
        Ok(facts(path.clone(), &meta))
    }

    /// Opens a file, or a range of it; with a version, only if it still is that version.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] or [`StorageError::InputChanged`] if there is no such file or version.
    pub async fn open(
        &self,
        path: &StorePath,
        range: Option<std::ops::Range<u64>>,
        version: Option<&str>,
    ) -> Result<(ObjectFacts, ObjectStream), StorageError> {
        let options = GetOptions {
            range: range.map(object_store::GetRange::Bounded),
            if_match: version.map(str::to_owned),
            ..GetOptions::default()
        };
        let got = self.inner.get_opts(&path.to_object(), options).await;
        let got = got.map_err(|error| convert(path, "read", error))?;
        let facts = facts(path.clone(), &got.meta);
        let path = path.clone();
        let stream = got.into_stream().map_err(move |error| convert(&path, "read", error));
        Ok((facts, stream.boxed()))
    }

    /// Lists files whose path starts with `prefix`, sorted by path, at most `limit`.
    ///
    /// # Errors
    /// If the store cannot be listed or has more of them.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<ObjectFacts>, StorageError> {
        // Whole names can be looked for in the directory; the rest of the prefix is compared.
        let directory = prefix.rsplit_once('/').and_then(|(directory, _)| StorePath::parse(directory).ok());
        let directory = directory.map(|directory| directory.to_object());
        let mut listing = self.inner.list(directory.as_ref());
        let mut found = Vec::new();
        while let Some(meta) = listing.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                // A name in the prefix is a file.
                Err(error) if system_error(&error) == Some(ErrorKind::NotADirectory) => continue,
                Err(error) => {
                    let (what, source) = (format!("store://{prefix}"), io::Error::other(error));
                    return Err(StorageError::Io { action: "list", what, source });
                }
            };
            let Some(path) = StorePath::from_object(&meta.location) else { continue };
            if path.as_str().starts_with(prefix) {
                if found.len() == limit {
                    return Err(StorageError::TooMany { limit });
                }
                found.push(facts(path, &meta));
            }
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is none.
    pub async fn delete(&self, path: &StorePath) -> Result<(), StorageError> {
        self.inner.delete(&path.to_object()).await.map_err(|error| convert(path, "delete", error))
    }
}

/// Hands a body to an upload, one part at a time.
async fn send<S>(
    path: &StorePath,
    body: &mut S,
    limit: u64,
    upload: &mut dyn MultipartUpload,
) -> Result<u64, StorageError>
where
    S: Stream<Item = Result<Bytes, StorageError>> + Unpin,
{
    let failed = |error| convert(path, "write", error);
    let (mut part, mut part_bytes, mut written) = (Vec::new(), 0, 0);
    while let Some(chunk) = body.try_next().await? {
        written += chunk.len() as u64;
        if written > limit {
            let why = format!("a file in the store has at most {limit} bytes");
            return Err(StorageError::Full { what: path.url(), why });
        }
        part_bytes += chunk.len();
        part.push(chunk);
        if part_bytes >= PART_BYTES {
            upload.put_part(std::mem::take(&mut part).into_iter().collect()).await.map_err(failed)?;
            part_bytes = 0;
        }
    }
    if !part.is_empty() {
        upload.put_part(part.into_iter().collect()).await.map_err(failed)?;
    }
    Ok(written)
}

fn facts(path: StorePath, meta: &ObjectMeta) -> ObjectFacts {
    let version = meta.e_tag.clone().unwrap_or_default();
    ObjectFacts { path, bytes: meta.size, version, modified_ms: meta.last_modified.timestamp_millis() }
}

fn convert(path: &StorePath, action: &'static str, error: object_store::Error) -> StorageError {
    let what = path.url();
    match error {
        object_store::Error::NotFound { .. } => StorageError::NotFound { what },
        object_store::Error::Precondition { .. } => {
            StorageError::InputChanged { url: what, change: "was replaced after the job was planned".to_owned() }
        }
        error => match system_error(&error) {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                StorageError::Full { what, why: error.to_string() }
            }
            // The name is a directory, or a name above it is a file.
            Some(ErrorKind::IsADirectory | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory)
                if action == "write" =>
            {
                StorageError::Exists { what, advice: " as a directory, or a name above it is a file" }
            }
            Some(ErrorKind::NotADirectory | ErrorKind::IsADirectory) => StorageError::NotFound { what },
            _ => StorageError::Io { action, what, source: io::Error::other(error) },
        },
    }
}

/// Finds the system's error, which `object_store` wraps several times over.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
