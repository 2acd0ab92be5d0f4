//! Brings local inputs to the coordinator's store, for workers that cannot read them where they are.

use std::path::Path;

use anyhow::{Context, Result};
use gristmill_client::{Body, Client};
use gristmill_common::spec::Input;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Makes a folder name in the store that nobody else uses.
#[expect(clippy::disallowed_methods, reason = "the command line is where names are made")]
#[must_use]
pub fn fresh_folder() -> String {
    format!("uploads/{}", Uuid::now_v7())
}

/// Makes an idempotency key for a submit whose user gave none, so that it can be sent again after a broken connection.
#[expect(clippy::disallowed_methods, reason = "the command line is where names are made")]
#[must_use]
pub fn fresh_key() -> String {
    Uuid::now_v7().to_string()
}

/// Uploads standard input and returns it as an input.
///
/// # Errors
/// If it cannot be read or the coordinator does not take it.
pub async fn stdin(client: &Client) -> Result<Input> {
    let path = format!("{}/stdin", fresh_folder());
    reader(client, &path, tokio::io::stdin(), None).await.context("cannot upload standard input")
}

/// Uploads one local file under the name `path` in the store.
///
/// # Errors
/// If it cannot be read or the coordinator does not take it.
pub async fn file(client: &Client, path: &str, local: &Path) -> Result<Input> {
    let file = tokio::fs::File::open(local).await.with_context(|| format!("cannot read {}", local.display()))?;
    let bytes = file.metadata().await.ok().map(|metadata| metadata.len());
    reader(client, path, file, bytes).await.with_context(|| format!("cannot upload {}", local.display()))
}

async fn reader(
    client: &Client,
    path: &str,
    reader: impl AsyncRead + Send + Sync + 'static,
    bytes: Option<u64>,
) -> Result<Input> {
    let body = Body::wrap_stream(ReaderStream::with_capacity(reader, CHUNK_BYTES));
    let stored = client.put_file(path, body, bytes).await?;
    Ok(Input::Url(stored.url))
}
