//! Where an output in the file system or among the store's files goes, under which names it is written, and whether it may go there.
//!
//! Everything is written beside the target, or in the store beside all files, so that one rename makes it visible. An
//! existing output is replaced only when asked to, and a directory only when it holds nothing but what an earlier job wrote: an `-o` that names the wrong
//! directory must not cost anybody's files.

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_common::JobId;
use gristmill_storage::{Location, Roots, StorageError, file_url, sync_directory};

use super::manifest::{Manifest, SKIPPED};
use crate::store::{SUCCESS, Store};

/// An output in the file system or among the store's files.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What people know it by: a path, or a `store://` URL.
    pub(crate) name: String,
    /// Directory of the store's files, for an output among them: directories between it and the output are made.
    files: Option<PathBuf>,
    /// The path with links resolved.
    pub(crate) path: PathBuf,
    /// Whether it is a directory of parts or one file.
    pub(crate) is_directory: bool,
    /// Where the output is written: `.NAME.JOB` beside it.
    pub(crate) staging: PathBuf,
    /// Where an output that is replaced waits for its end: `.NAME.JOB.old`.
    pub(crate) aside: PathBuf,
}

/// Writes the URL of an output as every URL of the same place is written: decoded and encoded again, and its links
/// resolved where its directory is there. What is no URL of an output stays as it is, for the planner to refuse. Blocks.
pub(crate) fn canonical(url: &str, roots: &Roots) -> String {
    let slash = if url.ends_with('/') { "/" } else { "" };
    if let Ok(path) = Location::parse_store(url) {
        return format!("{}{slash}", path.url());
    }
    let Ok(path) = Location::parse_file(url) else { return url.to_owned() };
    let path = roots.resolve_new(&path).unwrap_or(path);
    if path.file_name().is_none() {
        return url.to_owned();
    }
    format!("{}{slash}", file_url(&path))
}

/// Longest name that leaves room for the names derived from it in the 255 bytes of a file name.
const NAME_BYTES: usize = 200;

impl Target {
    /// Resolves an output URL. Blocks.
    pub(crate) fn resolve(url: &str, job: JobId, store: &Store, roots: &Roots) -> Result<Self, StorageError> {
        if url.starts_with("store:") { Self::in_store(url, job, store) } else { Self::in_files(url, job, roots) }
    }

    /// Resolves a place among the store's files. It is written elsewhere in the store: no listing shows half an output.
    fn in_store(url: &str, job: JobId, store: &Store) -> Result<Self, StorageError> {
        let path = store.files().place(&Location::parse_store(url)?);
        let staging = store.commits().join(job.to_string());
        let aside = store.commits().join(format!("{job}.old"));
        let files = store.files_directory();
        if path.ancestors().skip(1).take_while(|above| above.starts_with(&files)).any(Path::is_file) {
            return Err(StorageError::Exists { what: url.to_owned(), advice: " in part: a name above it is a file" });
        }
        Ok(Self { name: url.to_owned(), files: Some(files), is_directory: url.ends_with('/'), staging, aside, path })
    }

    /// Resolves a place in the file system; its parent directory must exist under the roots.
    fn in_files(url: &str, job: JobId, roots: &Roots) -> Result<Self, StorageError> {
        let path = roots.resolve_new(&Location::parse_file(url)?)?;
        let bad = |why: &str| StorageError::BadUrl { url: url.to_owned(), why: why.to_owned() };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(bad("an output needs a name"));
        };
        let name = name.to_str().ok_or_else(|| bad("the name of an output is UTF-8"))?;
        if name.len() > NAME_BYTES {
            return Err(bad("the name of an output is at most 200 bytes long"));
        }
        if !parent.is_dir() {
            return Err(bad("the directory above it is a file"));
        }
        let staging = parent.join(format!(".{name}.{job}"));
        let aside = parent.join(format!(".{name}.{job}.old"));
        let shown = path.display().to_string();
        Ok(Self { name: shown, files: None, is_directory: url.ends_with('/'), staging, aside, path })
    }

    /// Says whether it is among the store's files, on the store's disk.
    pub(crate) fn is_in_store(&self) -> bool {
        self.files.is_some()
    }

    /// Makes the directories above an output in the store, durably.
    pub(crate) fn make_parents(&self) -> Result<(), StorageError> {
        let Some(files) = &self.files else { return Ok(()) };
        let mut above: Vec<_> = self.path.ancestors().skip(1).take_while(|above| *above != files).collect();
        above.reverse();
        for directory in above {
            match fs::create_dir(directory) {
                Ok(()) => sync_directory(directory.parent().unwrap_or(directory))?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && directory.is_dir() => {}
                Err(error) => return Err(StorageError::io("create", directory, error)),
            }
        }
        Ok(())
    }

    /// Refuses a target in whose directory nothing can be made: better before the job than after it.
    pub(crate) fn check_writable(&self) -> Result<(), StorageError> {
        if self.files.is_some() {
            return Ok(());
        }
        let failed = |error| StorageError::io("write to the directory of", &self.path, error);
        match fs::File::create_new(&self.staging) {
            Ok(_) => fs::remove_file(&self.staging).map_err(failed),
            // An earlier try of the same job was interrupted here.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes away what an unfinished commit left.
    pub(crate) fn abandon(&self) -> Result<(), StorageError> {
        let Self { path, staging, aside, .. } = self;
        if aside.symlink_metadata().is_ok() && path.symlink_metadata().is_err() {
            fs::rename(aside, path).map_err(|error| StorageError::io("put back", path, error))?;
            sync_directory(path.parent().unwrap_or(path))?;
        }
        let removed = match staging.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(staging),
            Ok(_) => fs::remove_file(staging),
            Err(_) => Ok(()),
        };
        removed.map_err(|error| StorageError::io("delete", staging, error))
    }

    /// Refuses a target that is taken, unless it may be overwritten.
    pub(crate) fn check_free(&self, overwrite: bool) -> Result<(), StorageError> {
        let Ok(metadata) = self.path.symlink_metadata() else { return Ok(()) };
        let taken = |advice| Err(StorageError::Exists { what: self.name.clone(), advice });
        if !overwrite {
            return taken("; name another output, remove it, or set `overwrite` (`--overwrite`)");
        }
        match (self.is_directory, metadata.is_dir(), metadata.is_file()) {
            (true, true, _) => self.check_replaceable(),
            (false, _, true) => Ok(()),
            (true, false, _) => taken(" and is no directory"),
            (false, ..) => taken(" and is no file"),
        }
    }

    /// Refuses a directory that holds anything but an earlier output.
    fn check_replaceable(&self) -> Result<(), StorageError> {
        let listed = fs::read_dir(&self.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let names: Vec<_> = listed.map_err(|error| StorageError::io("list", &self.path, error))?;
        let manifest = Manifest::of_directory(&self.path);
        let written = |name: &Path| {
            let parts = manifest.iter().flat_map(|manifest| &manifest.parts);
            (name == Path::new(SUCCESS) || name == Path::new(SKIPPED)) && manifest.is_some()
                || parts.into_iter().any(|part| name == Path::new(&part.name))
        };
        for entry in names {
            let name = PathBuf::from(entry.file_name());
            if !written(&name) {
                let (path, why) = (
                    self.name.clone(),
                    format!(
                        "is not overwritten: it holds `{}`, which is not of an earlier output; move it away",
                        name.display()
                    ),
                );
                return Err(StorageError::Denied { path, why });
            }
        }
        Ok(())
    }
}
