//! The name of an output: it appears last, and what has it already is not touched.

use super::*;

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
