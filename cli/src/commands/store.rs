//! `put`, `get` and `store ls|rm`: files of the coordinator's store, which jobs read as `store://PATH`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gristmill_client::{Body, Client};
use gristmill_common::api::StoredFile;
use gristmill_sdk::app::connect::Connect;
use gristmill_sdk::app::exit::{Exit, Usage};
use gristmill_sdk::app::follow;
use gristmill_sdk::app::paths::{self, Typed};
use gristmill_sdk::app::progress::{counted, size};
use gristmill_storage::{Location, StorePath};
use tokio::io::AsyncRead;
use tokio_stream::StreamExt as _;
use tokio_util::io::ReaderStream;

use crate::save;
use crate::transfer::Transfer;
use crate::view::{Format, say};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Arguments of `put`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill put notes.txt store://notes.txt        one file, under this name
  gristmill put 'logs/*.gz' more/ store://logs/    files and directories, under their names
  zcat big.gz | gristmill put - store://big.txt    standard input

Prints the URL of each file, as jobs name it. A file of the same name is replaced.")]
pub(crate) struct PutArgs {
    #[command(flatten)]
    connect: Connect,
    /// Files, directories, globs in quotes, or `-`; and behind them a place in the store, store://FILE or store://DIR/
    #[arg(required = true, num_args = 2.., value_name = "FILE… store://PLACE")]
    words: Vec<String>,
    /// Say nothing but errors on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of `get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill get store://notes.txt               to stdout
  gristmill get store://notes.txt copy.txt      into a file
  gristmill get store://logs/ logs/             all files below, with their names")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    connect: Connect,
    /// A file of the store, or with a slash at its end all files below
    #[arg(value_name = "store://PLACE")]
    from: String,
    /// A file or directory to write; stdout when left out
    #[arg(value_name = "LOCAL")]
    to: Option<PathBuf>,
    /// Say nothing but errors on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of `store`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum StoreCommand {
    /// List the files whose path begins like this
    Ls {
        /// Where to look
        #[arg(value_name = "store://PREFIX", default_value = "store://")]
        prefix: String,
    },
    /// Delete files
    Rm {
        /// The files; with a slash at the end and --recursive all files below
        #[arg(required = true, value_name = "store://PLACE")]
        places: Vec<String>,
        /// Delete all files below a place
        #[arg(short, long)]
        recursive: bool,
    },
}

/// Uploads files.
pub(crate) async fn put(args: &PutArgs) -> Result<Exit> {
    let Some((place, files)) = args.words.split_last() else { bail!("nothing to upload") };
    let place = Place::parse(place)?;
    let client = args.connect.client()?;
    let mut sources = Vec::new();
    for text in files {
        match paths::typed(text)? {
            Typed::Stdin => sources.push((String::new(), None)),
            Typed::Local(local) => {
                sources.extend(local.files()?.into_iter().map(|(name, path)| (name, Some(path))));
            }
            Typed::Url(url) => return Err(Usage(format!("`{url}`: only files of this machine can be uploaded")).into()),
        }
    }
    if !place.is_directory && (sources.len() > 1 || files.len() > 1) {
        let count = counted(sources.len() as u64, "file");
        return Err(Usage(format!("{count} need a directory: write store://{}/", place.path)).into());
    }
    let mut transfer = Transfer::new(args.quiet, total_of(&sources));
    for (name, path) in &sources {
        let stored = upload(&client, &place.of(name)?, path.as_deref(), &transfer).await?;
        transfer.count_file();
        say(&stored.url);
    }
    transfer.close("uploaded");
    Ok(Exit::Ok)
}

fn total_of(sources: &[(String, Option<PathBuf>)]) -> Option<u64> {
    sources.iter().map(|(_, path)| Some(std::fs::metadata(path.as_ref()?).ok()?.len())).sum()
}

async fn upload(client: &Client, path: &str, local: Option<&Path>, transfer: &Transfer) -> Result<StoredFile> {
    let Some(local) = local else {
        let body = body(tokio::io::stdin(), transfer);
        return client.put_file(path, body, None).await.context("cannot upload standard input");
    };
    let shown = || format!("cannot upload {}", local.display());
    let file = tokio::fs::File::open(local).await.with_context(shown)?;
    let bytes = file.metadata().await.with_context(shown)?.len();
    client.put_file(path, body(file, transfer), Some(bytes)).await.with_context(shown)
}

fn body(from: impl AsyncRead + Send + Sync + 'static, transfer: &Transfer) -> Body {
    let count = transfer.counter();
    Body::wrap_stream(ReaderStream::with_capacity(from, CHUNK_BYTES).map(move |chunk| {
        count(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        chunk
    }))
}

/// Downloads a file, or all files below a place.
pub(crate) async fn get(args: &GetArgs) -> Result<Exit> {
    let place = Place::parse(&args.from)?;
    let client = args.connect.client()?;
    if !place.is_directory {
        let download = client.get_file(&place.path, None).await.with_context(|| args.from.clone())?;
        let Some(to) = &args.to else {
            follow::print(download).await?;
            return Ok(Exit::Ok);
        };
        let to = if to.is_dir() { to.join(place.path.rsplit('/').next().unwrap_or("file")) } else { to.clone() };
        let mut transfer = Transfer::new(args.quiet, download.length());
        save::save(download, &to, transfer.counter()).await?;
        transfer.count_file();
        transfer.close("downloaded");
        return Ok(Exit::Ok);
    }
    let Some(to) = &args.to else {
        return Err(Usage("give a directory to write: all files below a place do not go to stdout".to_owned()).into());
    };
    let files = place.files(&client).await?;
    let mut transfer = Transfer::new(args.quiet, Some(files.iter().map(|(_, bytes)| bytes).sum()));
    for (path, _) in &files {
        // The coordinator named it: it must not lead out of the directory.
        let below = StorePath::parse(path)?;
        let to = to.join(below.as_str().strip_prefix(&place.prefix()).unwrap_or(below.as_str()));
        let parent = to.parent().unwrap_or(&to);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        save::save(client.get_file(path, None).await?, &to, transfer.counter()).await?;
        transfer.count_file();
    }
    transfer.close("downloaded");
    Ok(Exit::Ok)
}

/// Lists or deletes.
pub(crate) async fn run(args: &StoreArgs) -> Result<Exit> {
    let client = args.connect.client()?;
    match &args.command {
        StoreCommand::Ls { prefix } => {
            let prefix = prefix.strip_prefix("store://").unwrap_or(prefix);
            let files = client.list_files(prefix).await?;
            let row = |file: &StoredFile| vec![size(file.bytes), file.url.clone()];
            args.format.list(&files, &["size", "url"], row, |file| file.url.clone())?;
        }
        StoreCommand::Rm { places, recursive } => {
            for text in places {
                let place = Place::parse(text)?;
                if place.is_directory && !recursive {
                    return Err(Usage(format!("`{text}` is all files below: say --recursive to delete them")).into());
                }
                let files = if place.is_directory { place.files(&client).await? } else { vec![(place.path, 0)] };
                for (path, _) in files {
                    client.delete_file(&path).await.with_context(|| format!("cannot delete store://{path}"))?;
                }
            }
        }
    }
    Ok(Exit::Ok)
}

/// A place in the store as typed: a file, or with a slash at its end everything below.
struct Place {
    path: String,
    is_directory: bool,
}

impl Place {
    fn parse(text: &str) -> Result<Self> {
        let Some(path) = text.strip_prefix("store://") else {
            return Err(Usage(format!("`{text}` is no place in the store: write store://FILE or store://DIR/")).into());
        };
        let is_directory = path.is_empty() || path.ends_with('/');
        let path = match path.trim_end_matches('/') {
            "" => String::new(),
            path => Location::parse_store(&format!("store://{path}"))?.as_str().to_owned(),
        };
        Ok(Self { path, is_directory })
    }

    /// What the paths of all files below begin with.
    fn prefix(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}/", self.path) }
    }

    /// Returns the path of an upload of this name.
    fn of(&self, name: &str) -> Result<String> {
        match (self.is_directory, name) {
            (false, _) => Ok(self.path.clone()),
            (true, "") => Err(Usage("standard input has no name: write store://FILE".to_owned()).into()),
            (true, name) => Ok(format!("{}{name}", self.prefix())),
        }
    }

    /// Lists the files below, each with its size.
    async fn files(&self, client: &Client) -> Result<Vec<(String, u64)>> {
        let found = client.list_files(&self.prefix()).await?;
        if found.is_empty() {
            bail!("the store has no file below store://{}; `gristmill store ls` lists what it has", self.prefix());
        }
        found.iter().map(|file| Ok((Location::parse_store(&file.url)?.as_str().to_owned(), file.bytes))).collect()
    }
}
