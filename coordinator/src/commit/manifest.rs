//! `_SUCCESS`: the last file of an output to appear, saying what the output is.

use std::path::Path;

use gristmill_common::api::SkippedView;
use gristmill_common::wire::{Location, Output};
use gristmill_common::{Fence, JobId};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::render::PartSource;
use crate::store::{SUCCESS, Store, StoreError};

/// An output that is complete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub version: u32,
    /// The job that made it.
    pub job: JobId,
    /// Whether each part is in the order of its keys.
    pub sorted: bool,
    /// The parts, in order.
    pub parts: Vec<ManifestPart>,
    /// Records that the output lacks because the program could not deal with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedView>,
}

/// One part of an output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestPart {
    /// Its file name.
    pub name: String,
    /// Bytes of its text.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// `crc64nvme:` of the bytes of a file (`sha256:` in older manifests), `xxh3:` of the records of a part in the store.
    pub checksum: String,
    /// Where a part in the store is; absent for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredPart>,
}

/// A part in the coordinator's store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPart {
    /// The attempt that won it.
    pub fence: Fence,
    /// Its name among the store's outputs.
    pub blob: String,
    /// What was reported of it; small ones bring their bytes.
    pub output: Output,
}

impl Manifest {
    /// Version of the format written here.
    pub const VERSION: u32 = 1;

    /// Starts the manifest of a job.
    #[must_use]
    pub fn new(job: JobId, sorted: bool, parts: Vec<ManifestPart>, skipped: Vec<SkippedView>) -> Self {
        Self { version: Self::VERSION, job, sorted, parts, skipped }
    }

    /// Reads the manifest of an output in the store. Blocks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, [`StoreError::Damaged`] if it cannot be read.
    pub fn of_store(store: &Store, job: JobId) -> Result<Self, StoreError> {
        let damaged = |why| StoreError::Damaged { what: format!("the manifest of job {job}"), why };
        let read = serde_json::from_reader(store.open_manifest(job)?);
        let manifest: Self = read.map_err(|error| damaged(error.to_string()))?;
        if manifest.version != Self::VERSION || manifest.job != job {
            return Err(damaged(format!("it is version {} of job {}", manifest.version, manifest.job)));
        }
        Ok(manifest)
    }

    /// Reads of the manifest of an output in the store only which blobs it needs. Blocks.
    ///
    /// # Errors
    /// As [`Manifest::of_store`].
    pub fn blobs_of_store(store: &Store, job: JobId) -> Result<Vec<String>, StoreError> {
        let read = serde_json::from_reader(store.open_manifest(job)?);
        let Needed { parts } = read.map_err(|error: serde_json::Error| StoreError::Damaged {
            what: format!("the manifest of job {job}"),
            why: error.to_string(),
        })?;
        Ok(parts)
    }

    /// Reads the manifest in a directory; `None` if there is none or it is not one of ours. Blocks.
    #[must_use]
    pub fn of_directory(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(SUCCESS)).ok()?).ok()
    }

    /// Writes it as a file's text.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Writes the dead-letter file: a JSON object a line for each record that the output lacks.
    #[must_use]
    pub fn skipped_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for skipped in &self.skipped {
            text.extend(serde_json::to_vec(skipped).unwrap_or_default());
            text.push(b'\n');
        }
        text
    }

    /// Returns the parts as they lie in the store, in order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if this is the manifest of files.
    pub fn stored_parts(&self) -> Result<Vec<PartSource>, StoreError> {
        let sources = self.parts.iter().enumerate().map(|(index, part)| {
            let stored = part.stored.as_ref()?;
            let (fence, name, output) = (stored.fence, stored.blob.clone(), stored.output.clone());
            Some(PartSource { index: u32::try_from(index).ok()?, fence, name, output })
        });
        sources.collect::<Option<_>>().ok_or_else(|| StoreError::Damaged {
            what: format!("the manifest of job {}", self.job),
            why: "a part of it is not in the store".to_owned(),
        })
    }

    /// Returns the bytes of text.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Returns the records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.parts.iter().map(|part| part.records).sum()
    }
}

/// The blobs of a manifest, picked as it is read: of a million parts without any nothing is kept.
#[derive(Deserialize)]
struct Needed {
    #[serde(deserialize_with = "blobs")]
    parts: Vec<String>,
}

fn blobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Blobs;
    impl<'de> Visitor<'de> for Blobs {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the parts of an output")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
            let mut blobs = Vec::new();
            while let Some(part) = parts.next_element::<ManifestPart>()? {
                blobs
                    .extend(part.stored.filter(|stored| stored.output.at == Location::Store).map(|stored| stored.blob));
            }
            Ok(blobs)
        }
    }
    deserializer.deserialize_seq(Blobs)
}

/// Name of the dead-letter file in a directory of parts; beside an output that is one file, its name ends so.
pub const SKIPPED: &str = "_SKIPPED";

/// Returns the file name of a part.
#[must_use]
pub fn part_name(index: u32) -> String {
    format!("part-{index:05}")
}
