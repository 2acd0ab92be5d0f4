//! Bundles: content that users uploaded once, named by its SHA-256, for all jobs that name it.
//!
//! A bundle appears when all of it is here and has the hash that it is named by. Its modification time is its last use;
//! touching and sweeping exclude each other, so that what a submit has just seen is not swept under it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use gristmill_common::digest::Hasher;
use gristmill_common::{Digest, limits};
use gristmill_storage::StorageError;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
use tokio::io::AsyncWriteExt as _;

use super::{LOOK_EVERY_BYTES, Store, StoreError, blocking, lock};

impl Store {
    /// Receives a bundle and keeps it if it is what its name says; returns whether it was not there before, and its size.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StorageError::Full`] at the reserve, [`StoreError::Damaged`] for other content than the
    /// name says, [`StorageError::Broken`] when the body fails; nothing appears then.
    pub async fn put_bundle<S, E>(&self, sha256: Digest, mut body: S) -> Result<(bool, u64), StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let what = format!("bundle {sha256}");
        self.0.room.check(&what)?;
        let store = self.clone();
        let staged = blocking(move || store.stage()).await?;
        let failed = |error| StoreError::Storage(StorageError::io("write", staged.path(), error));
        let mut file = tokio::fs::File::from_std(staged.try_clone().map_err(failed)?);
        let (mut hasher, mut bytes, mut since_look) = (Hasher::default(), 0_u64, 0);
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| StorageError::Broken { what: what.clone(), why: error.to_string() })?;
            bytes += chunk.len() as u64;
            if bytes > limits::BUNDLE_BYTES {
                return Err(StoreError::TooLarge { what, limit: limits::BUNDLE_BYTES });
            }
            since_look += chunk.len() as u64;
            if since_look >= LOOK_EVERY_BYTES {
                since_look = 0;
                self.0.room.check(&what)?;
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        let found = hasher.finish();
        if found != sha256 {
            return Err(StoreError::Damaged { what, why: format!("{bytes} bytes came, with the hash {found}") });
        }
        let (store, path) = (self.clone(), self.bundle_path(sha256));
        blocking(move || {
            let _sweeping = lock(&store.0.bundles);
            let is_new = !path.exists();
            staged.publish(&path)?;
            Ok((is_new, bytes))
        })
        .await
    }

    /// Says whether a bundle is there; if it is, it stays for another while. Blocks.
    #[must_use]
    pub fn use_bundle(&self, sha256: Digest) -> bool {
        let _sweeping = lock(&self.0.bundles);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        rustix::fs::utimensat(rustix::fs::CWD, self.bundle_path(sha256), &times, rustix::fs::AtFlags::empty()).is_ok()
    }

    /// Opens a bundle and returns its size. Its reader checks the hash. Blocks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn open_bundle(&self, sha256: Digest) -> Result<(File, u64), StoreError> {
        let path = self.bundle_path(sha256);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: format!("bundle {sha256}") },
            _ => StorageError::io("open", &path, error).into(),
        };
        let file = File::open(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok((file, bytes))
    }

    /// Deletes bundles that nobody names and that were not used for a while. Blocks.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn sweep_bundles(&self, named: &HashSet<Digest>, unused_for: Duration) -> Result<u64, StoreError> {
        let directory = self.0.directory.join("bundles");
        let failed = |error| StorageError::io("list", &directory, error);
        let mut swept = 0;
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            if name.is_none_or(|name| named.contains(&name)) {
                continue;
            }
            let _using = lock(&self.0.bundles);
            let age = entry.metadata().ok().and_then(|facts| facts.modified().ok()).and_then(|at| at.elapsed().ok());
            // A time in the future is a clock that was set back: it is old enough when the clock has caught up.
            if age.is_some_and(|age| age >= unused_for) && fs::remove_file(entry.path()).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn bundle_path(&self, sha256: Digest) -> PathBuf {
        self.0.directory.join("bundles").join(sha256.to_string())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn put(store: &Store, sha256: Digest, chunks: &[&'static [u8]]) -> Result<(bool, u64), StoreError> {
        let body = chunks.iter().map(|chunk| Ok::<_, io::Error>(Bytes::from_static(chunk)));
        store.put_bundle(sha256, stream::iter(body.collect::<Vec<_>>())).await
    }

    #[tokio::test]
    async fn a_bundle_is_what_its_name_says_or_is_not_there() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(home.path()).expect("a store");
        let name = Digest::of(b"abc");
        let error = put(&store, name, &[b"ab", b"d"]).await.expect_err("another hash");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(!store.use_bundle(name));
        assert_eq!(put(&store, name, &[b"ab", b"c"]).await.expect("kept"), (true, 3));
        assert_eq!(put(&store, name, &[b"abc"]).await.expect("kept again"), (false, 3));
        assert!(store.use_bundle(name));
        assert_eq!(store.open_bundle(name).expect("there").1, 3);
    }

    #[tokio::test]
    async fn what_nobody_names_goes_when_its_time_is_over() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(home.path()).expect("a store");
        let (named, unnamed) = (Digest::of(b"named"), Digest::of(b"unnamed"));
        put(&store, named, &[b"named"]).await.expect("kept");
        put(&store, unnamed, &[b"unnamed"]).await.expect("kept");
        let names = HashSet::from([named]);
        assert_eq!(store.sweep_bundles(&names, Duration::from_secs(3600)).expect("swept"), 0);
        assert_eq!(store.sweep_bundles(&names, Duration::ZERO).expect("swept"), 1);
        assert!(store.use_bundle(named) && !store.use_bundle(unnamed));
    }
}
