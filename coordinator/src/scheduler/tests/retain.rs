//! Jobs that ended without a result are kept for a while, and run again from where they were.

use gristmill_common::api::{JobFailure, JobState, OutputView};
use gristmill_common::spec::OnFailedTask;
use gristmill_common::{Stage, TaskName};

use super::*;

/// A job of two maps, the first won and held by the worker, the second failed for good.
fn failed_halfway(world: &mut World) -> (JobId, Hand, GrantName) {
    let job = world.job(2, 1);
    let mut worker = world.worker("h", 2);
    let maps = world.granted(&mut worker);
    let mut done = made(Location::Worker(worker.request.worker));
    done.counters.insert("lines".to_owned(), 7);
    worker.request.holds.push(job);
    worker.report(&maps, TaskRange::one(0), Ended::Done(done));
    let gone = Reason::InputChanged { message: "it has 3 bytes, planned were 9".to_owned() };
    worker.report(&maps, TaskRange::one(1), Ended::Failed(gone));
    let answer = world.answered(&mut worker);
    assert_eq!(answer.drop, [], "what was won is kept");
    assert_eq!(world.scheduler.state(job), Some(JobState::Failed));
    world.forget();
    (job, worker, maps)
}

#[test]
fn a_retried_job_runs_what_is_not_won_and_counts_failures_anew() {
    let mut world = World::new();
    let (job, mut worker, maps) = failed_halfway(&mut world);
    let listed = world.scheduler.tasks(job, TaskFilter::default(), None, 10).unwrap().tasks;
    let states: Vec<_> = listed.iter().map(|task| task.state).collect();
    use gristmill_common::api::TaskState::{Queued, Won};
    assert_eq!(states, [Won, Queued, Queued]);
    assert!(matches!(world.tell(Command::RetryJob { job }), Reply::Done));
    world.happened(&["job_retried"]);
    // The failure before the retry is told once more and does not count.
    worker.report(&maps, TaskRange::one(1), Ended::Failed(boom()));
    worker.request.free_slots = 2;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Duplicate]);
    let again = worker.grants(&answer)[0];
    assert_eq!((again.stage, again.tasks), (Stage::Map, TaskRange::one(1)));
    assert_eq!(world.scheduler.tasks(job, TaskFilter::default(), None, 10).unwrap().tasks[1].failures, 0);
    worker.done_here(&again);
    let reduce = world.granted(&mut worker);
    worker.done(&reduce, Location::Nothing);
    world.answered(&mut worker);
    world.happened(&["granted", "won", "granted", "won", "commit_started"]);
    assert_eq!(world.scheduler.job_view(job, world.now).unwrap().counters["lines"], 7);
    let refused = world.tell(Command::RetryJob { job });
    assert!(matches!(refused, Reply::Refused(problem) if problem.code == Code::Conflict));
}

#[test]
fn what_was_won_before_a_restart_is_there_after_it() {
    let mut world = World::new();
    let (job, mut worker, _) = failed_halfway(&mut world);
    world.pass(limits::RETAIN_FAILED_MS - 1);
    world.restart(0);
    world.pass(limits::RETAIN_FAILED_MS - 1);
    world.forget();
    assert!(matches!(world.tell(Command::RetryJob { job }), Reply::Done), "the time began anew");
    worker.reborn(&mut world);
    worker.request.free_slots = 1;
    let answer = world.answered(&mut worker);
    assert_eq!(worker.grants(&answer)[0].tasks, TaskRange::one(1));
}

#[test]
fn what_is_kept_goes_when_its_time_is_over() {
    let mut world = World::new();
    let (job, mut worker, _) = failed_halfway(&mut world);
    worker.request.free_slots = 0;
    world.pass(limits::RETAIN_FAILED_MS - 1);
    assert!(world.scheduler.keeps(job) && !world.scheduler.is_spent(job));
    world.forget();
    world.pass(1);
    world.happened(&["job_expired"]);
    assert!(world.scheduler.is_spent(job));
    let answer = world.answered(&mut worker);
    assert_eq!(answer.drop, [job]);
    let Reply::Refused(problem) = world.tell(Command::RetryJob { job }) else { panic!("it was retried") };
    assert!(problem.detail.contains("submit it again"), "{problem}");
}

#[test]
fn a_cancelled_job_goes_on_and_its_output_is_its_own_again() {
    let mut world = World::new();
    let mut mine = spec(1);
    mine.output.url = Some("file:///out".to_owned());
    let job = world.submit_spec(mine.clone());
    world.tell(Command::CancelJob { job });
    let Reply::Refused(problem) = world.tell(Command::RetryJob { job }) else { panic!("it was never planned") };
    assert!(problem.detail.contains("planned"), "{problem}");
    let job = world.submit_spec(mine.clone());
    world.plan(job, &[(1, 0)]);
    world.tell(Command::CancelJob { job });
    let other = world.submit_spec(mine);
    let Reply::Refused(problem) = world.tell(Command::RetryJob { job }) else { panic!("two jobs write one output") };
    assert!(problem.detail.contains("file:///out"), "{problem}");
    world.tell(Command::CancelJob { job: other });
    assert!(matches!(world.tell(Command::RetryJob { job }), Reply::Done));
    assert_eq!(world.scheduler.state(job), Some(JobState::Running));
}

#[test]
fn counters_of_a_task_that_runs_again_count_once() {
    let mut world = World::new();
    let job = world.job(1, 1);
    let mut worker = world.worker("h", 1);
    let counting = |worker: &Hand| {
        let mut done = made(Location::Worker(worker.request.worker));
        done.counters.insert("lines".to_owned(), 7);
        Ended::Done(done)
    };
    worker.request.holds.push(job);
    let map = world.granted(&mut worker);
    let outcome = counting(&worker);
    worker.report(&map, map.tasks, outcome);
    let reduce = world.granted(&mut worker);
    let name = TaskName { step: 0, stage: Stage::Map, index: 0 };
    worker.failed(&reduce, Reason::LostOutput { map: name, fence: map.first_fence, message: "gone".to_owned() });
    let again = world.granted(&mut worker);
    assert_eq!(again.stage, Stage::Map);
    let outcome = counting(&worker);
    worker.report(&again, again.tasks, outcome);
    world.answered(&mut worker);
    assert_eq!(world.scheduler.job_view(job, world.now).unwrap().counters["lines"], 7);
}

/// Every task that was granted, in order.
fn granted(entries: &[Entry]) -> Vec<String> {
    let tasks = entries.iter().filter_map(|entry| match entry {
        Entry::Granted { step, stage, tasks, .. } => Some((*step, *stage, *tasks)),
        _ => None,
    });
    let names = tasks.flat_map(|(step, stage, tasks)| tasks.iter().map(move |index| TaskName { step, stage, index }));
    names.map(|name| name.to_string()).collect()
}

#[test]
fn what_was_given_up_runs_again_and_what_was_won_does_not() {
    let mut world = World::new();
    let job = world.submit_spec(JobSpec { attempts: 1, on_failed_task: OnFailedTask::Continue, ..spec(1) });
    world.plan(job, &[(4, 2)]);
    let mut worker = world.worker("h", 1);
    for fails in [true, false, true, false] {
        let map = world.granted(&mut worker);
        if fails {
            worker.failed(&map, boom());
        } else {
            worker.done_here(&map);
        }
    }
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    assert_eq!(world.scheduler.state(job), Some(JobState::Failed));
    world.restart(0);
    world.forget();
    assert!(matches!(world.tell(Command::RetryJob { job }), Reply::Done));
    worker.reborn(&mut world);
    while world.scheduler.state(job) == Some(JobState::Running) {
        worker.request.free_slots = 1;
        let answer = world.answered(&mut worker);
        for task in worker.grants(&answer) {
            match task.stage {
                Stage::Map => worker.done_here(&task),
                Stage::Reduce => worker.done(&task, Location::Nothing),
            }
        }
    }
    assert_eq!(granted(&world.fresh), ["m0", "m2", "r0", "r1"]);
    assert_eq!(world.scheduler.state(job), Some(JobState::Committing));
}

#[test]
fn the_end_of_a_job_that_is_over_changes_nothing() {
    let mut world = World::new();
    let (job, ..) = failed_halfway(&mut world);
    let output = OutputView { url: String::new(), bytes: 0, records: 0, parts: 0 };
    let failure = JobFailure { task: None, reason: None, message: "again".to_owned() };
    let mut durable = world.scheduler.durable().clone();
    for entry in [
        Entry::JobCancelled { job, at: 7 },
        Entry::JobFailed { job, at: 7, failure },
        Entry::JobSucceeded { job, at: 7, output },
    ] {
        durable.apply(&entry);
        assert!(durable == *world.scheduler.durable(), "{entry:?}");
    }
    durable.apply(&Entry::JobRetried { job });
    assert_eq!((durable.live, durable.queue.len()), (1, 1));
    durable.apply(&Entry::JobRetried { job });
    assert_eq!((durable.live, durable.queue.len()), (1, 1), "it runs already");
}

#[test]
fn bundles_of_jobs_that_may_run_again_are_named_until_they_may_not() {
    let mut world = World::new();
    let sha256 = Digest::of(b"count.py");
    let mut spec = spec(1);
    let file = serde_json::json!({"name": "count.py", "sha256": sha256});
    spec.steps[0].native = None;
    spec.steps[0].command =
        Some(serde_json::from_value(serde_json::json!({"mapper": ["./count.py"], "files": [file]})).unwrap());
    let job = world.submit_spec(spec);
    let named = |world: &World| world.scheduler.named_bundles().contains(&sha256);
    assert!(named(&world));
    world.plan(job, &[(1, 0)]);
    world.tell(Command::CancelJob { job });
    assert!(named(&world), "it can be retried");
    world.pass(limits::RETAIN_FAILED_MS);
    assert!(!named(&world));
}
