//! What a task and a decision cost.

use super::*;

#[expect(clippy::disallowed_methods, reason = "measures itself; no decision reads it")]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}

/// About what the tables of a job's tasks take: counted by their shape, since a test cannot see the heap without unsafe code.
fn table_bytes(scheduler: &Scheduler, job: JobId) -> usize {
    /// A B-tree's node is two thirds full on average, and has a pointer for every child.
    fn tree(items: usize, bytes: usize) -> usize {
        items * bytes * 3 / 2 + items
    }
    let mut sum = 0;
    for step in scheduler.durable().jobs[&job].steps() {
        for tasks in [&step.maps, &step.reduces] {
            sum += tree(tasks.open.iter().count(), 16);
            sum += tree(tasks.attempts().count(), 4 + size_of::<tasks::Attempts>());
            let wins = tasks.wins().count();
            sum += tree(wins, 4 + size_of::<tasks::Win>()) + wins * 32;
            sum += tree(tasks.trouble.len(), 4 + size_of::<tasks::Trouble>());
            sum += tree(tasks.below.len(), 12);
        }
        sum += step.holders.values().map(|holder| tree(holder.maps.iter().count(), 16)).sum::<usize>();
    }
    let held = scheduler.durable().held.values().map(BTreeMap::len).sum::<usize>();
    sum + tree(held, 8 + size_of::<Held>())
}

#[test]
fn a_queued_task_costs_less_than_300_bytes() {
    const TASKS: u32 = 20_000;
    let mut scheduler = Scheduler::recover(std::iter::empty(), secret(), config());
    scheduler.start(epoch(1), Now::default());
    let job = JobId(uuid::Uuid::from_u128(1));
    let now = Now::default();
    scheduler.handle(Command::SubmitJob { job, spec: Box::new(spec(1)), idempotency: None }, now);
    scheduler.handle(Command::FinishPlan { job, result: Ok(summary(&[(TASKS, 1)])) }, now);
    let per_task = |scheduler: &Scheduler| table_bytes(scheduler, job) as f64 / f64::from(TASKS);
    println!("queued, as one range: {:.3} bytes per task", per_task(&scheduler));
    let mut durable = scheduler.durable().clone();
    let worker = |n: u32| WorkerId(uuid::Uuid::from_u128(u128::from(n % 100)));
    let one = |n: u32| (TaskRange::one(n), Fence::first_of(1).plus(u64::from(n)));
    let stage = gristmill_common::Stage::Map;
    for n in 0..TASKS {
        let (tasks, first_fence) = one(n);
        let generation = gristmill_common::Generation(0);
        durable.apply(&Entry::Granted {
            job,
            worker: worker(n),
            step: 0,
            stage,
            tasks,
            first_fence,
            generation,
            backup: false,
        });
    }
    scheduler.durable = durable.clone();
    let running = per_task(&scheduler);
    println!("running, each granted by itself: {running:.0} bytes per task");
    for n in 0..TASKS {
        let (task, fence) = (n, one(n).1);
        durable.apply(&Entry::Failed { job, worker: worker(n), step: 0, stage, task, fence, reason: boom() });
    }
    scheduler.durable = durable.clone();
    let failed = per_task(&scheduler);
    println!("queued again after a failure each: {failed:.0} bytes per task");
    for n in 0..TASKS {
        let (tasks, first_fence) = one(n);
        let mut done = made(Location::Worker(worker(n)));
        done.output.digest = format!("{n:016x}");
        durable.apply(&Entry::Won { job, worker: worker(n), step: 0, stage, tasks, first_fence, done });
    }
    scheduler.durable = durable;
    let won = per_task(&scheduler);
    println!("won, each on its worker, after a failure each: {won:.0} bytes per task");
    assert!(running <= 300.0 && failed <= 300.0, "{running} {failed}");
    assert!(won <= 450.0, "{won}");
}

#[test]
fn decisions_are_fast() {
    let mut scheduler = Scheduler::recover(std::iter::empty(), secret(), config());
    scheduler.start(epoch(1), Now::default());
    let job = JobId(uuid::Uuid::from_u128(1));
    let now = Now::default();
    scheduler.handle(Command::SubmitJob { job, spec: Box::new(spec(1)), idempotency: None }, now);
    scheduler.handle(Command::FinishPlan { job, result: Ok(summary(&[(20_000, 0)])) }, now);
    let mut world = World::new();
    let mut worker = world.worker("h", 1);
    let (start, mut polls, mut tasks) = (started(), 0_u64, 0_u64);
    loop {
        worker.request.seq += 1;
        polls += 1;
        let Reply::Poll(answer) = scheduler.handle(Command::Poll(Box::new(worker.request.clone())), now).reply else {
            break;
        };
        worker.request.finished.clear();
        for name in worker.take(&answer) {
            tasks += u64::from(name.tasks.count);
            worker.done(&name, Location::Nothing);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("one task a poll: {tasks} tasks, {:.0} polls/s", polls as f64 / seconds);

    let job = JobId(uuid::Uuid::from_u128(2));
    scheduler.handle(Command::SubmitJob { job, spec: Box::new(spec(1)), idempotency: None }, now);
    scheduler.handle(Command::FinishPlan { job, result: Ok(summary(&[(1_000_000, 0)])) }, now);
    let (start, mut tasks) = (started(), 0_u64);
    loop {
        worker.request.seq += 1;
        worker.request.free_slots = 4_000;
        let Reply::Poll(answer) = scheduler.handle(Command::Poll(Box::new(worker.request.clone())), now).reply else {
            break;
        };
        worker.request.finished.clear();
        worker.request.running.clear();
        worker.request.seen = answer.seq;
        for name in worker.grants(&answer) {
            tasks += u64::from(name.tasks.count);
            worker.done(&name, Location::Nothing);
        }
    }
    println!("ranges: {tasks} tasks, {:.0} tasks/s", tasks as f64 / start.elapsed().as_secs_f64());
    assert_eq!(tasks, 1_000_000);
}

/// Every idle worker's poll once looked at every job that nobody can run, and every such job at every idle worker.
#[test]
fn jobs_that_nobody_can_run_cost_the_others_nothing() {
    const JOBS: u128 = 9_999;
    let mut scheduler = Scheduler::recover(std::iter::empty(), secret(), config());
    scheduler.start(epoch(1), Now::default());
    let now = Now::default();
    let mut world = World::new();
    let mut hands: Vec<Hand> = (0..1_000).map(|_| world.worker("h", 1)).collect();
    for hand in &mut hands {
        hand.request.seq += 1;
        scheduler.handle(Command::Poll(Box::new(hand.request.clone())), now);
    }
    let start = started();
    for number in 1..=JOBS {
        let job = JobId(uuid::Uuid::from_u128(number));
        let mut spec = spec(1);
        spec.steps[0].native = Some("nobody-has-this".to_owned());
        scheduler.handle(Command::SubmitJob { job, spec: Box::new(spec), idempotency: None }, now);
        let planned = Command::FinishPlan { job, result: Ok(summary(&[(10, 0)])) };
        assert_eq!(scheduler.handle(planned, now).wake, []);
    }
    for hand in &mut hands {
        hand.request.seq += 1;
        let reply = scheduler.handle(Command::Poll(Box::new(hand.request.clone())), now).reply;
        assert!(matches!(reply, Reply::Parked { .. }));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{JOBS} jobs that nobody can run and {} idle workers: {seconds:.2} s", hands.len());
    // With a look at each of the others it was more than ten times this.
    assert!(seconds < 3.0, "{seconds}");
    let job = JobId(uuid::Uuid::from_u128(JOBS + 1));
    scheduler.handle(Command::SubmitJob { job, spec: Box::new(spec(1)), idempotency: None }, now);
    let woken = scheduler.handle(Command::FinishPlan { job, result: Ok(summary(&[(10, 0)])) }, now).wake;
    assert_eq!(woken.len(), 10, "as many as there are tasks");
}
