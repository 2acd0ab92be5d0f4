use gristmill_common::api::{JobState, OutputView};

use super::*;

fn lines(world: &World, job: JobId) -> String {
    world.scheduler.explain(job, None).unwrap().join("\n")
}

#[test]
fn a_waiting_job_says_why() {
    let mut world = World::new();
    let job = world.submit_spec(spec(1));
    assert_eq!(lines(&world, job), "its inputs are being listed and split");
    let mut plan = summary(&[(1, 1)]);
    plan.roots = vec!["/data/in".to_owned()];
    world.tell(Command::FinishPlan { job, result: Ok(plan) });
    assert!(lines(&world, job).contains("no worker is connected"), "{}", lines(&world, job));

    let mut other = world.worker("h", 1);
    other.request.about.programs = vec!["grep".to_owned()];
    world.parked(&mut other);
    assert!(lines(&world, job).contains("no program `count` on worker"), "{}", lines(&world, job));
    assert!(lines(&world, job).contains("there is grep"), "{}", lines(&world, job));

    let mut rootless = world.worker("h", 1);
    rootless.request.about.roots = vec!["/data/input".to_owned()];
    world.parked(&mut rootless);
    assert!(
        lines(&world, job).contains("may not read /data/in: start it with `--allow-path`"),
        "{}",
        lines(&world, job)
    );

    let mut able = world.worker("h", 1);
    able.request.about.roots = vec!["/data/".to_owned()];
    let name = world.granted(&mut able);
    let task = world.scheduler.explain(job, Some("m0".parse().unwrap())).unwrap().join("\n");
    assert!(task.starts_with("m0 runs: attempt a"), "{task}");
    let task = world.scheduler.explain(job, Some("r0".parse().unwrap())).unwrap().join("\n");
    assert!(task.contains("it waits for the maps of its step: 0 of 1 are won"), "{task}");
    assert!(world.scheduler.explain(job, Some("m9".parse().unwrap())).is_err());

    able.failed(&name, boom());
    able.request.free_slots = 0;
    world.answered(&mut able);
    let all = lines(&world, job);
    assert!(all.contains("m0 waits 250 ms") && all.contains("1 user failures"), "{all}");
    assert!(all.contains("slots of the 1 workers that can run it are busy"), "{all}");

    let mut rebuilt = world.worker("h", 1);
    rebuilt.request.about.roots = vec!["/data".to_owned()];
    rebuilt.request.about.executable = Digest([6; 32]);
    world.parked(&mut rebuilt);
    assert!(lines(&world, job).contains("another build of `count`"), "{}", lines(&world, job));
}

#[test]
fn a_worker_that_is_too_old_for_a_plan_is_not_granted_it() {
    let mut world = World::new();
    let job = world.submit_spec(spec(1));
    let plan = PlanSummary { protocol: limits::PROTOCOL_THAT_FINISHES_PARTS, ..summary(&[(1, 1)]) };
    world.tell(Command::FinishPlan { job, result: Ok(plan) });
    let mut old = world.worker("h", 1);
    old.request.protocol = limits::PROTOCOL_THAT_FINISHES_PARTS - 1;
    world.parked(&mut old);
    assert!(lines(&world, job).contains("is too old for what the job's plan asks of it"), "{}", lines(&world, job));
    let mut new = world.worker("h", 1);
    let answer = world.answered(&mut new);
    assert_eq!(new.grants(&answer).len(), 1);
}

#[test]
fn a_commit_that_cannot_end_says_why() {
    let mut world = World::new();
    let job = world.job(0, 0);
    assert_eq!(world.scheduler.state(job), Some(JobState::Committing));
    assert_eq!(lines(&world, job), "all tasks are won; its output is being made visible");
    world.tell(Command::NoteCommit { job, why: "`out` exists already".to_owned() });
    let why = lines(&world, job);
    assert!(why.contains("tried again until it does: `out` exists already"), "{why}");
    let output = OutputView { url: "file:///out".to_owned(), bytes: 0, records: 0, parts: 0 };
    world.tell(Command::FinishCommit { job, output });
    world.tell(Command::NoteCommit { job, why: "late".to_owned() });
    assert_eq!(lines(&world, job), "it succeeded");
}

#[test]
fn a_task_has_a_story() {
    let mut world = World::new();
    world.job(1, 0);
    let mut worker = world.worker("h", 1);
    let name = world.granted(&mut worker);
    worker.failed(&name, boom());
    world.answered(&mut worker);
    let entries = (1..).zip(world.journal.clone()).map(|(seq, entry)| (seq, 0, entry));
    let told = story(entries, "m0".parse().unwrap()).join("\n");
    assert!(
        told.contains("granted to worker") && told.contains("failed on worker") && told.contains("panicked: boom"),
        "{told}"
    );
}

#[test]
fn a_hot_partition_is_named_while_the_job_runs_and_when_it_is_over() {
    let mut world = World::new();
    let job = world.submit_spec(spec(1));
    world.tell(Command::FinishPlan { job, result: Ok(summary(&[(1, 5)])) });
    let mut worker = world.worker("h", 1);
    let answer = world.answered(&mut worker);
    let name = worker.grants(&answer)[0];
    worker.done(&name, Location::Store);
    let mut answer = world.answered(&mut worker);
    for records in [1_000, 40_000, 2_000, 0, 1_500] {
        let name = worker.grants(&answer)[0];
        let done = Done { records_in: records, bytes_in: records * 10, ..made(Location::Store) };
        worker.report(&name, name.tasks, Ended::Done(done));
        answer = world.answered(&mut worker);
        if records == 2_000 {
            let all = lines(&world, job);
            assert!(all.contains("partition 1 of step 0 is hot: its reduce read 40,000 records (390.6 KiB)"), "{all}");
            assert!(all.contains("the median one 2,000 records") && all.contains("a combiner"), "{all}");
        }
    }
    let view = world.scheduler.job_view(job, world.now).unwrap();
    let spread = view.stages[1].spread.expect("of the reduces");
    assert_eq!((spread.partitions, spread.records, spread.hottest.partition), (5, [0, 1_500, 40_000], 1));
    assert_eq!(view.stages[0].spread, None);
    let output = OutputView { url: "/out".to_owned(), bytes: 1, records: 1, parts: 5 };
    world.tell(Command::FinishCommit { job, output });
    let listed = world.scheduler.jobs(&Default::default(), None, 10, world.now).unwrap();
    assert_eq!(listed.jobs[0].stages[1].spread, Some(spread), "kept when the tasks are forgotten");
    assert!(lines(&world, job).contains("partition 1 of step 0 is hot"), "{}", lines(&world, job));
}
