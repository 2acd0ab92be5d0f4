//! `-put`, `-touchz`, `-mkdir`, `-cp`, `-mv`, `-rm`: what changes the store.
//!
//! Directories above a written file need not be made first. `-cp` and `-mv` of directories go file by file; `-mv` deletes
//! the old ones when all new ones are there.

use std::path::Path;

use anyhow::{Context, Result};
use gristmill_client::Body;
use tokio_util::io::ReaderStream;

use super::read::local;
use super::{MISSING, Shell, print};
use crate::hadoop::place::Place;
use crate::hadoop::tree::{self, Found, MARKER};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

impl Shell<'_> {
    pub(super) async fn put(&mut self, paths: &[String]) -> Result<()> {
        let Some((target, sources)) = paths.split_last() else { return Ok(()) };
        let Some(target) = self.place(target) else { return Ok(()) };
        let is_directory = self.is_directory(&target, sources.len()).await?;
        let Some(is_directory) = is_directory else { return Ok(()) };
        for source in sources {
            if source == "-" {
                self.upload_new(None, &target).await?;
                continue;
            }
            let path = local(source);
            let name = path.canonicalize().ok().and_then(|real| Some(real.file_name()?.to_string_lossy().into_owned()));
            let Some(name) = name else {
                self.complain(source, MISSING);
                continue;
            };
            let place = if is_directory { target.child(&name) } else { target.clone() };
            self.upload_tree(&path, &place).await?;
            if self.verb == "moveFromLocal" && !self.failed {
                let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.with_context(|| format!("cannot delete {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Uploads a file, or a directory with all that is in it.
    async fn upload_tree(&mut self, path: &Path, place: &Place) -> Result<()> {
        let mut left = vec![(path.to_path_buf(), place.clone())];
        while let Some((path, place)) = left.pop() {
            if !path.is_dir() {
                self.upload_new(Some(&path), &place).await?;
                continue;
            }
            let listed = std::fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
            let mut is_empty = true;
            for entry in listed {
                let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
                left.push((entry.path(), place.child(&entry.file_name().to_string_lossy())));
                is_empty = false;
            }
            if is_empty {
                self.write_empty(&place.child(MARKER)).await?;
            }
        }
        Ok(())
    }

    /// Uploads a file, or stdin, to a name that must be free unless `-f` is given.
    async fn upload_new(&mut self, path: Option<&Path>, place: &Place) -> Result<()> {
        if !self.has('f') && tree::look(self.client, place).await?.is_some() {
            self.complain(&place.shown, "File exists");
            return Ok(());
        }
        let Some(path) = path else {
            let body = Body::wrap_stream(ReaderStream::with_capacity(tokio::io::stdin(), CHUNK_BYTES));
            self.client.put_file(&place.stored(), body, None).await?;
            return Ok(());
        };
        let failed = || format!("cannot read {}", path.display());
        let file = tokio::fs::File::open(path).await.with_context(failed)?;
        let bytes = file.metadata().await.with_context(failed)?.len();
        let body = Body::wrap_stream(ReaderStream::with_capacity(file, CHUNK_BYTES));
        self.client.put_file(&place.stored(), body, Some(bytes)).await?;
        Ok(())
    }

    pub(super) async fn touchz(&mut self, paths: &[String]) -> Result<()> {
        for path in paths {
            let Some(place) = self.place(path) else { continue };
            match tree::look(self.client, &place).await? {
                Some(found) if found.is_directory => self.complain(path, "Is a directory"),
                Some(found) if found.bytes > 0 => self.complain(path, "Not a zero-length file"),
                _ => self.write_empty(&place).await?,
            }
        }
        Ok(())
    }

    pub(super) async fn mkdir(&mut self, paths: &[String]) -> Result<()> {
        for path in paths {
            let Some(place) = self.place(path) else { continue };
            match tree::look(self.client, &place).await? {
                Some(found) if !found.is_directory || !self.has('p') => self.complain(path, "File exists"),
                Some(_) => {}
                None => self.write_empty(&place.child(MARKER)).await?,
            }
        }
        Ok(())
    }

    async fn write_empty(&self, place: &Place) -> Result<()> {
        self.client.put_file(&place.stored(), Vec::new(), Some(0)).await?;
        Ok(())
    }

    pub(super) async fn copy(&mut self, paths: &[String]) -> Result<()> {
        let Some((target, sources)) = paths.split_last() else { return Ok(()) };
        let Some(target) = self.place(target) else { return Ok(()) };
        let found = self.find(sources).await?;
        let Some(is_directory) = self.is_directory(&target, found.len()).await? else { return Ok(()) };
        for found in found {
            let to = if is_directory { target.child(found.place.name()) } else { target.clone() };
            if to.names.starts_with(&found.place.names) {
                self.complain(&found.place.shown, "is not copied into itself");
                continue;
            }
            let is_taken = !self.has('f') && tree::look(self.client, &to).await?.is_some();
            if is_taken {
                self.complain(&to.shown, "File exists");
                continue;
            }
            self.copy_tree(&found, &to).await?;
            if self.verb == "mv" {
                self.delete(&found).await?;
            }
        }
        Ok(())
    }

    async fn copy_tree(&mut self, found: &Found, to: &Place) -> Result<()> {
        let files =
            if found.is_directory { tree::files(self.client, &found.place).await? } else { vec![found.place.clone()] };
        for file in files {
            let names = &file.names[found.place.names.len()..];
            let to = names.iter().fold(to.clone(), |place, name| place.child(name));
            let download = self.client.get_file(&file.stored(), None).await?;
            let length = download.length();
            let body = Body::wrap_stream(download.into_stream());
            self.client.put_file(&to.stored(), body, length).await?;
        }
        Ok(())
    }

    pub(super) async fn rm(&mut self, paths: &[String]) -> Result<()> {
        let deep = self.has('r') || self.has('R') || self.verb == "rmr";
        for found in self.find(paths).await? {
            let shown = &found.place.shown;
            if found.place.names.is_empty() {
                self.complain(shown, "the root is not deleted");
            } else if self.verb == "rmdir" && !found.is_directory {
                self.complain(shown, "Is not a directory");
            } else if self.verb == "rmdir" && !tree::list(self.client, &found.place, false).await?.is_empty() {
                self.complain(shown, "Directory is not empty");
            } else if self.verb != "rmdir" && found.is_directory && !deep {
                self.complain(shown, "Is a directory");
            } else {
                self.delete(&found).await?;
                if self.verb != "rmdir" {
                    print(format!("Deleted {shown}\n").as_bytes())?;
                }
            }
        }
        Ok(())
    }

    async fn delete(&self, found: &Found) -> Result<()> {
        if found.is_directory {
            self.client.delete_files(&found.place.prefix()).await?;
        } else {
            self.client.delete_file(&found.place.stored()).await?;
        }
        Ok(())
    }

    /// Says whether a target is a directory that takes things; `None` if it must be one and is not, which is said.
    async fn is_directory(&mut self, target: &Place, sources: usize) -> Result<Option<bool>> {
        let found = tree::look(self.client, target).await?;
        let is_directory = found.is_some_and(|found| found.is_directory);
        if sources > 1 && !is_directory {
            self.complain(&target.shown, MISSING);
            return Ok(None);
        }
        Ok(Some(is_directory))
    }
}
