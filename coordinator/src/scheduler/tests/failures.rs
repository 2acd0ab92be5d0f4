use gristmill_common::{Place, TaskName, limits};

use super::*;

fn one_map_at_a_time(world: &mut World, worker: &mut Hand) -> GrantName {
    world.pass(limits::RETRY_BACKOFF_MAX_MS / 2);
    world.granted(worker)
}

#[test]
fn user_failures_use_up_the_attempts() {
    let mut world = World::new();
    let job = world.job(1, 0);
    let mut worker = world.worker("h", 1);
    let at = Some(Place { file: "file:///a".to_owned(), offset: 7 });
    for attempt in 1..=limits::ATTEMPTS {
        let name = one_map_at_a_time(&mut world, &mut worker);
        world.forget();
        worker.failed(&name, Reason::Panicked { message: "boom".to_owned(), at: at.clone() });
        world.answered(&mut worker);
        if attempt < limits::ATTEMPTS {
            world.happened(&["failed"]);
        }
    }
    let entries = world.happened(&["failed", "job_failed"]);
    let Entry::JobFailed { failure, .. } = &entries[1] else { panic!("{entries:?}") };
    assert_eq!(failure.task, Some("m0".parse().unwrap()));
    assert!(failure.message.contains("failed 4 times") && failure.message.contains("file:///a:7"), "{failure:?}");
    let explained = world.scheduler.explain(job, None).unwrap();
    assert!(explained[0].starts_with("it failed: task m0"), "{explained:?}");
    world.and_nothing_else_happened();
}

#[test]
fn a_failure_counts_once_however_often_it_is_reported() {
    let mut world = World::new();
    world.job(1, 0);
    let mut worker = world.worker("h", 1);
    let name = world.granted(&mut worker);
    world.forget();
    worker.failed(&name, boom());
    world.answered(&mut worker);
    world.happened(&["failed"]);
    world.restart(0);
    worker.failed(&name, boom());
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Duplicate]);
    world.and_nothing_else_happened();
}

#[test]
fn a_changed_input_fails_the_job_at_once() {
    let mut world = World::new();
    world.job(5, 0);
    let mut worker = world.worker("h", 1);
    let name = one_map_at_a_time(&mut world, &mut worker);
    world.forget();
    worker.failed(&name, Reason::InputChanged { message: "it has 3 bytes, planned were 9".to_owned() });
    world.answered(&mut worker);
    world.happened(&["failed", "job_failed"]);
    world.and_nothing_else_happened();
}

#[test]
fn a_failure_waits_longer_each_time() {
    let mut world = World::new();
    world.job(1, 0);
    let mut worker = world.worker("h", 1);
    for wait in [250, 500, 1_000] {
        let name = world.granted(&mut worker);
        worker.failed(&name, boom());
        world.answered(&mut worker);
        world.pass(wait - 1);
        world.parked(&mut worker);
        world.forget();
        world.pass(1);
        world.woken(&[&worker]);
    }
}

#[test]
fn a_worker_that_cannot_run_a_task_leaves_it_to_others() {
    let mut world = World::new();
    world.job(1, 0);
    let (mut full, mut other) = (world.worker("h", 1), world.worker("g", 1));
    other.request.free_slots = 0;
    world.answered(&mut other);
    let name = world.granted(&mut full);
    full.request.free_slots = 0;
    full.failed(&name, Reason::Worker { message: "no space left on /tmp".to_owned() });
    world.answered(&mut full);
    world.pass(limits::RETRY_BACKOFF_MS);
    full.request.free_slots = 1;
    world.parked(&mut full);
    other.request.free_slots = 1;
    let answer = world.answered(&mut other);
    assert_eq!(answer.grants.len(), 1);
}

#[test]
fn a_map_that_is_made_again_after_a_reduce_read_it_has_to_come_out_the_same() {
    for (digest, ends) in
        [("00", &["won", "granted"][..]), ("01", &["output_differed", "rolled_back", "won", "job_failed"][..])]
    {
        let mut world = World::new();
        let job = world.job(1, 2);
        let mut worker = world.worker("h", 2);
        let map = world.granted(&mut worker);
        worker.done_here(&map);
        let reduces = world.granted(&mut worker);
        assert_eq!(reduces.tasks.count, 2);
        worker.report(&reduces, TaskRange::one(0), Ended::Done(made(Location::Nothing)));
        let name = TaskName { step: 0, stage: gristmill_common::Stage::Map, index: 0 };
        let lost = Reason::LostOutput { map: name, fence: map.first_fence, message: "bad checksum".to_owned() };
        worker.report(&reduces, TaskRange::one(1), Ended::Failed(lost));
        let again = world.granted(&mut worker);
        world.forget();
        let mut done = made(Location::Worker(worker.request.worker));
        done.output.digest = digest.to_owned();
        worker.report(&again, again.tasks, Ended::Done(done));
        let answer = world.answered(&mut worker);
        assert_eq!(verdicts(&answer), [Verdict::Accepted]);
        world.happened(ends);
        if digest == "01" {
            let failure = world.scheduler.job_view(job, world.now).unwrap().failure.unwrap();
            assert!(failure.message.contains("not deterministic") && failure.task == Some(name), "{failure:?}");
        }
    }
}

#[test]
fn a_lost_output_runs_its_map_again_and_the_older_report_cannot_win() {
    let mut world = World::new();
    let job = world.job(2, 1);
    let mut worker = world.worker("h", 2);
    let maps = world.granted(&mut worker);
    worker.done_here(&maps);
    let reduce = world.granted(&mut worker);
    world.forget();
    let map = TaskName { step: 0, stage: gristmill_common::Stage::Map, index: 1 };
    let lost = Reason::LostOutput { map, fence: maps.first_fence.plus(1), message: "bad checksum".to_owned() };
    worker.failed(&reduce, lost.clone());
    let again = world.granted(&mut worker);
    assert_eq!(again.tasks, TaskRange::one(1));
    world.happened(&["failed", "reopened", "granted"]);
    worker.report(&maps, TaskRange::one(1), Ended::Done(made(Location::Worker(worker.request.worker))));
    worker.request.running.push(Running { fences: again.fences(), progress_permille: None, status: None });
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Superseded]);
    worker.done_here(&again);
    let second = world.granted(&mut worker);
    assert_eq!(second.generation.0, 1);
    world.happened(&["won", "granted"]);
    // The same complaint about the old attempt concerns nobody any more.
    worker.failed(&second, lost);
    world.answered(&mut worker);
    world.happened(&["failed", "granted"]);
    let view = world.scheduler.job_view(job, world.now).unwrap();
    assert_eq!(view.stages[0].failures + view.stages[1].failures, 0, "nobody's code failed");
    world.and_nothing_else_happened();
}
