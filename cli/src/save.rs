//! Downloads into files that appear whole: under another name first, then renamed.

use std::path::Path;

use anyhow::{Context, Result};
use gristmill_client::Download;
use tokio::io::AsyncWriteExt as _;

/// Writes what comes into a file and counts it; a half-written one never has the final name.
pub(crate) async fn save(mut download: Download, path: &Path, mut count: impl FnMut(u64)) -> Result<()> {
    let staged = path.with_added_extension("partial");
    let mut file =
        tokio::fs::File::create(&staged).await.with_context(|| format!("cannot create {}", staged.display()))?;
    while let Some(chunk) = download.chunk().await? {
        file.write_all(&chunk).await.with_context(|| format!("cannot write {}", staged.display()))?;
        count(chunk.len() as u64);
    }
    file.sync_all().await.with_context(|| format!("cannot write {}", staged.display()))?;
    tokio::fs::rename(&staged, path).await.with_context(|| format!("cannot rename to {}", path.display()))
}
