//! Commits an output that stays in the coordinator's store: the parts are there, one manifest makes them an output.

use gristmill_common::api::OutputView;

use super::manifest::{Manifest, ManifestPart, StoredPart, part_name};
use super::{CommitError, Finished, Steps};
use crate::store::Store;

/// Looks at every part and writes the manifest. Writing an equal one again changes nothing.
pub(super) fn commit(output: &Finished, store: &Store, steps: Steps<'_>) -> Result<OutputView, CommitError> {
    for part in &output.parts {
        // Every block, though each was checked when it arrived: once the manifest is there nothing can be made again.
        part.verify(store)?;
    }
    let parts = output.parts.iter().map(|part| ManifestPart {
        name: part_name(part.index),
        bytes: part.output.text_bytes,
        records: part.output.records,
        checksum: format!("xxh3:{}", part.output.digest),
        stored: Some(StoredPart { fence: part.fence, blob: part.name.clone(), output: part.output.clone() }),
    });
    let manifest = Manifest::new(output.job, output.sorted, parts.collect(), output.skipped.clone());
    steps("write the manifest")?;
    store.put_manifest(output.job, &manifest.to_text())?;
    steps("report success")?;
    let url = format!("/v1/jobs/{}/output", output.job);
    let (bytes, records) = (manifest.bytes(), manifest.records());
    Ok(OutputView { url, bytes, records, parts: manifest.parts.len() as u32 })
}
