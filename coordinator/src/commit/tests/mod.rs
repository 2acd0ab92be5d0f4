//! Commits on real files, stopped before each of their steps and run again. Here is the job that they commit.

mod files;
mod finished;
mod in_store;
mod leftovers;
mod lost;
mod names;
mod skipped;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::wire::Location;
use gristmill_runs::Checksum;

use super::manifest::part_name;
use super::*;
use crate::store::fixture::{Record, World};

const PARTS: [&[Record]; 3] =
    [&[("a", "a\t1\n"), ("c", "c\t3\n")], &[], &[("b", "b\t2\n"), ("c", "c\t4\n"), ("d", "d\t5\n")]];
const MERGED: &str = "a\t1\nb\t2\nc\t3\nc\t4\nd\t5\n";
const CONCATENATED: &str = "a\t1\nc\t3\nb\t2\nc\t4\nd\t5\n";

struct Job {
    world: World,
    spec: JobSpec,
    parts: Vec<(u32, Fence, Output)>,
    skipped: Vec<SkippedView>,
}

impl Job {
    async fn new(output: &str, reduce: bool) -> Self {
        let world = World::new();
        let mut spec =
            JobSpec::new("job", vec![Input::Generated(Generated { generate: 1 })], vec![StepSpec::native("p")]);
        spec.steps[0].reduce = reduce;
        spec.output.url = Some(world.url(output));
        let stage = if reduce { Stage::Reduce } else { Stage::Map };
        let mut parts = Vec::new();
        for (index, records) in PARTS.iter().enumerate() {
            parts.push(world.part(stage, index as u32, records, index != 0).await);
        }
        Self { world, spec, parts, skipped: Vec::new() }
    }

    /// A job whose parts are finished files.
    async fn finished(output: &str, reduce: bool) -> Self {
        let mut job = Self::new(output, reduce).await;
        job.spec.steps[0].order = reduce.then(Default::default);
        let stage = if reduce { Stage::Reduce } else { Stage::Map };
        job.parts.clear();
        for (index, records) in PARTS.iter().enumerate() {
            let text: String = records.iter().map(|(_, text)| *text).collect();
            job.parts.push(job.world.finished(stage, index as u32, &text, index != 0).await);
        }
        job
    }

    /// A job whose output goes among the store's files.
    async fn in_store(output: &str, reduce: bool) -> Self {
        let mut job = Self::new("unused", reduce).await;
        job.spec.output.url = Some(format!("store://{output}"));
        job
    }

    /// The job when its output's place has that of an earlier job, of two empty parts, which it is to replace.
    async fn over_an_earlier_one(mut self) -> Self {
        let own = std::mem::replace(&mut self.world.job, JobId(uuid::Uuid::from_u128(1)));
        let earlier = (0..2).map(|index| (index, Fence(0), Output::default())).collect();
        let parts = std::mem::replace(&mut self.parts, earlier);
        self.commit().await.expect("an earlier job");
        (self.world.job, self.parts) = (own, parts);
        self.spec.output.overwrite = true;
        self
    }

    /// Returns the files of the store, as listings show them, with their text.
    async fn stored_files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for facts in self.world.store.files().list("", 100).await.expect("listed") {
            let text = fs::read_to_string(self.world.store.files().place(&facts.path)).expect("text");
            files.insert(facts.path.to_string(), text);
        }
        files
    }

    /// Runs the commit and stops it before step number `stop`, as a crash would; returns the steps that were begun.
    fn run_until(&self, stop: usize) -> (Vec<&'static str>, Result<OutputView, CommitError>) {
        let mut begun = Vec::new();
        let mut step = |name| {
            if begun.len() == stop {
                return Err(CommitError::Blocked { why: "stopped by the test".into() });
            }
            begun.push(name);
            Ok(())
        };
        let World { store, roots, job, .. } = &self.world;
        let result = run(*job, &self.spec, self.parts.clone(), self.skipped.clone(), store, roots, &mut step);
        (begun, result)
    }

    async fn commit(&self) -> Result<OutputView, CommitError> {
        let Self { world, spec, parts, skipped } = self;
        commit(world.job, spec, parts.clone(), skipped.clone(), &world.store, &world.roots).await
    }

    /// Returns all files under the allowed directory, hidden ones too.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        collect(&self.world.file(""), "", &mut files);
        files
    }

    fn check_directory(&self, name: &str) {
        let files = self.files();
        let expected = ["a\t1\nc\t3\n", "", "b\t2\nc\t4\nd\t5\n"];
        assert_eq!(files.len(), 4, "{files:?}");
        let manifest = Manifest::of_directory(&self.world.file(name)).expect("a manifest");
        assert_eq!((manifest.job, manifest.parts.len()), (self.world.job, 3));
        for (index, text) in expected.iter().enumerate() {
            let part = &manifest.parts[index];
            assert_eq!(files.get(&format!("{name}/{}", part_name(index as u32))).map(String::as_str), Some(*text));
            let checksum = format!("crc64nvme:{:016x}", Checksum::of(text.as_bytes()).crc());
            assert_eq!((part.bytes, &part.checksum), (text.len() as u64, &checksum));
        }
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("listed") {
        let path = entry.expect("listed").path();
        let name = format!("{prefix}{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read_to_string(&path).expect("text"));
        }
    }
}

/// Stops a commit before each of its steps, runs it again, and again after it is done.
async fn survives_every_crash(make: impl AsyncFn() -> Job, check: impl Fn(&Job)) -> Vec<&'static str> {
    let all = make().await.run_until(usize::MAX).0;
    for stop in 0..all.len() {
        let job = make().await;
        let (begun, result) = job.run_until(stop);
        assert_eq!(begun, all[..stop]);
        result.expect_err("stopped");
        // A second crash at the same place, then the rest, then once more.
        job.run_until(stop.min(1)).1.ok();
        let view = job.commit().await.unwrap_or_else(|error| panic!("after {begun:?}: {error}"));
        check(&job);
        assert_eq!(job.commit().await.expect("again"), view, "after {begun:?}");
        check(&job);
    }
    all
}
