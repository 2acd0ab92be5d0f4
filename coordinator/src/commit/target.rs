//! Where an output in the file system goes, under which names it is written, and whether it may go there.
//!
//! Everything is written beside the target, so that one rename makes it visible. An existing output is replaced only
//! when asked to, and a directory only when it holds nothing but what an earlier job wrote: an `-o` that names the wrong
//! directory must not cost anybody's files.

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_common::JobId;
use gristmill_storage::{Location, Roots, StorageError, file_url};

use super::manifest::Manifest;
use crate::store::SUCCESS;

/// An output in the file system.
#[derive(Clone, Debug)]
pub(crate) struct Target {
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
    let Ok(path) = Location::parse_file(url) else { return url.to_owned() };
    let path = roots.resolve_new(&path).unwrap_or(path);
    if path.file_name().is_none() {
        return url.to_owned();
    }
    format!("{}{}", file_url(&path), if url.ends_with('/') { "/" } else { "" })
}

/// Longest name that leaves room for the names derived from it in the 255 bytes of a file name.
const NAME_BYTES: usize = 200;

impl Target {
    /// Resolves an output URL; its parent directory must exist under the roots. Blocks.
    pub(crate) fn resolve(url: &str, job: JobId, roots: &Roots) -> Result<Self, StorageError> {
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
        Ok(Self { is_directory: url.ends_with('/'), staging, aside, path })
    }

    /// Refuses a target in whose directory nothing can be made: better before the job than after it.
    pub(crate) fn check_writable(&self) -> Result<(), StorageError> {
        let failed = |error| StorageError::io("write to the directory of", &self.path, error);
        match fs::File::create_new(&self.staging) {
            Ok(_) => fs::remove_file(&self.staging).map_err(failed),
            // An earlier try of the same job was interrupted here.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Refuses a target that is taken, unless it may be overwritten.
    pub(crate) fn check_free(&self, overwrite: bool) -> Result<(), StorageError> {
        let Ok(metadata) = self.path.symlink_metadata() else { return Ok(()) };
        let taken = |advice| Err(StorageError::Exists { what: self.path.display().to_string(), advice });
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
            name == Path::new(SUCCESS) && manifest.is_some()
                || parts.into_iter().any(|part| name == Path::new(&part.name))
        };
        for entry in names {
            let name = PathBuf::from(entry.file_name());
            if !written(&name) {
                let (path, why) = (
                    self.path.display().to_string(),
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
