//! `on_failed_task: continue`: the others of the stage run before the job fails.

use gristmill_common::spec::OnFailedTask;
use gristmill_common::{JobId, limits};

use super::*;

fn going_on(world: &mut World, maps: u32, reduces: u32) -> JobId {
    let job = world.submit_spec(JobSpec { attempts: 1, on_failed_task: OnFailedTask::Continue, ..spec(1) });
    world.plan(job, &[(maps, reduces)]);
    world.forget();
    job
}

fn next(world: &mut World, worker: &mut Hand) -> GrantName {
    world.granted(worker)
}

#[test]
fn the_others_run_and_then_the_failure_names_all() {
    let mut world = World::new();
    let job = going_on(&mut world, 4, 1);
    let mut worker = world.worker("h", 1);
    for fails in [true, false, true] {
        let name = next(&mut world, &mut worker);
        if fails {
            worker.failed(&name, boom());
        } else {
            worker.done_here(&name);
        }
    }
    world.forget();
    let name = next(&mut world, &mut worker);
    world.happened(&["failed", "given_up", "granted"]);
    let explained = world.scheduler.explain(job, Some("m0".parse().unwrap())).unwrap();
    assert!(explained[0].contains("m0 failed for good"), "{explained:?}");
    worker.done_here(&name);
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    let entries = world.happened(&["won", "job_failed"]);
    let Entry::JobFailed { failure, .. } = &entries[1] else { panic!("{entries:?}") };
    assert_eq!(failure.task, Some("m0".parse().unwrap()));
    assert!(failure.message.starts_with("2 of 4 tasks failed (m0, m2); the first: task m0"), "{failure:?}");
    world.and_nothing_else_happened();
}

#[test]
fn lines_that_failed_are_named_by_their_numbers() {
    for (lines, failing, part) in [
        (1, [true, false, true], "2 of 3 tasks failed (m0 line 1, m2 line 3); the first"),
        (5, [true, true, true], "3 of 3 tasks failed (m0 from line 1, m1 from line 6, m2 from line 11); the first"),
        (1, [false, true, false], "; it is line 2 of the input"),
        (5, [false, false, true], "; it is from line 11 of the input"),
    ] {
        let mut world = World::new();
        let mut spec = JobSpec { attempts: 1, on_failed_task: OnFailedTask::Continue, ..spec(1) };
        spec.split.lines = Some(lines);
        let job = world.submit_spec(spec);
        world.plan(job, &[(3, 1)]);
        let mut worker = world.worker("h", 1);
        for fails in failing {
            let name = next(&mut world, &mut worker);
            if fails {
                worker.failed(&name, boom());
            } else {
                worker.done_here(&name);
            }
        }
        worker.request.free_slots = 0;
        world.answered(&mut worker);
        let message = world.scheduler.job_view(job, world.now).unwrap().failure.unwrap().message;
        assert!(message.contains(part), "`{message}` has no `{part}`");
    }
}

#[test]
fn a_late_report_of_a_task_that_was_given_up_still_wins() {
    let mut world = World::new();
    going_on(&mut world, 2, 0);
    let (mut slow, mut quick) = (world.worker("h", 1), world.worker("g", 1));
    let first = next(&mut world, &mut slow);
    let other = next(&mut world, &mut quick);
    world.pass(limits::LEASE_MS - 1);
    quick.request.free_slots = 0;
    world.answered(&mut quick);
    world.pass(2);
    world.tell(Command::Tick);
    quick.request.free_slots = 1;
    let again = next(&mut world, &mut quick);
    quick.failed(&again, boom());
    quick.request.free_slots = 0;
    world.answered(&mut quick);
    slow.done(&first, Location::Nothing);
    slow.request.free_slots = 0;
    world.forget();
    world.answered(&mut slow);
    world.happened(&["won"]);
    quick.done(&other, Location::Nothing);
    quick.request.free_slots = 0;
    world.answered(&mut quick);
    world.happened(&["won", "commit_started"]);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut world = World::new();
    going_on(&mut world, 2, 0);
    let mut worker = world.worker("h", 1);
    let name = next(&mut world, &mut worker);
    worker.failed(&name, boom());
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    world.restart(0);
    worker.request.free_slots = 1;
    let name = next(&mut world, &mut worker);
    assert_eq!(name.tasks, TaskRange::one(1), "what failed for good is not granted again");
    worker.done(&name, Location::Nothing);
    worker.request.free_slots = 0;
    world.forget();
    world.answered(&mut worker);
    world.happened(&["won", "job_failed"]);
}
