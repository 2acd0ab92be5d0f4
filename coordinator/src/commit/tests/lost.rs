//! Parts that the store lost or damaged.

use super::*;

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
