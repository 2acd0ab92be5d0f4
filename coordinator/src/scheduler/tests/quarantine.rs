//! Workers that fail through their own fault again and again.

use super::*;

fn no_space() -> Reason {
    Reason::Worker { message: "no space left on device".to_owned() }
}

/// The worker takes a task and fails it, until it is benched or gets nothing.
fn fail_often(world: &mut World, hand: &mut Hand) -> usize {
    let mut times = 0;
    for _ in 0..20 {
        let Reply::Poll(answer) = world.poll(hand) else { break };
        let grants = hand.take(&answer);
        if grants.is_empty() {
            break;
        }
        for grant in &grants {
            hand.failed(grant, no_space());
            times += 1;
        }
    }
    times
}

fn state(world: &World, hand: &Hand) -> (String, Option<String>) {
    let workers = world.scheduler.workers(world.now).workers;
    let worker = workers.iter().find(|worker| worker.id == hand.request.worker).unwrap();
    (worker.state.clone(), worker.why.clone())
}

#[test]
fn a_flaky_worker_is_benched_then_on_probation_then_trusted() {
    let mut world = World::new();
    let (mut flaky, mut other) = (world.worker("a", 1), world.worker("b", 1));
    let job = world.job(100, 0);
    world.answered(&mut other);
    assert_eq!(fail_often(&mut world, &mut flaky), limits::QUARANTINE_STRIKES);
    let (word, why) = state(&world, &flaky);
    assert_eq!(word, "quarantined");
    assert!(why.unwrap().contains("no space left on device"));
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("quarantined"), "{lines}");
    world.parked(&mut flaky);

    world.pass(config().lease_ms / 2);
    world.poll(&mut other);
    world.poll(&mut flaky);
    world.pass(config().lease_ms / 2 + 1);
    world.poll(&mut other);
    flaky.request.about.slots = 4;
    flaky.request.free_slots = 4;
    let mut answer = world.answered(&mut flaky);
    // At the end four are allowed, of which it holds one already.
    for expected in [1, 2, 3] {
        let grants = flaky.grants(&answer);
        assert_eq!(grants.iter().map(|grant| grant.tasks.count).sum::<u32>(), expected);
        assert_eq!(state(&world, &flaky).0, "on probation");
        flaky.done(&grants[0], Location::Nothing);
        flaky.request.free_slots = 4;
        answer = world.answered(&mut flaky);
    }
    assert_eq!(state(&world, &flaky), ("live".to_owned(), None));
}

#[test]
fn a_strike_on_probation_benches_for_twice_as_long() {
    let mut world = World::new();
    let (mut flaky, mut other) = (world.worker("a", 1), world.worker("b", 1));
    world.job(100, 0);
    world.answered(&mut other);
    fail_often(&mut world, &mut flaky);
    for lease in [1, 2] {
        for _ in 0..2 * lease {
            world.parked(&mut flaky);
            world.poll(&mut other);
            world.pass(config().lease_ms / 2);
        }
        world.pass(1);
        world.poll(&mut other);
        assert_eq!(fail_often(&mut world, &mut flaky), 1, "after {lease} leases");
    }
}

#[test]
fn the_only_worker_that_can_goes_on_with_one_task_at_a_time() {
    let mut world = World::new();
    let (mut flaky, mut unable) = (world.worker("a", 4), world.worker("b", 4));
    unable.request.about.programs = vec!["another".to_owned()];
    world.parked(&mut unable);
    world.job(100, 0);
    let answer = world.answered(&mut flaky);
    for grant in flaky.grants(&answer) {
        for task in grant.tasks.iter() {
            flaky.report(&grant, TaskRange::one(task), Ended::Failed(no_space()));
        }
    }
    let answer = world.answered(&mut flaky);
    flaky.failed(&flaky.grants(&answer)[0].clone(), no_space());
    flaky.request.free_slots = 4;
    flaky.request.running.clear();
    let answer = world.answered(&mut flaky);
    assert_eq!(state(&world, &flaky).0, "quarantined");
    assert_eq!(flaky.grants(&answer).iter().map(|grant| grant.tasks.count).sum::<u32>(), 1);
}

#[test]
fn failures_of_user_code_bench_nobody() {
    let mut world = World::new();
    let mut worker = world.worker("a", 1);
    let mut spec = spec(1);
    spec.attempts = 100;
    let job = world.submit_spec(spec);
    world.plan(job, &[(100, 0)]);
    for _ in 0..10 {
        let answer = world.answered(&mut worker);
        worker.failed(&worker.grants(&answer)[0].clone(), boom());
    }
    world.poll(&mut worker);
    assert_eq!(state(&world, &worker), ("live".to_owned(), None));
}

#[test]
fn silent_workers_are_forgotten_some_day() {
    let mut world = World::new();
    let mut worker = world.worker("a", 1);
    world.parked(&mut worker);
    world.pass(config().lease_ms);
    assert_eq!(state(&world, &worker).0, "silent");
    world.pass(config().lease_ms * limits::FORGET_WORKER_LEASES);
    assert!(world.scheduler.workers(world.now).workers.is_empty());
    world.parked(&mut worker);
    assert_eq!(state(&world, &worker).0, "live");
}
