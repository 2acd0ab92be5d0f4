//! Plan blobs: written once, durable before the journal names them, checked against the journal's digest when read.
//!
//! Workers ask for slices of plans all the time, so the last ones stay parsed in memory, bounded by the size of their
//! blobs.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use gristmill_common::plan::Plan;
use gristmill_common::{Digest, JobId, limits};
use gristmill_storage::StorageError;

use super::{Store, StoreError, blocking, lock};

/// Parsed plans, the last used at the end.
#[derive(Debug, Default)]
pub(super) struct PlanCache {
    plans: Vec<CachedPlan>,
}

#[derive(Debug)]
struct CachedPlan {
    job: JobId,
    digest: Digest,
    blob_bytes: usize,
    plan: Arc<Plan>,
}

impl PlanCache {
    fn find(&mut self, job: JobId, digest: Digest) -> Option<Arc<Plan>> {
        let at = self.plans.iter().position(|cached| cached.job == job && cached.digest == digest)?;
        let cached = self.plans.remove(at);
        let plan = Arc::clone(&cached.plan);
        self.plans.push(cached);
        Some(plan)
    }

    fn insert(&mut self, cached: CachedPlan) {
        self.forget(cached.job);
        self.plans.push(cached);
        let mut total: usize = self.plans.iter().map(|cached| cached.blob_bytes).sum();
        // The one just used stays, however large: it would be read again at once.
        while total > limits::PLAN_CACHE_BYTES && self.plans.len() > 1 {
            total -= self.plans.remove(0).blob_bytes;
        }
    }

    fn forget(&mut self, job: JobId) {
        self.plans.retain(|cached| cached.job != job);
    }
}

impl Store {
    /// Writes a job's plan blob, durably, replacing one that was written before its journal entry was.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_plan(&self, job: JobId, blob: Vec<u8>) -> Result<(), StoreError> {
        self.0.room.check("a plan")?;
        let (store, path) = (self.clone(), self.plan_path(job));
        blocking(move || {
            let mut staged = store.stage()?;
            staged.write_all(&blob).map_err(|error| StorageError::io("write", staged.path(), error))?;
            Ok(staged.publish(&path)?)
        })
        .await
    }

    /// Returns a job's plan, which must have this digest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Damaged`].
    pub async fn plan(&self, job: JobId, digest: Digest) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = lock(&self.0.plans).find(job, digest) {
            return Ok(plan);
        }
        let store = self.clone();
        blocking(move || {
            let (plan, blob_bytes) = store.read_plan(job, digest)?;
            lock(&store.0.plans).insert(CachedPlan { job, digest, blob_bytes, plan: Arc::clone(&plan) });
            Ok(plan)
        })
        .await
    }

    fn read_plan(&self, job: JobId, digest: Digest) -> Result<(Arc<Plan>, usize), StoreError> {
        let (path, what) = (self.plan_path(job), format!("the plan of job {job}"));
        let blob = match fs::read(&path) {
            Ok(blob) => blob,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::NotFound { what }),
            Err(error) => return Err(StorageError::io("read", &path, error).into()),
        };
        let found = Digest::of(&blob);
        if found != digest {
            let why =
                format!("its digest is {found}, the journal says {digest}; restore {} from a backup", path.display());
            return Err(StoreError::Damaged { what, why });
        }
        match serde_json::from_slice(&blob) {
            Ok(plan) => Ok((Arc::new(plan), blob.len())),
            Err(error) => Err(StoreError::Damaged { what, why: format!("written by another version? {error}") }),
        }
    }

    pub(super) fn drop_plan(&self, job: JobId) -> Result<(), StoreError> {
        lock(&self.0.plans).forget(job);
        let path = self.plan_path(job);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io("delete", &path, error).into())
            }
            _ => Ok(()),
        }
    }

    fn plan_path(&self, job: JobId) -> PathBuf {
        self.0.directory.join("plans").join(format!("{job}.json"))
    }
}
