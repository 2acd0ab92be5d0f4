//! Bundles: content that is sent to the coordinator once, by the hash that names it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use futures_util::stream;
use gristmill_common::Digest;
use gristmill_common::api::StoredBundle;
use gristmill_common::digest::Hasher;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Method};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::download::Download;
use crate::error::ClientError;
use crate::user::Client;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Says why a file did not become a bundle.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The coordinator cannot be reached or does not take it.
    #[error("cannot upload `{}`: {source}", path.display())]
    Call {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ClientError,
    },
}

impl Client {
    /// Says whether the coordinator has this bundle; asking keeps it there for another day.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn has_bundle(&self, sha256: Digest) -> Result<bool, ClientError> {
        let request = self.call(Method::HEAD, ["v1", "bundles", &sha256.to_string()])?;
        self.http().is_there(request).await
    }

    /// Sends a bundle of this many bytes; the coordinator checks its hash.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn put_bundle(
        &self,
        sha256: Digest,
        body: impl Into<Body>,
        bytes: u64,
    ) -> Result<StoredBundle, ClientError> {
        let http = self.http();
        let request = http.upload(["v1", "bundles", &sha256.to_string()], http.own_token())?;
        http.json(request.header(CONTENT_LENGTH, bytes).body(body)).await
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn bundle(&self, sha256: Digest) -> Result<Download, ClientError> {
        let request = self.call(Method::GET, ["v1", "bundles", &sha256.to_string()])?;
        self.http().download(request, None).await
    }

    /// Makes a file a bundle, unless the coordinator has its content already, and returns its name.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn upload_bundle(&self, path: &Path) -> Result<Digest, UploadError> {
        let unreadable = |source| UploadError::File { path: path.to_owned(), source };
        let failed = |source| UploadError::Call { path: path.to_owned(), source };
        let (sha256, bytes) = hash(path).await.map_err(unreadable)?;
        if self.has_bundle(sha256).await.map_err(failed)? {
            return Ok(sha256);
        }
        let file = File::open(path).await.map_err(unreadable)?;
        // A file that grows meanwhile is cut where its hash ends; one that changes is refused for its hash.
        let chunks = stream::try_unfold(file.take(bytes), |mut file| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            let read = file.read_buf(&mut chunk).await?;
            Ok::<_, io::Error>((read > 0).then(|| (chunk.freeze(), file)))
        });
        self.put_bundle(sha256, Body::wrap_stream(chunks), bytes).await.map_err(failed)?;
        Ok(sha256)
    }
}

async fn hash(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path).await?;
    if file.metadata().await?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let (mut hasher, mut bytes, mut chunk) = (Hasher::default(), 0, BytesMut::with_capacity(CHUNK_BYTES));
    loop {
        chunk.clear();
        let read = file.read_buf(&mut chunk).await?;
        if read == 0 {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(&chunk);
        bytes += read as u64;
    }
}
