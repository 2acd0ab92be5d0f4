//! Commits an output to the file system or among the store's files: a directory of parts with a manifest, or one file.
//!
//! ```text
//! directory: parts into .NAME.JOB/ -> _SUCCESS -> (old aside) -> rename -> sync -> (old deleted)
//! file:      text into .NAME.JOB -> sync -> rename -> sync
//! ```
//!
//! Parts that are finished files go into the directory under a second name of theirs, or are copied one behind the other
//! into the file; parts that are runs are rendered.
//!
//! (In the store the staging name is `commits/JOB`.)

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use gristmill_common::limits;
use gristmill_runs::Checksum;
use gristmill_storage::{Staged, StorageError, rename_new, sync_directory};

use super::each::each;
use super::manifest::{Manifest, ManifestPart, SKIPPED};
use super::target::Target;
use super::{CommitError, Finished, Steps, finished};
use crate::render::{PartSource, Text};
use crate::store::{SUCCESS, Store};

pub(super) struct FileOutput<'a> {
    pub(super) output: &'a Finished,
    pub(super) store: &'a Store,
    pub(super) target: &'a Target,
    pub(super) overwrite: bool,
}

impl FileOutput<'_> {
    /// Commits a directory of parts.
    pub(super) fn directory(&self, steps: Steps<'_>) -> Result<Manifest, CommitError> {
        let Target { path, staging, aside, .. } = self.target;
        if let Some(manifest) = Manifest::of_directory(path).filter(|manifest| manifest.job == self.output.job) {
            // An earlier try got this far; its rename may not be durable, and the old output may still be there.
            sync_parent(path)?;
            remove_directory(aside)?;
            return Ok(manifest);
        }
        self.check_free()?;
        match fs::create_dir(staging) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StorageError::io("create", staging, error).into());
            }
            _ => {}
        }
        self.clear_leftovers()?;
        let written = each(&self.output.parts, steps, "write a part", |part| self.part(part))?;
        let manifest = self.manifest(written);
        if !manifest.skipped.is_empty() {
            write_durable(&staging.join(format!(".{SKIPPED}")), &staging.join(SKIPPED), &manifest.skipped_text())?;
        }
        sync_directory(staging)?;
        steps("write the manifest")?;
        write_durable(&staging.join(format!(".{SUCCESS}")), &staging.join(SUCCESS), &manifest.to_text())?;
        if self.overwrite && path.symlink_metadata().is_ok() {
            steps("move the old output aside")?;
            // Looked at again: what is there now may have come while the parts were written, and be somebody else's.
            self.check_free()?;
            remove_directory(aside)?;
            fs::rename(path, aside).map_err(|error| StorageError::io("move aside", path, error))?;
        }
        steps("give the output its name")?;
        self.target.make_parents().map_err(|error| self.blocked_by_name(error))?;
        rename_new(staging, path).map_err(|error| self.blocked_by_name(error))?;
        steps("make its name durable")?;
        sync_parent(path)?;
        steps("delete the old output")?;
        remove_directory(aside)?;
        Ok(manifest)
    }

    /// Commits one file: merged by key, or the parts one after the other when there is nothing to merge.
    pub(super) fn file(&self, steps: Steps<'_>) -> Result<Manifest, CommitError> {
        let Target { path, staging, .. } = self.target;
        let parts = &self.output.parts;
        let total = parts.iter().map(|part| part.output.text_bytes).sum();
        if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file() || metadata.len() != total) {
            // Not what an earlier try left: only an overwrite may go on.
            self.check_free()?;
        }
        let is_finished = self.output.ordered && parts.iter().all(PartSource::is_finished);
        let text = match (is_finished, self.output.ordered) {
            (true, _) => None,
            (false, true) => Some(Text::concatenated(self.store.clone(), parts.clone(), 0..total)),
            (false, false) => Some(Text::merged(self.store.clone(), parts, 0..total)?),
        };
        steps("write the file")?;
        self.check_room()?;
        let mut staged = Staged::create(staging)?;
        let checksum = match text {
            None => self.concatenate(&staged, steps)?,
            Some(mut text) => copy(&mut text, |chunk| {
                staged.write_all(chunk).map_err(|error| StorageError::io("write", staging, error))
            })?,
        };
        steps("make the file durable")?;
        staged.sync()?;
        steps("give the output its name")?;
        self.target.make_parents().map_err(|error| self.blocked_by_name(error))?;
        if self.overwrite {
            staged.rename(path)?;
        } else if let Err(error) = staged.rename_new(path) {
            // An earlier try may have got this far.
            if file_checksum(path)? != checksum {
                return Err(self.blocked_by_name(error));
            }
        }
        steps("make its name durable")?;
        sync_parent(path)?;
        let records = parts.iter().map(|part| part.output.records).sum();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let part = ManifestPart { name, bytes: total, records, checksum: shown(checksum), stored: None };
        let manifest = self.manifest(vec![part]);
        self.dead_letters(&manifest)?;
        Ok(manifest)
    }

    /// Copies finished parts one behind the other.
    fn concatenate(&self, staged: &Staged, steps: Steps<'_>) -> Result<Checksum, CommitError> {
        let file = staged.try_clone().map_err(|error| StorageError::io("write", staged.path(), error))?;
        let mut end = 0;
        let placed = self.output.parts.iter().map(|part| {
            let offset = end;
            end += part.output.text_bytes;
            (offset, part)
        });
        let placed: Vec<_> = placed.collect();
        let written = each(&placed, steps, "copy a part", |(offset, part)| {
            finished::copy_into(&file, *offset, part, self.store)
        })?;
        Ok(written.into_iter().fold(Checksum::default(), Checksum::then))
    }

    fn manifest(&self, parts: Vec<ManifestPart>) -> Manifest {
        Manifest::new(self.output.job, self.output.sorted, parts, self.output.skipped.clone())
    }

    /// Writes `NAME_SKIPPED` beside an output that is one file and lacks records; takes away the one of an output that is
    /// overwritten.
    fn dead_letters(&self, manifest: &Manifest) -> Result<(), CommitError> {
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(SKIPPED);
            PathBuf::from(name)
        };
        let path = beside(&self.target.path);
        if !manifest.skipped.is_empty() {
            write_durable(&beside(&self.target.staging), &path, &manifest.skipped_text())?;
        } else if self.overwrite && path.is_file() {
            fs::remove_file(&path).map_err(|error| StorageError::io("delete", &path, error))?;
        }
        Ok(())
    }

    /// Refuses when the disk of the store is at its reserve; other disks have none.
    fn check_room(&self) -> Result<(), StorageError> {
        if self.target.is_in_store() { self.store.check_room(&self.target.name) } else { Ok(()) }
    }

    fn blocked_by_name(&self, error: StorageError) -> CommitError {
        match error {
            StorageError::Exists { .. } => {
                let name = &self.target.name;
                let why =
                    format!("`{name}` appeared while the job ran; move it away, and the commit goes on by itself");
                CommitError::Blocked { why }
            }
            error => error.into(),
        }
    }

    fn check_free(&self) -> Result<(), CommitError> {
        self.target.check_free(self.overwrite).map_err(|error| CommitError::Blocked { why: error.to_string() })
    }

    /// Deletes what an interrupted try left half written, so that it does not become visible with the rest.
    fn clear_leftovers(&self) -> Result<(), StorageError> {
        let staging = &self.target.staging;
        let failed = |error| StorageError::io("clear", staging, error);
        let parts: HashSet<_> = self.output.parts.iter().map(|part| self.output.name_of(part)).collect();
        for entry in fs::read_dir(staging).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().to_str().is_some_and(|name| parts.contains(name)) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes a part's text into the staging directory, unless an equal file is there.
    fn part(&self, part: &PartSource) -> Result<ManifestPart, CommitError> {
        let (name, bytes) = (self.output.name_of(part), part.output.text_bytes);
        let path = self.target.staging.join(&name);
        let staging = self.target.staging.join(format!(".{name}"));
        if part.is_finished() {
            self.check_room()?;
            let checksum = shown(finished::place(part, self.store, &staging, &path)?);
            return Ok(ManifestPart { name, bytes, records: part.output.records, checksum, stored: None });
        }
        let text = || Text::concatenated(self.store.clone(), vec![part.clone()], 0..bytes);
        let done = |checksum| ManifestPart {
            name: name.clone(),
            bytes,
            records: part.output.records,
            checksum: shown(checksum),
            stored: None,
        };
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes) {
            let checksum = copy(&mut text(), |_| Ok(()))?;
            if file_checksum(&path)? == checksum {
                return Ok(done(checksum));
            }
        }
        self.check_room()?;
        let mut staged = Staged::create(staging)?;
        let checksum = copy(&mut text(), |chunk| {
            staged.write_all(chunk).map_err(|error| StorageError::io("write", &path, error))
        })?;
        staged.sync()?;
        staged.rename(&path)?;
        Ok(done(checksum))
    }
}

/// Hands out a text in chunks and returns its checksum.
fn copy(text: &mut Text, mut write: impl FnMut(&[u8]) -> Result<(), StorageError>) -> Result<Checksum, CommitError> {
    let mut checksum = Checksum::default();
    let mut chunk = Vec::with_capacity(limits::RENDER_CHUNK_BYTES);
    loop {
        chunk.clear();
        let more = text.fill(&mut chunk, limits::RENDER_CHUNK_BYTES)?;
        checksum.update(&chunk);
        write(&chunk)?;
        if !more {
            return Ok(checksum);
        }
    }
}

/// A checksum as manifests have it.
fn shown(checksum: Checksum) -> String {
    format!("{}:{:016x}", Checksum::NAME, checksum.crc())
}

fn file_checksum(path: &Path) -> Result<Checksum, StorageError> {
    let failed = |error| StorageError::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut checksum = Checksum::default();
    let mut chunk = vec![0; limits::RENDER_CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(checksum),
            read => checksum.update(&chunk[..read]),
        }
    }
}

/// Writes a small file under a temporary name, durably, and gives it its name; one that is there is replaced.
fn write_durable(staging: &Path, path: &Path, text: &[u8]) -> Result<(), StorageError> {
    let mut staged = Staged::create(staging.to_owned())?;
    staged.write_all(text).map_err(|error| StorageError::io("write", staged.path(), error))?;
    staged.publish(path)
}

fn sync_parent(path: &Path) -> Result<(), StorageError> {
    sync_directory(path.parent().unwrap_or(path))
}

fn remove_directory(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::io("delete", path, error)),
        _ => Ok(()),
    }
}
