//! Brings what a job needs to the coordinator: its files and archives as bundles, inputs of this machine as uploads.

use std::path::Path;

use anyhow::{Context, Result, bail};
use gristmill_client::Client;
use gristmill_common::program::BundleFile;
use gristmill_common::spec::Input;
use gristmill_sdk::app::exit::Usage;
use gristmill_sdk::app::paths::{self, Typed};
use gristmill_sdk::app::upload::Uploads;
use tokio::io::AsyncWriteExt as _;

use super::options::Shipped;
use crate::hadoop::place::{Place, Where};
use crate::hadoop::tree;

/// Makes bundles of what the tasks find in their working directory.
pub(super) async fn bundles(client: &Client, shipped: &[(Shipped, Where)]) -> Result<Vec<BundleFile>> {
    let mut files = Vec::with_capacity(shipped.len());
    for (file, at) in shipped {
        let sha256 = match at {
            Where::Local(path) => {
                if path.is_dir() {
                    let advice = "a directory is no file for the tasks; pack it and use -archives";
                    bail!(Usage(format!("{}: {advice}", path.display())));
                }
                client.upload_bundle(path).await?
            }
            Where::Store(place) => {
                let local = fetched(client, place).await?;
                client.upload_bundle(local.path()).await?
            }
        };
        files.push(BundleFile { name: file.name.clone(), sha256, archive: file.archive });
    }
    Ok(files)
}

/// Fetches a file of the store: its hash is its name as a bundle.
async fn fetched(client: &Client, place: &Place) -> Result<tempfile::NamedTempFile> {
    let missing = || format!("File {} does not exist.", place.shown);
    let mut download = client.get_file(&place.stored(), None).await.with_context(missing)?;
    let local = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut file = tokio::fs::File::from_std(local.reopen()?);
    while let Some(chunk) = download.chunk().await? {
        file.write_all(&chunk).await.context("cannot write a temporary file")?;
    }
    file.flush().await.context("cannot write a temporary file")?;
    Ok(local)
}

/// Returns the inputs as the spec names them; those of this machine are uploaded.
pub(super) async fn inputs(client: &Client, inputs: &[Where], uploads: &mut Uploads<'_>) -> Result<Vec<Input>> {
    let mut all = Vec::with_capacity(inputs.len());
    for (number, input) in inputs.iter().enumerate() {
        match input {
            Where::Store(place) => {
                if !place.is_glob() && tree::look(client, place).await?.is_none() {
                    bail!("Input path does not exist: {}", place.qualified());
                }
                all.push(Input::Url(place.url()));
            }
            Where::Local(path) => {
                for (name, file) in local_files(path)? {
                    all.push(Input::Url(uploads.file(number, &name, &file).await?));
                }
            }
        }
    }
    Ok(all)
}

fn local_files(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let text = path.to_str().context("a path is not UTF-8")?;
    match paths::typed(text)? {
        Typed::Local(local) => local.files(),
        Typed::Url(_) | Typed::Stdin => bail!("Input path does not exist: file://{text}"),
    }
}
