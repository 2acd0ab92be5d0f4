//! Commits an output that stays in the coordinator's store: the parts are there, one manifest makes them an output.
//!
//! A job may have a million parts, so the manifest is written part by part and never held as a whole.

use gristmill_common::JobId;
use gristmill_common::api::{OutputView, SkippedView};
use serde::{Serialize, Serializer};

use super::manifest::{Manifest, ManifestPart, StoredPart, part_name};
use super::{CommitError, Finished, Steps};
use crate::render::PartSource;
use crate::store::Store;

/// A [`Manifest`] as it is written.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    job: JobId,
    sorted: bool,
    #[serde(serialize_with = "write_parts")]
    parts: &'a [PartSource],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    skipped: &'a [SkippedView],
}

fn write_parts<S: Serializer>(parts: &[PartSource], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(parts.iter().map(|part| ManifestPart {
        name: part_name(part.index),
        bytes: part.output.text_bytes,
        records: part.output.records,
        checksum: format!("xxh3:{}", part.output.digest),
        stored: Some(StoredPart { fence: part.fence, blob: part.name.clone(), output: part.output.clone() }),
    }))
}

/// Looks at every part and writes the manifest. Writing an equal one again changes nothing.
pub(super) fn commit(output: &Finished, store: &Store, steps: Steps<'_>) -> Result<OutputView, CommitError> {
    for part in &output.parts {
        // Every block, though each was checked when it arrived: once the manifest is there nothing can be made again.
        part.verify(store)?;
    }
    let Finished { job, sorted, ordered: _, parts, skipped, ending: _ } = output;
    let manifest = Written { version: Manifest::VERSION, job: *job, sorted: *sorted, parts, skipped };
    steps("write the manifest")?;
    store.put_manifest(*job, |file| Ok(serde_json::to_writer_pretty(&mut *file, &manifest)?))?;
    steps("report success")?;
    let url = format!("/v1/jobs/{job}/output");
    let bytes = parts.iter().map(|part| part.output.text_bytes).sum();
    let records = parts.iter().map(|part| part.output.records).sum();
    Ok(OutputView { url, bytes, records, parts: parts.len() as u32 })
}
