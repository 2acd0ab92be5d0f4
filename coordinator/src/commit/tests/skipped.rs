//! The list of records that were left out.

use super::*;

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
