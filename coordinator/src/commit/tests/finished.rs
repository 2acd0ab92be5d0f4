//! Parts that are finished files: they get a second name, or are copied one after the other.

use super::*;

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
