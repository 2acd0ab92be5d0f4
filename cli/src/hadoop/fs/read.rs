//! `-cat`, `-text`, `-tail`, `-get`, `-getmerge`: from the store to stdout or to files of this machine.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use gristmill_client::Download;
use tokio::io::AsyncWriteExt as _;

use super::Shell;
use crate::hadoop::place::{Place, Where};
use crate::hadoop::tree::{self, Found};

/// Bytes that `-tail` prints: Hadoop's kilobyte.
const TAIL_BYTES: u64 = 1024;
/// First bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Shell<'_> {
    pub(super) async fn cat(&mut self, paths: &[String]) -> Result<()> {
        for found in self.find(paths).await? {
            if found.is_directory {
                self.complain(&found.place.shown, "Is a directory");
                continue;
            }
            let from = if self.verb == "tail" { found.bytes.saturating_sub(TAIL_BYTES) } else { 0 };
            let range = (from > 0).then_some((from, None));
            let download = self.client.get_file(&found.place.stored(), range).await?;
            let printed = if self.verb == "text" { unpacked(download).await } else { copied(download).await };
            match printed {
                Err(error) if is_broken_pipe(&error) => return Ok(()),
                result => result.with_context(|| format!("cannot print {}", found.place.shown))?,
            }
        }
        Ok(())
    }

    pub(super) async fn get(&mut self, paths: &[String]) -> Result<()> {
        let (sources, target) = match paths {
            [source] => (std::slice::from_ref(source), "."),
            [sources @ .., target] => (sources, target.as_str()),
            [] => return Ok(()),
        };
        let target = local(target);
        let found = self.find(sources).await?;
        if found.len() > 1 && !target.is_dir() {
            self.complain(&target.display().to_string(), "Not a directory");
            return Ok(());
        }
        for found in found {
            let to = if target.is_dir() { target.join(found.place.name()) } else { target.clone() };
            self.fetch(&found, &to).await?;
        }
        Ok(())
    }

    /// Fetches a file, or a directory with all that is in it.
    async fn fetch(&mut self, found: &Found, to: &Path) -> Result<()> {
        if to.symlink_metadata().is_ok() && !self.has('f') {
            self.complain(&to.display().to_string(), "File exists");
            return Ok(());
        }
        if !found.is_directory {
            return self.download(&found.place, to).await;
        }
        create_directory(to)?;
        let skip = found.place.names.len();
        for inside in tree::list(self.client, &found.place, true).await? {
            let to: PathBuf = std::iter::once(to.as_os_str())
                .chain(inside.place.names[skip..].iter().map(std::ffi::OsStr::new))
                .collect();
            if inside.is_directory {
                create_directory(&to)?;
            } else {
                self.download(&inside.place, &to).await?;
            }
        }
        Ok(())
    }

    async fn download(&self, place: &Place, to: &Path) -> Result<()> {
        let mut download = self.client.get_file(&place.stored(), None).await?;
        // Half a file must not be taken for a whole one: the name appears when all bytes are there.
        let staged = to.with_added_extension("_COPYING_");
        let failed = || format!("cannot write {}", staged.display());
        let mut file = tokio::fs::File::create(&staged).await.with_context(failed)?;
        while let Some(chunk) = download.chunk().await? {
            file.write_all(&chunk).await.with_context(failed)?;
        }
        file.flush().await.with_context(failed)?;
        tokio::fs::rename(&staged, to).await.with_context(|| format!("cannot rename to {}", to.display()))
    }

    pub(super) async fn getmerge(&mut self, paths: &[String]) -> Result<()> {
        let Some((target, sources)) = paths.split_last() else { return Ok(()) };
        let target = local(target);
        let mut file = std::fs::File::create(&target).with_context(|| format!("cannot write {}", target.display()))?;
        for found in self.find(sources).await? {
            let inside =
                if found.is_directory { tree::list(self.client, &found.place, false).await? } else { vec![found] };
            for part in inside.iter().filter(|inside| !inside.is_directory) {
                let mut download = self.client.get_file(&part.place.stored(), None).await?;
                while let Some(chunk) = download.chunk().await? {
                    file.write_all(&chunk).with_context(|| format!("cannot write {}", target.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a path of this machine: plain, or as a `file://` URL.
pub(super) fn local(text: &str) -> PathBuf {
    match Where::parse(text, "") {
        Ok(Where::Local(path)) => path,
        _ => PathBuf::from(text),
    }
}

fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

async fn copied(mut download: Download) -> Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(chunk) = download.chunk().await? {
        stdout.write_all(&chunk).await?;
    }
    Ok(stdout.flush().await?)
}

/// Prints a file, unpacked if it is gzip.
async fn unpacked(mut download: Download) -> Result<()> {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<bytes::Bytes>(4);
    let printer = tokio::task::spawn_blocking(move || print_unpacked(Chunks { receiver, left: bytes::Bytes::new() }));
    while let Some(chunk) = download.chunk().await? {
        let sender = sender.clone();
        // The printer ended: its own error says why.
        if tokio::task::spawn_blocking(move || sender.send(chunk)).await?.is_err() {
            break;
        }
    }
    drop(sender);
    Ok(printer.await??)
}

fn print_unpacked(mut chunks: Chunks) -> io::Result<()> {
    let mut head = Vec::new();
    chunks.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
    let is_gzip = head == GZIP;
    let whole = io::Cursor::new(head).chain(chunks);
    let mut stdout = io::stdout().lock();
    if is_gzip {
        io::copy(&mut MultiGzDecoder::new(whole), &mut stdout)?
    } else {
        io::copy(&mut { whole }, &mut stdout)?
    };
    stdout.flush()
}

/// A download, read by a thread that may block.
struct Chunks {
    receiver: std::sync::mpsc::Receiver<bytes::Bytes>,
    left: bytes::Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            let Ok(chunk) = self.receiver.recv() else { return Ok(0) };
            self.left = chunk;
        }
        let length = buffer.len().min(self.left.len());
        buffer[..length].copy_from_slice(&self.left.split_to(length));
        Ok(length)
    }
}
