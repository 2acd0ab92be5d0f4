use gristmill_common::TaskName;
use gristmill_common::shuffle::{ShuffleAddress, ShuffleKey};

use super::*;

/// Two workers on two hosts, each with one of the two map outputs.
fn split_world() -> (World, Hand, Hand, [GrantName; 2]) {
    halves(|_| None)
}

/// As [`split_world`], where both workers serve their outputs.
fn serving_world() -> (World, Hand, Hand, [GrantName; 2]) {
    halves(|byte| {
        let (url, pin, key) = (format!("https://{byte}"), Digest([byte; 32]), ShuffleKey::new([byte; 32]));
        Some(ShuffleAddress { url, pin, key })
    })
}

fn halves(serving: impl Fn(u8) -> Option<ShuffleAddress>) -> (World, Hand, Hand, [GrantName; 2]) {
    let mut world = World::new();
    world.job(2, 1);
    let (mut a, mut b) = (world.worker("host a", 1), world.worker("host b", 1));
    (a.request.about.shuffle, b.request.about.shuffle) = (serving(1), serving(2));
    let names = [world.granted(&mut a), world.granted(&mut b)];
    a.done_here(&names[0]);
    a.request.free_slots = 0;
    world.answered(&mut a);
    world.forget();
    (world, a, b, names)
}

#[test]
fn outputs_are_relayed_to_those_who_cannot_reach_them() {
    let (mut world, mut a, mut b, names) = split_world();
    a.request.free_slots = 1;
    world.parked(&mut a);
    b.done_here(&names[1]);
    let answer = world.answered(&mut b);
    assert!(answer.grants.is_empty(), "the other output cannot be reached");
    world.happened(&["won"]);
    world.woken(&[&a]);
    let session = a.request.session;
    let Reply::Poll(answer) = world.tell(Command::ResumePoll { session, expired: false }) else { panic!("no relay") };
    let relay = grant::name_of(&answer.relay[0].token).unwrap();
    assert_eq!(relay, GrantName { generation: gristmill_common::Generation(0), ..names[0] });
    a.take(&answer);
    world.parked(&mut a);
    world.parked(&mut b);
    let GrantName { job, step, first_fence: fence, .. } = relay;
    world.tell(Command::StoreOutput { job, step, map: 0, fence });
    world.tell(Command::StoreOutput { job, step, map: 0, fence });
    world.happened(&["output_stored"]);
    let reduce = world.granted(&mut b);
    let outputs = world.scheduler.outputs(&reduce).unwrap().outputs;
    assert_eq!(outputs[0].at, [Location::Worker(a.request.worker), Location::Store]);
    world.happened(&["granted"]);
}

#[test]
fn a_relay_that_the_store_does_not_take_is_explained_and_past_the_jobs_share_fails_it() {
    let (mut world, mut a, mut b, names) = split_world();
    a.request.free_slots = 1;
    world.parked(&mut a);
    b.done_here(&names[1]);
    world.answered(&mut b);
    world.forget();
    let GrantName { job, step, first_fence: fence, .. } = names[0];
    let refuse = |fence: Fence, past_quota: bool, why: &str| Command::RefuseOutput {
        job,
        step,
        map: names[0].tasks.first,
        fence,
        why: why.to_owned(),
        past_quota,
    };
    world.tell(refuse(fence.plus(9), true, "an attempt that nobody wants"));
    world.tell(refuse(fence, false, "the disk has no room"));
    world.happened(&[]);
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("the disk has no room"), "{lines}");
    world.tell(refuse(fence, true, "raise `--relay-quota`"));
    let failed = world.happened(&["job_failed"]);
    let Entry::JobFailed { failure, .. } = &failed[0] else { panic!("no failure") };
    assert!(failure.message.contains("--relay-quota"), "{failure:?}");
    assert!(matches!(failure.reason, Some(Reason::Limit { .. })) && failure.task == Some(names[0].task(0)));
}

#[test]
fn workers_of_one_host_never_relay() {
    let mut world = World::new();
    world.job(2, 2);
    let (mut a, mut b) = (world.worker("here", 1), world.worker("here", 1));
    let first = world.answered(&mut a);
    let second = world.answered(&mut b);
    a.done_here(&first.grants.iter().map(|grant| grant::name_of(&grant.token).unwrap()).next().unwrap());
    b.done_here(&second.grants.iter().map(|grant| grant::name_of(&grant.token).unwrap()).next().unwrap());
    let (answer_a, answer_b) = (world.answered(&mut a), world.answered(&mut b));
    let answer_a = if answer_a.grants.is_empty() { world.answered(&mut a) } else { answer_a };
    assert_eq!((answer_a.grants.len(), answer_b.grants.len()), (1, 1));
    assert!(answer_a.relay.is_empty() && answer_b.relay.is_empty());
}

#[test]
fn an_output_that_proves_unreachable_is_relayed_after_all() {
    let mut world = World::new();
    world.job(1, 1);
    let (mut a, mut b) = (world.worker("same text", 1), world.worker("same text", 1));
    let map = world.granted(&mut a);
    a.done_here(&map);
    a.request.free_slots = 0;
    world.answered(&mut a);
    let reduce = world.granted(&mut b);
    world.forget();
    let name = TaskName { step: 0, stage: gristmill_common::Stage::Map, index: 0 };
    b.failed(&reduce, Reason::Unreachable { map: name, fence: map.first_fence });
    world.answered(&mut b);
    world.happened(&["failed", "output_unshared"]);
    let answer = world.answered(&mut a);
    assert_eq!(answer.relay.len(), 1);
    world.and_nothing_else_happened();
}

#[test]
fn what_only_a_worker_that_is_gone_had_runs_again() {
    let (mut world, _, mut b, names) = split_world();
    b.done_here(&names[1]);
    b.request.free_slots = 0;
    world.answered(&mut b);
    world.happened(&["won"]);
    for _ in 0..3 {
        world.pass(limits::LEASE_MS / 2);
        world.answered(&mut b);
    }
    world.happened(&[]);
    b.request.free_slots = 1;
    let answer = world.answered(&mut b);
    let answer = if answer.grants.is_empty() { world.answered(&mut b) } else { answer };
    assert_eq!(b.grants(&answer)[0].tasks, TaskRange::one(0));
    world.happened(&["reopened", "granted"]);
}

#[test]
fn a_directory_without_the_outputs_loses_them_at_once() {
    let (mut world, mut a, _, names) = split_world();
    a.request.holds.clear();
    a.request.free_slots = 1;
    let answer = world.answered(&mut a);
    assert_eq!(a.grants(&answer)[0].tasks, names[0].tasks);
    world.happened(&["reopened", "granted"]);
    world.and_nothing_else_happened();
}

#[test]
fn who_leaves_relays_first() {
    let (mut world, mut a, _, names) = split_world();
    a.request.draining = true;
    let answer = world.answered(&mut a);
    assert_eq!(answer.relay.len(), 1);
    let GrantName { job, step, first_fence: fence, .. } = names[0];
    world.tell(Command::StoreOutput { job, step, map: 0, fence });
    let answer = world.answered(&mut a);
    assert!(answer.relay.is_empty(), "it may leave");
}

#[test]
fn workers_that_serve_each_other_never_relay() {
    let (mut world, a, mut b, names) = serving_world();
    b.done_here(&names[1]);
    let reduce = world.granted(&mut b);
    world.happened(&["won", "granted"]);
    let holders = world.scheduler.holders(&reduce);
    let at_a = &holders[&a.request.worker];
    assert_eq!(at_a.url, "https://1");
    let key_of = |byte| ShuffleKey::new([byte; 32]).secret();
    assert_eq!(key_of(1).verify(&at_a.token), Some(reduce), "the token opens this grant's outputs there");
    assert_eq!(key_of(2).verify(&at_a.token), None, "and nothing elsewhere");
    assert!(!format!("{:?}", b.request.about).contains("2, 2, 2"), "keys are never printed");
}

#[test]
fn what_cannot_be_fetched_from_a_worker_is_relayed() {
    let (mut world, mut a, mut b, names) = serving_world();
    b.done_here(&names[1]);
    let reduce = world.granted(&mut b);
    let map = names[0].task(names[0].tasks.first);
    b.failed(&reduce, Reason::Unreachable { map, fence: names[0].first_fence });
    let answer = world.answered(&mut b);
    assert!(answer.grants.is_empty(), "it is not tried again like this");
    let relay = world.answered(&mut a).relay;
    assert_eq!(grant::name_of(&relay[0].token).unwrap().tasks, names[0].tasks);
}

#[test]
fn a_serving_worker_that_returns_is_reached_at_once() {
    let (mut world, mut a, mut b, names) = serving_world();
    b.done_here(&names[1]);
    b.request.free_slots = 0;
    world.answered(&mut b);
    b.request.free_slots = 1;
    // After a restart the holder has not been heard yet; nobody else reaches what it has.
    world.restart(0);
    world.parked(&mut b);
    world.tell(Command::ResumePoll { session: b.request.session, expired: false });
    world.forget();
    a.request.free_slots = 0;
    world.answered(&mut a);
    world.woken(&[&b]);
}
