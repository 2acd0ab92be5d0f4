//! The directories that may be touched through `file://` URLs: none unless allowed, the data directory never.
//!
//! A path must lie under an allowed directory as it is written, and again after every symbolic link in it is resolved.
//! The written check comes first, so that nothing outside is even looked at. Links that stay inside are fine.

use std::fs::{File, Metadata};
use std::path::{Component, Path, PathBuf};

use crate::beneath;
use crate::error::StorageError;

/// Allowed directories, and forbidden ones beneath them.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    allowed: Vec<Root>,
    forbidden: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct Root {
    /// As it was given, made absolute: what other machines are told.
    named: PathBuf,
    /// With all symbolic links resolved.
    real: PathBuf,
}

impl Roots {
    /// Allows nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Allows these directories, but nothing under the forbidden ones (the data or state directory).
    ///
    /// # Errors
    /// For a directory that does not exist, is relative, or is no directory.
    pub fn new<A, F>(allowed: A, forbidden: F) -> Result<Self, StorageError>
    where
        A: IntoIterator<Item: AsRef<Path>>,
        F: IntoIterator<Item: AsRef<Path>>,
    {
        let mut roots = Self::default();
        for path in forbidden {
            let path = path.as_ref();
            roots.forbidden.push(path.canonicalize().map_err(|error| StorageError::io("resolve", path, error))?);
        }
        for path in allowed {
            let path = path.as_ref();
            let denied = |why: &str| StorageError::Denied { path: path.display().to_string(), why: why.to_owned() };
            if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
                return Err(denied("cannot be an allowed directory: give an absolute path without `..`"));
            }
            let real = path.canonicalize().map_err(|error| StorageError::io("resolve", path, error))?;
            if !real.is_dir() {
                return Err(denied("cannot be an allowed directory: it is not a directory"));
            }
            if roots.forbidden.iter().any(|forbidden| real.starts_with(forbidden)) {
                return Err(denied("cannot be an allowed directory: it is in the data directory"));
            }
            roots.allowed.push(Root { named: path.components().collect(), real });
        }
        Ok(roots)
    }

    /// Returns the allowed directories as they were given.
    pub fn allowed(&self) -> impl Iterator<Item = &Path> {
        self.allowed.iter().map(|root| root.named.as_path())
    }

    /// Returns the allowed directory that covers a path as it is written, if one does; the innermost of several.
    #[must_use]
    pub fn covering(&self, path: &Path) -> Option<&Path> {
        let covers = |root: &&Root| path.starts_with(&root.named) || path.starts_with(&root.real);
        let innermost = self.allowed.iter().filter(covers).max_by_key(|root| root.named.as_os_str().len())?;
        Some(&innermost.named)
    }

    /// Resolves a path that exists.
    ///
    /// # Errors
    /// [`StorageError::Denied`] outside the allowed directories, [`StorageError::NotFound`], or what the system says.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, StorageError> {
        self.check_written(path)?;
        let real = path.canonicalize().map_err(|error| StorageError::io("resolve", path, error))?;
        self.check_real(path, &real)?;
        Ok(real)
    }

    /// Resolves a path whose last name need not exist: its directory must.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_new(&self, path: &Path) -> Result<PathBuf, StorageError> {
        self.check_written(path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.refusal(path));
        };
        let real = self.resolve(parent)?.join(name);
        // What is there under that name may be a link out of the roots, or into the data directory.
        if real.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
            let why = "is a symbolic link: an output replaces no links; remove it or name its target".to_owned();
            return Err(StorageError::Denied { path: path.display().to_string(), why });
        }
        self.check_real(path, &real)?;
        Ok(real)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// As [`Self::resolve`], and for what is not a regular file.
    pub fn open(&self, path: &Path) -> Result<(File, Metadata), StorageError> {
        let real = self.resolve(path)?;
        let root = self.allowed.iter().find(|root| real.starts_with(&root.real)).ok_or_else(|| self.refusal(path))?;
        let relative = real.strip_prefix(&root.real).unwrap_or(&real);
        let refused =
            |why: &str| Err(StorageError::Denied { path: path.display().to_string(), why: format!("{why}: no input") });
        if relative.as_os_str().is_empty() {
            return refused("is a directory");
        }
        let file = beneath::open(&root.real, relative).map_err(|error| StorageError::io("open", path, error))?;
        let metadata = file.metadata().map_err(|error| StorageError::io("open", path, error))?;
        if !metadata.is_file() {
            return refused(if metadata.is_dir() { "is a directory" } else { "is not a regular file" });
        }
        Ok((file, metadata))
    }

    /// Checks a path that was resolved by walking; `shown` is what the error names.
    pub(crate) fn check_real(&self, shown: &Path, real: &Path) -> Result<(), StorageError> {
        if self.forbidden.iter().any(|forbidden| real.starts_with(forbidden)) {
            let why = "is in Gristmill's own data directory, which is never read or written for a job; \
                       name a directory beside it"
                .to_owned();
            return Err(StorageError::Denied { path: shown.display().to_string(), why });
        }
        if self.allowed.iter().any(|root| real.starts_with(&root.real)) {
            return Ok(());
        }
        if self.covering(shown).is_some() {
            let why = format!(
                "leads to `{}` through a symbolic link, which is not under an allowed directory; \
                 `--allow-path DIR` adds one",
                real.display()
            );
            return Err(StorageError::Denied { path: shown.display().to_string(), why });
        }
        Err(self.refusal(shown))
    }

    fn check_written(&self, path: &Path) -> Result<(), StorageError> {
        if path.components().any(|part| part == Component::ParentDir) {
            let why = "holds `..`; write the path without it".to_owned();
            return Err(StorageError::Denied { path: path.display().to_string(), why });
        }
        if self.covering(path).is_none() {
            return Err(self.refusal(path));
        }
        Ok(())
    }

    fn refusal(&self, path: &Path) -> StorageError {
        let named: Vec<_> = self.allowed.iter().map(|root| root.named.clone()).collect();
        StorageError::not_under_a_root(path, &named)
    }
}
