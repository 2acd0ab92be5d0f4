use super::*;

#[test]
fn a_lease_that_ends_gives_the_task_to_another_and_the_late_report_still_wins() {
    let mut world = World::new();
    world.job(1, 0);
    let (mut slow, mut other) = (world.worker("h", 1), world.worker("g", 1));
    let name = world.granted(&mut slow);
    world.forget();
    world.pass(limits::LEASE_MS - 1);
    world.happened(&[]);
    world.parked(&mut other);
    world.pass(1);
    let lost = world.happened(&["lost"]);
    assert!(matches!(lost[0], Entry::Lost { why: Loss::LeaseExpired, .. }));
    world.woken(&[&other]);
    let newer = world.answered(&mut other);
    world.happened(&["granted"]);
    assert_eq!(newer.grants.len(), 1);
    slow.done(&name, Location::Nothing);
    let answer = world.answered(&mut slow);
    assert_eq!(verdicts(&answer), [Verdict::Accepted]);
    world.happened(&["won", "commit_started"]);
    let stopped = world.answered(&mut other);
    assert!(stopped.keep.is_empty());
    world.and_nothing_else_happened();
}

#[test]
fn after_the_coordinator_stood_still_every_live_worker_has_a_fresh_lease() {
    let mut world = World::new();
    world.job(2, 0);
    let (mut a, mut b) = (world.worker("h", 1), world.worker("h", 1));
    world.answered(&mut a);
    world.answered(&mut b);
    world.forget();
    let due = world.scheduler.next_deadline().unwrap();
    world.now.mono_ms = due + limits::LEASE_MS / 4;
    assert!(!world.scheduler.has_overslept(world.now), "a tick may be a little late");
    world.now.mono_ms = due + limits::LEASE_MS * 2;
    assert!(world.scheduler.has_overslept(world.now));
    world.scheduler.excuse_silence(world.now);
    assert!(!world.scheduler.has_overslept(world.now));
    world.tell(Command::Tick);
    world.happened(&[]);
    world.pass(limits::LEASE_MS - 1);
    world.answered(&mut a);
    world.happened(&[]);
    world.pass(1);
    let lost = world.happened(&["lost"]);
    assert!(matches!(&lost[0], Entry::Lost { worker, .. } if *worker == b.request.worker), "who stays silent is lost");
}

#[test]
fn a_new_process_takes_over_at_once_and_only_what_was_begun_is_counted() {
    let mut world = World::new();
    let job = world.job(8, 0);
    let mut worker = world.worker("h", 1);
    worker.request.free_slots = 4;
    let name = world.granted(&mut worker);
    assert_eq!(name.tasks.count, 4);
    world.forget();
    worker.done(&GrantName { tasks: TaskRange::one(0), ..name }, Location::Nothing);
    worker.reborn(&mut world);
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Accepted], "the outbox outlives the process");
    let entries = world.happened(&["won", "lost", "lost"]);
    assert!(matches!(&entries[1], Entry::Lost { why: Loss::WorkerDied, fences, .. } if fences[0].count == 1));
    assert!(matches!(&entries[2], Entry::Lost { why: Loss::NotStarted, fences, .. } if fences[0].count == 2));
    let page = world.scheduler.tasks(job, TaskFilter::default(), None, 10).unwrap();
    assert_eq!(page.tasks.iter().map(|task| task.losses).collect::<Vec<_>>(), [0, 1, 0, 0, 0, 0, 0, 0]);
    world.and_nothing_else_happened();
}

#[test]
fn after_a_restart_what_workers_still_run_is_adopted() {
    let mut world = World::new();
    world.job(4, 0);
    let mut worker = world.worker("h", 2);
    let name = world.granted(&mut worker);
    world.restart(0);
    worker.request.running.pop();
    let answer = world.answered(&mut worker);
    assert_eq!(answer.keep, [FenceRange::one(name.first_fence)]);
    assert!(answer.grants.iter().all(|grant| grant::name_of(&grant.token).unwrap().first_fence >= Fence::first_of(2)));
    let entries = world.happened(&["lost", "adopted"]);
    assert!(matches!(entries[0], Entry::Lost { why: Loss::NotHeld, .. }));
    world.and_nothing_else_happened();
}

#[test]
fn after_a_restart_recorded_holders_have_one_lease() {
    let mut world = World::new();
    world.job(1, 0);
    let mut gone = world.worker("h", 1);
    world.answered(&mut gone);
    world.restart(0);
    let mut other = world.worker("h", 1);
    world.parked(&mut other);
    world.pass(limits::LEASE_MS - 1);
    world.happened(&[]);
    world.parked(&mut other);
    world.pass(1);
    let entries = world.happened(&["lost"]);
    assert!(matches!(entries[0], Entry::Lost { why: Loss::LeaseExpired, .. }));
    world.woken(&[&other]);
    world.and_nothing_else_happened();
}

#[test]
fn a_report_whose_grant_was_lost_with_the_tail_still_wins() {
    let mut world = World::new();
    world.job(2, 0);
    let mut worker = world.worker("h", 1);
    world.answered(&mut worker);
    let pinned = worker.tokens.len();
    assert_eq!(pinned, 1);
    worker.request.free_slots = 1;
    let name = world.granted(&mut worker);
    world.restart(1);
    worker.done(&name, Location::Nothing);
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Accepted]);
    world.happened(&["won", "adopted"]);
    world.and_nothing_else_happened();
}

#[test]
fn an_attempt_of_before_the_executable_was_pinned_cannot_win() {
    let mut world = World::new();
    world.job(1, 0);
    let mut worker = world.worker("h", 1);
    let name = world.granted(&mut worker);
    // Both the pin and the grant are lost; another build may pin the step now.
    world.restart(2);
    let mut other = world.worker("h", 1);
    other.request.about.executable = Digest([8; 32]);
    world.answered(&mut other);
    world.happened(&["program_pinned", "granted"]);
    worker.done(&name, Location::Nothing);
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Superseded]);
    world.and_nothing_else_happened();
}

#[test]
fn a_task_under_which_two_workers_died_runs_alone() {
    let mut world = World::new();
    let job = world.job(3, 0);
    let mut worker = world.worker("h", 2);
    for _ in 0..2 {
        worker.request.free_slots = 1;
        let answer = world.answered(&mut worker);
        assert_eq!(worker.grants(&answer)[0].tasks, TaskRange::one(0));
        worker.reborn(&mut world);
        worker.request.free_slots = 0;
        world.answered(&mut worker);
        world.pass(1_000);
    }
    assert_eq!(world.scheduler.trouble((job, "m0".parse().unwrap())).worker_losses, 2);
    worker.request.free_slots = 2;
    let answer = world.answered(&mut worker);
    let names = worker.grants(&answer);
    assert_eq!(names.iter().map(|name| name.tasks).collect::<Vec<_>>(), [TaskRange::one(0)], "alone");
    worker.request.free_slots = 1;
    world.parked(&mut worker);
}

#[test]
fn jobs_that_have_work_again_at_one_time_wake_a_worker_each() {
    let mut world = World::new();
    let (mut flaky, mut one, mut two) = (world.worker("h", 2), world.worker("h", 1), world.worker("h", 1));
    world.job(1, 0);
    world.job(1, 0);
    let answer = world.answered(&mut flaky);
    for name in flaky.grants(&answer) {
        flaky.failed(&name, boom());
    }
    flaky.request.draining = true;
    flaky.request.free_slots = 0;
    world.answered(&mut flaky);
    world.parked(&mut one);
    world.parked(&mut two);
    world.forget();
    world.now.mono_ms += limits::RETRY_BACKOFF_MS;
    world.tell(Command::Tick);
    world.woken(&[&one, &two]);
}
