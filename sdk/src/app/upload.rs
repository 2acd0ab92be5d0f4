//! Brings local inputs to the coordinator's store, for workers that cannot read them where they are.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gristmill_client::{Body, Client};
use gristmill_common::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The uploads of one submit.
pub struct Uploads<'a> {
    client: &'a Client,
    folder: Folder,
    /// Paths in the store that this submit has made.
    made: Vec<String>,
    /// Files that the job reads from the store, those that were there before included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where uploads go.
enum Folder {
    /// Into a folder that nobody else uses.
    Fresh(String),
    /// Into a folder named by the content, so that a submit that is repeated under its key names the same inputs.
    ByContent,
}

impl<'a> Uploads<'a> {
    /// Starts without any; `repeatable` when the same command must make the same spec.
    #[must_use]
    pub fn new(client: &'a Client, repeatable: bool) -> Self {
        let folder = if repeatable { Folder::ByContent } else { Folder::Fresh(fresh_folder()) };
        Self { client, folder, made: Vec::new(), files: 0, bytes: 0 }
    }

    /// Uploads a local file and returns its URL; `number` tells the inputs of a submit apart, `name` its files.
    ///
    /// # Errors
    /// If it cannot be read or the coordinator does not take it.
    pub async fn file(&mut self, number: usize, name: &str, local: &Path) -> Result<String> {
        let bytes = std::fs::metadata(local).with_context(|| format!("cannot read {}", local.display()))?.len();
        self.files += 1;
        self.bytes += bytes;
        let path = match &self.folder {
            Folder::Fresh(folder) => format!("{folder}/{number}/{name}"),
            Folder::ByContent => {
                let path = format!("uploads/{}/{name}", digest_elsewhere(local.to_path_buf()).await?);
                let there = self.client.list_files(&path).await?;
                // Writing it again would change an input that a running job has pinned.
                if let Some(file) = there.into_iter().find(|file| file.bytes == bytes && file.url.ends_with(name)) {
                    return Ok(file.url);
                }
                path
            }
        };
        let file = tokio::fs::File::open(local).await.with_context(|| format!("cannot read {}", local.display()))?;
        self.made.push(path.clone());
        let body = Body::wrap_stream(ReaderStream::with_capacity(file, CHUNK_BYTES));
        let stored = self.client.put_file(&path, body, Some(bytes)).await;
        Ok(stored.with_context(|| format!("cannot upload {}", local.display()))?.url)
    }

    /// Uploads standard input and returns its URL.
    ///
    /// # Errors
    /// If it cannot be read or the coordinator does not take it.
    pub async fn stdin(&mut self) -> Result<String> {
        let path = format!("{}/stdin", fresh_folder());
        self.made.push(path.clone());
        self.reader(&path, tokio::io::stdin()).await.context("cannot upload standard input")
    }

    /// Takes back what was uploaded for a job that was refused.
    pub async fn take_back(self) {
        for path in &self.made {
            if let Err(error) = self.client.delete_file(path).await {
                tracing::debug!(%error, path, "an upload of a refused job stays");
            }
        }
    }

    async fn reader(&self, path: &str, reader: impl AsyncRead + Send + Sync + 'static) -> Result<String> {
        let body = Body::wrap_stream(ReaderStream::with_capacity(reader, CHUNK_BYTES));
        Ok(self.client.put_file(path, body, None).await?.url)
    }
}

/// Makes a folder name in the store that nobody else uses.
#[expect(clippy::disallowed_methods, reason = "the command line is where names are made")]
fn fresh_folder() -> String {
    format!("uploads/{}", Uuid::now_v7())
}

/// Makes an idempotency key for a submit whose user gave none, so that it can be sent again after a broken connection.
#[expect(clippy::disallowed_methods, reason = "the command line is where names are made")]
#[must_use]
pub fn fresh_key() -> String {
    Uuid::now_v7().to_string()
}

async fn digest_elsewhere(local: PathBuf) -> Result<Digest> {
    let shown = local.display().to_string();
    tokio::task::spawn_blocking(move || digest_of(&local)).await?.with_context(|| format!("cannot read {shown}"))
}

/// Returns the SHA-256 of a file's content. Blocks.
///
/// # Errors
/// If it cannot be read.
pub fn digest_of(local: &Path) -> std::io::Result<Digest> {
    let mut file = std::fs::File::open(local)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest(hash.finalize().into())),
            length => hash.update(&chunk[..length]),
        }
    }
}
