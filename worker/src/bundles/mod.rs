//! Bundles on a worker: fetched once, verified, kept for all workers of the state directory, given to attempts.
//!
//! An attempt gets a copy of a small file and a link to a large one or to an unpacked archive; both are read-only. What a
//! job of this executor uses is locked and is not evicted until the executor goes on to another job.

mod cache;
mod extract;
mod tar;
#[cfg(test)]
mod tests;
mod tree;
mod zip;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gristmill_common::program::BundleFile;
use gristmill_common::reason::bounded;
use gristmill_common::{Code, Digest, Reason, limits};

use self::cache::{Cache, Form, Lock};
use self::extract::{Caps, UnpackError, unpack};
use crate::executor::{Coordinator, RemoteReader, worker_failure};
use crate::program::ReadFailed;

/// The bundles of one executor.
pub(crate) struct Bundles {
    cache: Cache,
    /// What is in use, and the lock that says so to other processes.
    held: Mutex<BTreeMap<(Digest, Form), Lock>>,
}

impl Bundles {
    /// Uses the cache of this state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self::with_limit(state_dir, limits::BUNDLE_CACHE_BYTES)
    }

    fn with_limit(state_dir: &Path, limit_bytes: u64) -> Self {
        Self { cache: Cache::new(state_dir.join("bundles"), limit_bytes), held: Mutex::default() }
    }

    /// Puts files and unpacked archives under their names into an attempt's directory.
    ///
    /// # Errors
    /// [`Reason::UserError`] for an archive that is not unpacked, [`Reason::Worker`] when something cannot be fetched or kept.
    pub(crate) fn link(
        &self,
        coordinator: &Coordinator,
        token: &str,
        files: &[BundleFile],
        directory: &Path,
    ) -> Result<(), Reason> {
        for BundleFile { name, sha256, archive } in files {
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                return Err(Reason::Worker { message: bounded(format!("`{name}` cannot be a file's name")) });
            }
            let form = if *archive { Form::Tree } else { Form::File };
            let kept = self.hold(coordinator, token, *sha256, form, name)?;
            let put = match form {
                Form::File if fs::metadata(&kept).is_ok_and(|facts| facts.len() <= limits::BUNDLE_COPY_BYTES) => {
                    fs::copy(&kept, directory.join(name)).map(drop)
                }
                // Not hard links: a program may change what it owns, and the cache is everybody's.
                Form::File | Form::Tree => symlink(&kept, directory.join(name)),
            };
            put.map_err(|error| worker_failure(&format!("put `{name}` into the working directory"), &error))?;
        }
        Ok(())
    }

    /// Returns where the verified content of a bundle is.
    ///
    /// # Errors
    /// [`Reason::Worker`] when it cannot be fetched or kept.
    pub(crate) fn path(&self, coordinator: &Coordinator, token: &str, sha256: Digest) -> Result<PathBuf, Reason> {
        self.hold(coordinator, token, sha256, Form::File, "a bundle")
    }

    /// Says that what was used is not used any more: the executor goes on to another job.
    pub(crate) fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Finds or makes an entry and keeps it from being evicted.
    fn hold(
        &self,
        coordinator: &Coordinator,
        token: &str,
        sha256: Digest,
        form: Form,
        name: &str,
    ) -> Result<PathBuf, Reason> {
        let path = self.cache.path(sha256, form);
        let is_held = |held: &BTreeMap<_, _>| held.contains_key(&(sha256, form));
        if is_held(&*self.held.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(path);
        }
        let failed = |error: io::Error| worker_failure("use the cache of bundles", &error);
        let lock = loop {
            coordinator.tick();
            if let Some(lock) = self.cache.find(sha256, form, || coordinator.tick()).map_err(failed)? {
                break lock;
            }
            if let Some(making) = self.cache.begin(sha256, form).map_err(failed)? {
                match form {
                    Form::File => self.fetch(coordinator, token, sha256)?,
                    Form::Tree => self.unpack(coordinator, token, sha256, name)?,
                }
                drop(making);
            } else {
                // Another executor makes it, or evicts it.
                coordinator.pause(&mut gristmill_client::Backoff::default());
            }
        };
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert((sha256, form), lock);
        Ok(path)
    }

    fn fetch(&self, coordinator: &Coordinator, token: &str, sha256: Digest) -> Result<(), Reason> {
        let (calls, token) = (coordinator.clone(), token.to_owned());
        let open = move |from| {
            calls.try_call(|client| {
                let token = token.clone();
                async move { client.bundle(&token, sha256, from).await }
            })
        };
        let explain = Box::new(move |error: &gristmill_client::ClientError| match error.code() {
            Some(Code::NotFound) => Reason::UserError {
                message: bounded(format!("bundle {sha256} is gone: {error}; upload it and run the job again")),
                at: None,
            },
            _ => worker_failure("fetch a bundle", error),
        });
        let mut body = RemoteReader::open(coordinator.clone(), Box::new(open), explain, 0, None)?;
        let bytes = body.size().unwrap_or(limits::BUNDLE_BYTES);
        let kept = self.cache.make_room(bytes).and_then(|()| self.cache.write(sha256, &mut body));
        kept.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<ReadFailed>()) {
            Some(ReadFailed(reason)) => reason.clone(),
            None => worker_failure("keep a bundle", &error),
        })
    }

    fn unpack(&self, coordinator: &Coordinator, token: &str, sha256: Digest, name: &str) -> Result<(), Reason> {
        let archive = self.hold(coordinator, token, sha256, Form::File, name)?;
        let failed = |error: io::Error| worker_failure(&format!("unpack `{name}`"), &error);
        let size = File::open(&archive).and_then(|file| file.metadata()).map_err(failed)?.len();
        let caps = Caps::of(size);
        self.cache.make_room(size).map_err(failed)?;
        let into = self.cache.stage_tree(sha256).map_err(failed)?;
        let unpacked = unpack(&archive, &into, caps, &|| coordinator.tick());
        match unpacked {
            Ok(bytes) => self.cache.keep_tree(sha256, bytes).map_err(failed),
            Err(error) => {
                self.cache.drop_stage(sha256);
                Err(match error {
                    UnpackError::Refused(why) => {
                        let message = bounded(format!("the archive `{name}` is not unpacked: {why}"));
                        Reason::UserError { message, at: None }
                    }
                    UnpackError::Io(error) => failed(error),
                })
            }
        }
    }
}
