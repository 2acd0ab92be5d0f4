//! A store in a temporary directory and parts to put into it, for tests here and beside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use gristmill_common::plan::PartForm;
use gristmill_common::wire::{Location, Output, output_name};
use gristmill_common::{Fence, JobId, Stage};
use gristmill_runs::{Checksum, PartWriter, RunSummary};
use gristmill_storage::{Roots, StorePath};

use super::{Store, StoreError, StoreLimits};

/// A key and the text of its record.
pub(crate) type Record = (&'static str, &'static str);

pub(crate) struct World {
    pub(crate) home: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) roots: Roots,
    pub(crate) job: JobId,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_limits(StoreLimits { quota_bytes: 1 << 20, reserve_bytes: 0, is_durable: true })
    }

    pub(crate) fn with_limits(limits: StoreLimits) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        for name in ["data", "files"] {
            std::fs::create_dir(home.path().join(name)).expect("made");
        }
        let data = home.path().join("data");
        let store = Store::open_with(&data, limits).expect("opened");
        let roots = Roots::new([home.path().join("files")], [&data]).expect("allowed");
        Self { home, store, roots, job: JobId(uuid::Uuid::from_u128(7)) }
    }

    /// Opens the store again, as after a crash.
    pub(crate) fn reopen(&mut self) {
        let limits = StoreLimits { quota_bytes: 1 << 20, reserve_bytes: 0, is_durable: true };
        self.store = Store::open_with(&self.home.path().join("data"), limits).expect("opened");
    }

    /// Returns the URL of a name under the allowed directory.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("file://{}/files/{name}", self.home.path().display())
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("files").join(name)
    }

    pub(crate) async fn upload(&self, path: &str, bytes: &[u8]) {
        let path = StorePath::parse(path).expect("a path");
        self.store.put_file(&path, body(bytes)).await.expect("uploaded");
    }

    pub(crate) async fn put(
        &self,
        stage: Stage,
        index: u32,
        fence: Fence,
        run: &[u8],
    ) -> Result<RunSummary, StoreError> {
        self.store.put_output(&output_name(self.job, 0, stage, index, fence), body(run)).await
    }

    /// Makes the part of a task; small ones travel in the report, as a worker would decide, unless they shall be stored.
    pub(crate) async fn part(
        &self,
        stage: Stage,
        index: u32,
        records: &[Record],
        stored: bool,
    ) -> (u32, Fence, Output) {
        let fence = Fence(100 + u64::from(index));
        if records.is_empty() {
            return (index, fence, Output::default());
        }
        let (bytes, summary) = part_bytes(fence, records);
        let at = if stored {
            self.put(stage, index, fence, &bytes).await.expect("stored");
            Location::Store
        } else {
            Location::Inline(STANDARD.encode(&bytes))
        };
        let RunSummary { records, bytes, digest, text_bytes } = summary;
        (index, fence, Output { records, bytes, text_bytes, digest: format!("{digest:016x}"), at, form: PartForm::Run })
    }

    /// Makes the finished part of a task.
    pub(crate) async fn finished(&self, stage: Stage, index: u32, text: &str, stored: bool) -> (u32, Fence, Output) {
        let fence = Fence(100 + u64::from(index));
        if text.is_empty() {
            return (index, fence, Output::default());
        }
        let checksum = Checksum::of(text.as_bytes());
        let at = if stored {
            let name = output_name(self.job, 0, stage, index, fence);
            self.store.put_finished(&name, checksum, body(text.as_bytes())).await.expect("stored");
            Location::Store
        } else {
            Location::Inline(STANDARD.encode(text))
        };
        let (records, bytes) = (text.lines().count() as u64, text.len() as u64);
        let digest = format!("{:016x}", checksum.crc());
        (index, fence, Output { records, bytes, text_bytes: bytes, digest, at, form: PartForm::File })
    }

    /// Returns the path of an output's blob.
    pub(crate) fn blob(&self, stage: Stage, index: u32, fence: Fence) -> std::path::PathBuf {
        self.home.path().join("data/store/outputs").join(output_name(self.job, 0, stage, index, fence))
    }
}

pub(crate) fn part_bytes(fence: Fence, records: &[Record]) -> (Vec<u8>, RunSummary) {
    let mut bytes = Vec::new();
    let mut writer = PartWriter::new(&mut bytes, fence, true).expect("started");
    for (key, text) in records {
        writer.push(key.as_bytes(), text.as_bytes()).expect("pushed");
    }
    let summary = writer.finish().expect("finished");
    (bytes, summary)
}

pub(crate) fn body(
    bytes: &[u8],
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Unpin + Send + use<> {
    let chunks: Vec<_> = bytes.chunks(1_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks)
}
