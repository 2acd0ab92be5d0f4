use super::*;

#[test]
fn the_same_seq_gets_the_same_answer_and_an_older_one_is_stale() {
    let mut world = World::new();
    world.job(4, 0);
    let mut worker = world.worker("h", 1);
    let first = world.answered(&mut worker);
    let second = world.answered(&mut worker);
    world.forget();
    let again = world.tell(Command::Poll(Box::new(worker.request.clone())));
    assert!(matches!(again, Reply::Poll(answer) if *answer == second));
    worker.request.seq = first.seq;
    refused(world.tell(Command::Poll(Box::new(worker.request.clone()))), Code::Stale);
    world.and_nothing_else_happened();
}

#[test]
fn a_grant_whose_answer_was_not_seen_is_sent_again() {
    let mut world = World::new();
    world.job(2, 0);
    let mut worker = world.worker("h", 1);
    let Reply::Poll(lost) = world.poll(&mut worker) else { panic!("no work") };
    world.forget();
    let again = world.answered(&mut worker);
    assert_eq!(lost.grants, again.grants);
    world.and_nothing_else_happened();
}

#[test]
fn a_grant_that_was_seen_and_is_not_held_is_queued_again() {
    let mut world = World::new();
    world.job(1, 0);
    let mut worker = world.worker("h", 1);
    world.answered(&mut worker);
    world.forget();
    worker.request.running.clear();
    worker.request.free_slots = 1;
    world.answered(&mut worker);
    let entries = world.happened(&["lost", "granted"]);
    assert!(matches!(entries[0], Entry::Lost { why: Loss::NotHeld, .. }));
}

#[test]
fn returned_attempts_are_queued_again() {
    let mut world = World::new();
    world.job(2, 0);
    let mut worker = world.worker("h", 2);
    let name = world.granted(&mut worker);
    world.forget();
    worker.request.running.remove(1);
    worker.request.returned.push(FenceRange::one(name.first_fence.plus(1)));
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(answer.keep, [FenceRange::one(name.first_fence)]);
    let entries = world.happened(&["lost"]);
    assert!(matches!(&entries[0], Entry::Lost { why: Loss::Returned, fences, .. } if fences.len() == 1));
    world.and_nothing_else_happened();
}

#[test]
fn only_one_poll_of_a_worker_is_parked() {
    let mut world = World::new();
    let mut worker = world.worker("h", 1);
    world.parked(&mut worker);
    worker.request.seq += 1;
    let outcome = world.scheduler.handle(Command::Poll(Box::new(worker.request.clone())), world.now);
    assert_eq!(outcome.void, Some(worker.request.session));
    assert!(matches!(outcome.reply, Reply::Parked { .. }));
    world.and_nothing_else_happened();
}

#[test]
fn a_poll_is_held_and_then_answered_with_nothing() {
    let mut world = World::new();
    let mut worker = world.worker("h", 1);
    let Reply::Parked { hold_ms } = world.poll(&mut worker) else { panic!("not parked") };
    assert_eq!(hold_ms, limits::HOLD_MS);
    world.pass(hold_ms);
    let session = worker.request.session;
    let reply = world.tell(Command::ResumePoll { session, expired: true });
    assert!(matches!(reply, Reply::Poll(answer) if answer.is_idle() && answer.next_poll_ms == 0));
    refused(world.tell(Command::ResumePoll { session, expired: true }), Code::Stale);
    world.and_nothing_else_happened();
}

#[test]
fn workers_of_another_protocol_cluster_or_a_later_epoch_are_refused() {
    let mut world = World::new();
    let worker = world.worker("h", 1);
    let mut send = |change: fn(&mut PollRequest)| {
        let mut request = worker.request.clone();
        change(&mut request);
        world.tell(Command::Poll(Box::new(request)))
    };
    refused(send(|request| request.protocol = 99), Code::Stale);
    refused(send(|request| request.protocol = 0), Code::Stale);
    refused(send(|request| request.epoch = Some(epoch(2))), Code::Stale);
    let foreign = |request: &mut PollRequest| request.epoch = Some(Epoch { cluster: uuid::Uuid::nil(), counter: 1 });
    refused(send(foreign), Code::Conflict);
}

#[test]
fn an_older_process_of_a_directory_is_refused() {
    let mut world = World::new();
    world.job(1, 0);
    let mut old = world.worker("h", 1);
    world.answered(&mut old);
    let mut new = old.clone();
    new.reborn(&mut world);
    world.parked(&mut new);
    refused(world.poll(&mut old), Code::Stale);
}

#[test]
fn what_a_peer_makes_up_is_refused_and_breaks_nothing() {
    let mut world = World::new();
    world.job(4, 2);
    let mut worker = world.worker("h", 2);
    let name = world.granted(&mut worker);
    world.forget();
    let wide = FenceRange { first: Fence(0), count: u32::MAX };
    worker.request.running.extend(vec![Running { fences: wide, progress_permille: Some(u16::MAX), status: None }; 3]);
    worker.request.returned.push(FenceRange { first: Fence(u64::MAX), count: u32::MAX });
    worker.request.returned.push(FenceRange { first: Fence(5), count: 0 });
    worker.request.free_slots = u32::MAX;
    let forged = GrantName { tasks: TaskRange { first: 0, count: 4 }, ..name };
    let other = TokenSecret::new([9; 32]).sign(&forged);
    for (token, tasks) in [
        (other, TaskRange::one(0)),
        ("g1.x".to_owned(), TaskRange::one(0)),
        (secret().sign(&name), TaskRange { first: 3, count: 9 }),
        (secret().sign(&name), TaskRange { first: 0, count: 0 }),
        (secret().sign(&name), TaskRange { first: u32::MAX, count: u32::MAX }),
    ] {
        let results = vec![TaskResult { tasks, outcome: Ended::Done(made(Location::Nothing)) }];
        worker.request.finished.push(Report { token, results });
    }
    let elsewhere = Location::Worker(WorkerId(uuid::Uuid::nil()));
    for at in [elsewhere, Location::Inline("x".repeat(1 << 20))] {
        let results = vec![TaskResult { tasks: TaskRange::one(0), outcome: Ended::Done(made(at)) }];
        worker.request.finished.push(Report { token: secret().sign(&name), results });
    }
    let answer = world.answered(&mut worker);
    assert!(verdicts(&answer).iter().all(|verdict| *verdict == Verdict::Conflict), "{answer:?}");
    assert_eq!(answer.keep, [name.fences()]);
}

#[test]
fn tasks_are_shared_among_those_who_have_room() {
    let mut world = World::new();
    let (mut a, mut b) = (world.worker("h", 1), world.worker("h", 1));
    (a.request.free_slots, b.request.free_slots) = (4_000, 4_000);
    world.parked(&mut a);
    world.parked(&mut b);
    let job = world.submit_spec(spec(1));
    world.plan(job, &[(10_000, 0)]);
    world.woken(&[&a, &b]);
    let answer = world.answered(&mut a);
    let total: u32 = a.grants(&answer).iter().map(|name| name.tasks.count).sum();
    assert_eq!(total, 4_000, "while there is enough everyone gets what it would take");
    let answer = world.answered(&mut b);
    assert_eq!(b.grants(&answer).iter().map(|name| name.tasks.count).sum::<u32>(), 4_000);
    (a.request.free_slots, b.request.free_slots) = (4_000, 4_000);
    world.scheduler.soft.change(b.request.worker, |worker| worker.free = 4_000);
    let answer = world.answered(&mut a);
    assert_eq!(a.grants(&answer).iter().map(|name| name.tasks.count).sum::<u32>(), 1_000, "half of the last 2,000");
}

#[test]
fn a_draining_worker_gets_nothing_more() {
    let mut world = World::new();
    world.job(4, 0);
    let mut worker = world.worker("h", 1);
    world.answered(&mut worker);
    world.forget();
    let id = worker.request.worker;
    assert!(matches!(world.tell(Command::DrainWorker { worker: id }), Reply::Done));
    worker.request.free_slots = 3;
    let answer = world.answered(&mut worker);
    assert!(answer.drain && answer.grants.is_empty() && answer.next_poll_ms > 0, "{answer:?}");
    refused(world.tell(Command::DrainWorker { worker: WorkerId(uuid::Uuid::nil()) }), Code::NotFound);
    world.and_nothing_else_happened();
}
