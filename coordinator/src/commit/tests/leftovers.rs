//! What a commit leaves behind: nothing, whether it is done, taken back or given up.

use super::*;

#[tokio::test]
async fn a_job_that_fails_after_its_commit_began_leaves_nothing() {
    let job = Job::in_store("out/", true).await;
    job.run_until(2).1.expect_err("stopped");
    job.world.store.drop_job(job.world.job).await.expect("dropped");
    assert_eq!(fs::read_dir(job.world.home.path().join("data/store/commits")).expect("listed").count(), 0);
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
async fn what_an_unfinished_commit_left_is_taken_away_and_the_old_output_is_back() {
    for stop in 0..9 {
        let job = Job::new("out/", true).await.over_an_earlier_one().await;
        let before = job.files();
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
