//! Outputs in the coordinator's store: among its files, or under the job's id.

use super::*;

#[tokio::test]
async fn a_directory_in_the_store_survives_every_crash() {
    for overwrite in [false, true] {
        let make = async || {
            let job = Job::in_store("a%20b/100%25/out/", true).await;
            if overwrite { job.over_an_earlier_one().await } else { job }
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
