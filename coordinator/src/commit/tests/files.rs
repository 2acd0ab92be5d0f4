//! Outputs under allowed directories: a directory of parts, or one file merged by key.

use super::*;

#[tokio::test]
async fn a_directory_survives_every_crash() {
    let steps = survives_every_crash(async || Job::new("out/", true).await, |job| job.check_directory("out")).await;
    assert_eq!(steps.len(), 3 + 4, "{steps:?}");
}

#[tokio::test]
async fn an_overwritten_directory_survives_every_crash() {
    let make = async || Job::new("out/", true).await.over_an_earlier_one().await;
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
