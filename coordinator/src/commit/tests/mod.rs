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

#[tokio::test]
async fn the_list_of_records_that_an_overwritten_file_lacked_goes_with_it() {
    let mut job = Job::new("out.txt", true).await;
    job.spec.output.overwrite = true;
    let task = "m0".parse().expect("a task");
    job.skipped = vec![SkippedView { task, file: "in".to_owned(), offset: 3, why: "bad".to_owned() }];
    job.commit().await.expect("commits");
    assert!(job.files().contains_key("out.txt_SKIPPED"), "{:?}", job.files());
    job.skipped.clear();
    job.commit().await.expect("commits again");
    assert_eq!(job.files().into_keys().collect::<Vec<_>>(), ["out.txt"]);
}

#[tokio::test]
async fn a_directory_survives_every_crash() {
    let steps = survives_every_crash(async || Job::new("out/", true).await, |job| job.check_directory("out")).await;
    assert_eq!(steps.len(), 3 + 4, "{steps:?}");
}

#[tokio::test]
async fn a_directory_of_finished_parts_survives_every_crash() {
    for reduce in [true, false] {
        let make = async || Job::finished("out/", reduce).await;
        let steps = survives_every_crash(make, |job| job.check_directory("out")).await;
        assert_eq!(steps.len(), 3 + 4, "{steps:?}");
    }
}

#[tokio::test]
async fn finished_parts_one_after_the_other_are_a_file_that_survives_every_crash() {
    for reduce in [true, false] {
        let check = |job: &Job| {
            assert_eq!(job.files(), BTreeMap::from([("out.txt".to_owned(), CONCATENATED.to_owned())]));
        };
        let steps = survives_every_crash(async || Job::finished("out.txt", reduce).await, check).await;
        assert_eq!(steps.iter().filter(|step| **step == "copy a part").count(), 3, "{steps:?}");
    }
}

#[tokio::test]
async fn a_finished_part_gets_a_second_name_and_is_not_copied() {
    let job = Job::finished("out/", true).await;
    let blob = fs::metadata(job.world.blob(Stage::Reduce, 2, job.parts[2].1)).expect("there").ino();
    job.commit().await.expect("committed");
    assert_eq!(fs::metadata(job.world.file("out/part-00002")).expect("there").ino(), blob);
    sweep(job.world.job, &job.world.store).await.expect("swept");
    job.check_directory("out");
    assert_eq!(job.world.store.usage(job.world.job), 0);
}

#[tokio::test]
async fn finished_parts_on_another_disk_are_copied() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut job = Job::finished("out/", true).await;
    job.world.roots = Roots::new([elsewhere.path()], [job.world.home.path().join("data")]).expect("allowed");
    job.spec.output.url = Some(format!("file://{}/out/", elsewhere.path().display()));
    job.run_until(3).1.expect_err("stopped");
    job.commit().await.expect("committed");
    let text = |index: u32| fs::read_to_string(elsewhere.path().join("out").join(part_name(index))).expect("text");
    assert_eq!([text(0), text(1), text(2)].concat(), CONCATENATED);
}

#[tokio::test]
async fn a_lost_or_damaged_finished_part_is_named_and_nothing_appears() {
    for output in ["out/", "out"] {
        let job = Job::finished(output, true).await;
        let blob = job.world.blob(Stage::Reduce, 2, job.parts[2].1);
        let whole = fs::read(&blob).expect("there");
        let mut flipped = whole.clone();
        flipped[4] ^= 1;
        let lost = async |why: &str| {
            let error = job.commit().await.expect_err(why);
            assert!(matches!(error, CommitError::Lost { index: 2, .. }), "{why}: {error}");
            assert!(!job.world.file("out").exists(), "{why}");
        };
        fs::write(&blob, &flipped).expect("flipped");
        lost("a flipped bit").await;
        // Once more: what the try before left behind must not pass for the part.
        lost("a flipped bit").await;
        fs::write(&blob, &whole[..whole.len() - 1]).expect("cut");
        lost("cut").await;
        fs::remove_file(&blob).expect("removed");
        lost("gone").await;
        fs::write(&blob, &whole).expect("made again");
        job.commit().await.expect("goes on by itself");
    }
}

#[tokio::test]
async fn finished_work_that_is_done_is_not_done_again_and_damaged_work_is() {
    let job = Job::finished("out/", true).await;
    job.run_until(3).1.expect_err("before the manifest");
    let staging = job.world.file(&format!(".out.{}", job.world.job));
    // The text of an earlier try that copied it, and is damaged since.
    fs::remove_file(staging.join("part-00002")).expect("removed");
    fs::write(staging.join("part-00002"), "b\t2\nc\t4\nd\t6\n").expect("damaged, of the same length");
    fs::write(staging.join(".part-00001"), "half").expect("left by a crash");
    job.run_until(3).1.expect_err("before the manifest");
    assert_eq!(fs::read_to_string(staging.join("part-00002")).expect("text"), "b\t2\nc\t4\nd\t5\n");
    job.commit().await.expect("committed");
    job.check_directory("out");
}

#[tokio::test]
async fn a_part_of_the_other_form_is_lost_and_not_misread() {
    // A worker that does not do as the plan says.
    let mut job = Job::finished("out", true).await;
    job.spec.steps[0].order = None;
    let error = job.commit().await.expect_err("files cannot be merged by key");
    assert!(matches!(error, CommitError::Lost { index: 0, .. }), "{error}");
    job.spec.output.url = None;
    let error = job.commit().await.expect_err("nor kept to be merged");
    assert!(matches!(error, CommitError::Lost { index: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_directory_in_the_store_survives_every_crash() {
    for overwrite in [false, true] {
        let make = async || {
            let mut job = Job::in_store("a%20b/100%25/out/", true).await;
            if overwrite {
                let own = std::mem::replace(&mut job.world.job, JobId(uuid::Uuid::from_u128(1)));
                let earlier = (0..2).map(|index| (index, Fence(0), Output::default())).collect();
                let parts = std::mem::replace(&mut job.parts, earlier);
                job.commit().await.expect("an earlier job");
                (job.world.job, job.parts) = (own, parts);
                job.spec.output.overwrite = true;
            }
            job
        };
        let all = make().await.run_until(usize::MAX).0;
        let named = all.iter().position(|step| *step == "give the output its name").expect("a step");
        for stop in 0..all.len() {
            let mut job = make().await;
            job.run_until(stop).1.expect_err("stopped");
            assert!(overwrite || stop > named || job.stored_files().await.is_empty(), "before step {stop} of {all:?}");
            job.world.reopen();
            let view = job.commit().await.unwrap_or_else(|error| panic!("before step {stop}: {error}"));
            assert_eq!((view.url.as_str(), view.parts, view.records), ("store://a%20b/100%25/out/", 3, 5));
            let files = job.stored_files().await;
            let names: Vec<_> = files.keys().map(String::as_str).collect();
            let directory = "a b/100%/out";
            let expected =
                ["_SUCCESS", "part-00000", "part-00001", "part-00002"].map(|name| format!("{directory}/{name}"));
            assert_eq!(names, expected, "before step {stop}");
            assert_eq!(files[&expected[3]], "b\t2\nc\t4\nd\t5\n");
            let left = fs::read_dir(job.world.home.path().join("data/store/commits")).expect("listed").count();
            assert_eq!(left, 0, "before step {stop}");
        }
    }
}

#[tokio::test]
async fn a_file_in_the_store_is_merged_by_key() {
    let job = Job::in_store("results/out.tsv", true).await;
    job.commit().await.expect("committed");
    job.commit().await.expect("again");
    assert_eq!(job.stored_files().await, BTreeMap::from([("results/out.tsv".to_owned(), MERGED.to_owned())]));
}

#[tokio::test]
async fn what_has_the_name_in_the_store_is_not_touched() {
    for (output, theirs) in [("out/", "out/theirs"), ("out/", "out"), ("out", "out"), ("out/deep/", "out")] {
        let job = Job::in_store(output, true).await;
        job.world.upload(theirs, b"precious").await;
        let error = job.commit().await.expect_err("taken");
        assert!(matches!(error, CommitError::Blocked { .. }), "{error}");
        assert!(error.to_string().contains("store://out"), "{error}");
        assert_eq!(job.stored_files().await, BTreeMap::from([(theirs.to_owned(), "precious".to_owned())]));
        let path = gristmill_storage::StorePath::parse(theirs).expect("a path");
        job.world.store.files().delete(&path).await.expect("made way");
        job.commit().await.expect("goes on by itself");
    }
}

#[tokio::test]
async fn a_job_that_fails_after_its_commit_began_leaves_nothing() {
    let job = Job::in_store("out/", true).await;
    job.run_until(2).1.expect_err("stopped");
    job.world.store.drop_job(job.world.job).await.expect("dropped");
    assert_eq!(fs::read_dir(job.world.home.path().join("data/store/commits")).expect("listed").count(), 0);
}

#[tokio::test]
async fn nothing_has_the_final_name_before_everything_is_there() {
    for (output, last) in [("out/", "give the output its name"), ("out", "give the output its name")] {
        let job = Job::new(output, true).await;
        let steps = job.run_until(usize::MAX).0;
        let named = steps.iter().position(|step| *step == last).expect("a step");
        for stop in 0..=named {
            let job = Job::new(output, true).await;
            job.run_until(stop).1.expect_err("stopped");
            assert!(!job.world.file("out").exists(), "before step {stop} of {steps:?}");
        }
    }
}

#[tokio::test]
async fn an_overwritten_directory_survives_every_crash() {
    let make = async || {
        let mut job = Job::new("out/", true).await;
        let own = std::mem::replace(&mut job.world.job, JobId(uuid::Uuid::from_u128(1)));
        job.parts = job.parts.drain(..).map(|(index, fence, _)| (index, fence, Output::default())).take(2).collect();
        job.commit().await.expect("an earlier job");
        job.world.job = own;
        job.spec.output.overwrite = true;
        let mut parts = Vec::new();
        for (index, records) in PARTS.iter().enumerate() {
            parts.push(job.world.part(Stage::Reduce, index as u32, records, index != 0).await);
        }
        job.parts = parts;
        job
    };
    let steps = survives_every_crash(make, |job| job.check_directory("out")).await;
    assert!(steps.contains(&"move the old output aside"), "{steps:?}");
}

#[tokio::test]
async fn a_file_is_merged_and_survives_every_crash() {
    let expected = |text: &'static str| {
        move |job: &Job| assert_eq!(job.files(), BTreeMap::from([("out.tsv".to_owned(), text.to_owned())]))
    };
    survives_every_crash(async || Job::new("out.tsv", true).await, expected(MERGED)).await;
    survives_every_crash(async || Job::new("out.tsv", false).await, expected(CONCATENATED)).await;
    let overwriting = async || {
        let mut job = Job::new("out.tsv", true).await;
        fs::write(job.world.file("out.tsv"), "old").expect("written");
        job.spec.output.overwrite = true;
        job
    };
    survives_every_crash(overwriting, expected(MERGED)).await;
}

#[tokio::test]
async fn an_output_in_the_store_survives_every_crash() {
    let make = async || {
        let mut job = Job::new("unused", true).await;
        job.spec.output.url = None;
        job
    };
    let check = |job: &Job| {
        let manifest = Manifest::of_store(&job.world.store, job.world.job).expect("there");
        assert_eq!((manifest.bytes(), manifest.records(), manifest.sorted), (MERGED.len() as u64, 5, true));
    };
    survives_every_crash(make, check).await;
}

#[tokio::test]
async fn work_that_is_done_is_not_done_again_and_half_work_is() {
    let job = Job::new("out/", true).await;
    job.run_until(3).1.expect_err("before the manifest");
    let staging = job.world.file(&format!(".out.{}", job.world.job));
    let inode = |name: &str| fs::metadata(staging.join(name)).expect("there").ino();
    let whole = inode("part-00000");
    fs::write(staging.join("part-00002"), "b\t2\nc\t4\nd\t6\n").expect("damaged, of the same length");
    fs::write(staging.join(".part-00001"), "half").expect("left by a crash");
    job.run_until(3).1.expect_err("before the manifest");
    assert_eq!(inode("part-00000"), whole);
    assert_eq!(fs::read_to_string(staging.join("part-00002")).expect("text"), "b\t2\nc\t4\nd\t5\n");
    job.commit().await.expect("committed");
    job.check_directory("out");
}

#[tokio::test]
async fn what_appeared_under_the_name_meanwhile_is_not_touched() {
    for (output, theirs) in [("out", "out"), ("out/", "out/theirs"), ("out/", "out")] {
        let job = Job::new(output, true).await;
        let path = job.world.file(theirs);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, "precious").expect("written");
        let error = job.commit().await.expect_err("taken");
        assert!(matches!(error, CommitError::Blocked { .. }) && error.to_string().contains("out"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("untouched"), "precious");
        fs::rename(job.world.file("out"), job.world.home.path().join("moved")).expect("made way");
        job.commit().await.expect("goes on by itself");
    }
    let mut job = Job::new("out/", true).await;
    job.spec.output.overwrite = true;
    fs::create_dir(job.world.file("out")).expect("made");
    fs::write(job.world.file("out/notes.txt"), "precious").expect("written");
    let error = job.commit().await.expect_err("not an output");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert!(job.world.file("out/notes.txt").exists());
}

#[tokio::test]
async fn a_name_that_is_taken_at_the_last_moment_is_not_touched() {
    let moments = [
        ("out", "out", "give the output its name", false),
        ("out/", "out/theirs", "give the output its name", false),
        // Between the first look at the name and the rename lies all the writing.
        ("out/", "out/theirs", "write the manifest", false),
        ("out/", "out/theirs", "write the manifest", true),
    ];
    for (output, theirs, moment, overwrite) in moments {
        let mut job = Job::new(output, true).await;
        job.spec.output.overwrite = overwrite;
        let path = job.world.file(theirs);
        let mut step = |name: &str| {
            if name == moment {
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(&path, "precious").expect("written");
            }
            Ok(())
        };
        let World { store, roots, .. } = &job.world;
        let result = run(job.world.job, &job.spec, job.parts.clone(), job.skipped.clone(), store, roots, &mut step);
        assert!(matches!(result, Err(CommitError::Blocked { .. })), "{result:?}");
        assert_eq!(fs::read_to_string(&path).expect("untouched"), "precious");
    }
}

#[tokio::test]
async fn a_lost_or_damaged_part_is_named() {
    for output in [None, Some("out/"), Some("out")] {
        let mut job = Job::new(output.unwrap_or_default(), true).await;
        job.spec.output.url = output.map(|name| job.world.url(name));
        let blob = job.world.blob(Stage::Reduce, 2, job.parts[2].1);
        let whole = fs::read(&blob).expect("there");
        fs::write(&blob, &whole[..whole.len() - 1]).expect("cut");
        let error = job.commit().await.expect_err("damaged");
        assert!(matches!(error, CommitError::Lost { index: 2, .. }), "{error}");
        fs::remove_file(&blob).expect("removed");
        let error = job.commit().await.expect_err("gone");
        assert!(matches!(error, CommitError::Lost { index: 2, .. }), "{error}");
        assert!(error.to_string().contains("part-00002"), "{error}");
        assert!(!job.world.file("out").exists());
        fs::write(&blob, &whole).expect("restored");
        job.commit().await.expect("goes on by itself");
    }
}

#[tokio::test]
async fn a_flipped_byte_of_a_stored_part_is_found_before_there_is_a_manifest() {
    let mut job = Job::new("", true).await;
    job.spec.output.url = None;
    let blob = job.world.blob(Stage::Reduce, 2, job.parts[2].1);
    let mut bytes = fs::read(&blob).expect("there");
    // Behind the header: the index does not see it.
    bytes[40] ^= 1;
    fs::write(&blob, &bytes).expect("flipped");
    let error = job.commit().await.expect_err("damaged");
    assert!(matches!(error, CommitError::Lost { index: 2, .. }), "{error}");
    bytes[40] ^= 1;
    fs::write(&blob, &bytes).expect("restored");
    job.commit().await.expect("committed");
}

#[tokio::test]
async fn a_job_without_records_has_an_output_too() {
    let mut job = Job::new("out", true).await;
    job.parts = (0..3).map(|index| (index, Fence(0), Output::default())).collect();
    let view = job.commit().await.expect("committed");
    assert_eq!((view.bytes, view.records, job.files()["out"].as_str()), (0, 0, ""));
    let mut job = Job::new("out/", true).await;
    job.parts = vec![(0, Fence(0), Output::default())];
    job.commit().await.expect("committed");
    assert_eq!(job.files()["out/part-00000"], "");
}

#[tokio::test]
async fn what_the_result_does_not_need_is_swept() {
    let mut job = Job::new("out/", true).await;
    let map = job.world.part(Stage::Map, 0, PARTS[0], true).await;
    let (map, part) = (job.world.blob(Stage::Map, 0, map.1), job.world.blob(Stage::Reduce, 2, job.parts[2].1));
    job.spec.output.url = None;
    job.commit().await.expect("committed");
    sweep(job.world.job, &job.world.store).await.expect("swept");
    assert!(!map.exists() && part.exists());
    assert_eq!(job.world.store.usage(job.world.job), fs::metadata(&part).expect("there").len());

    let job = Job::new("out/", true).await;
    let part = job.world.blob(Stage::Reduce, 2, job.parts[2].1);
    job.commit().await.expect("committed");
    sweep(job.world.job, &job.world.store).await.expect("swept");
    assert!(!part.exists(), "the text is in files");
    assert_eq!(job.world.store.usage(job.world.job), 0);
    assert!(matches!(job.parts[2].2.at, Location::Store));
    job.check_directory("out");
}

#[tokio::test]
async fn records_that_were_left_out_are_listed_beside_the_output() {
    let skipped = SkippedView {
        task: "m3".parse().expect("a task"),
        file: "file:///in".into(),
        offset: 7,
        why: "user error: no".into(),
    };
    let line = format!("{}\n", serde_json::to_string(&skipped).expect("JSON"));
    for (name, list) in [("dir/", "dir/_SKIPPED"), ("file", "file_SKIPPED")] {
        let mut job = Job::new(name, true).await;
        job.skipped.push(skipped.clone());
        job.commit().await.expect("committed");
        assert_eq!(job.files().get(list), Some(&line), "{:?}", job.files().keys());
        // It is part of the output that a later job may replace.
        let target = target::Target::resolve(&job.world.url(name), job.world.job, &job.world.store, &job.world.roots)
            .expect("a target");
        target.check_free(true).expect("nothing but an earlier output");
    }
}

#[tokio::test]
async fn what_an_unfinished_commit_left_is_taken_away_and_the_old_output_is_back() {
    for stop in 0..9 {
        let mut job = Job::new("out/", true).await;
        let own = std::mem::replace(&mut job.world.job, JobId(uuid::Uuid::from_u128(1)));
        let parts =
            std::mem::replace(&mut job.parts, (0..2).map(|index| (index, Fence(0), Output::default())).collect());
        job.commit().await.expect("an earlier job");
        let before = job.files();
        (job.world.job, job.parts) = (own, parts);
        job.spec.output.overwrite = true;
        let (begun, _) = job.run_until(stop);
        if begun.last() == Some(&"give the output its name") {
            break;
        }
        let World { job: id, store, roots, .. } = &job.world;
        abandon(*id, &job.spec, store, roots).await.expect("taken away");
        abandon(*id, &job.spec, store, roots).await.expect("once more");
        assert_eq!(job.files(), before, "after {begun:?}");
    }
}
