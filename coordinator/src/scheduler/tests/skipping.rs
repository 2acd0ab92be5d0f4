use gristmill_common::spec::{OnBadRecord, OnNondeterminism};
use gristmill_common::wire::{Skipped, TaskSkips};
use gristmill_common::{Place, Stage};

use super::*;

fn at(offset: u64) -> Option<Place> {
    Some(Place { file: "file:///a".to_owned(), offset })
}

fn boom_at(offset: u64) -> Reason {
    Reason::Panicked { message: "boom".to_owned(), at: at(offset) }
}

fn job(world: &mut World, shape: (u32, u32), change: impl FnOnce(&mut JobSpec)) -> JobId {
    let mut spec = spec(1);
    change(&mut spec);
    let job = world.submit_spec(spec);
    world.plan(job, &[shape]);
    world.forget();
    job
}

fn fail_once(world: &mut World, worker: &mut Hand, reason: Reason) -> GrantName {
    world.pass(limits::RETRY_BACKOFF_MAX_MS);
    let name = world.granted(worker);
    world.forget();
    worker.failed(&name, reason);
    world.answered(worker);
    name
}

fn told(world: &World, name: &GrantName) -> Vec<TaskSkips> {
    world.scheduler.skips(name).unwrap().tasks
}

#[test]
fn a_record_that_fails_twice_is_left_out_and_stays_so() {
    let mut world = World::new();
    let job = job(&mut world, (1, 1), |spec| spec.on_bad_record = OnBadRecord::Skip(5));
    let mut worker = world.worker("h", 1);
    // The first failure names a block, the careful ones behind it the record.
    let name = fail_once(&mut world, &mut worker, boom_at(0));
    world.happened(&["failed"]);
    assert_eq!(told(&world, &name), [TaskSkips { task: 0, records: vec![] }]);
    fail_once(&mut world, &mut worker, boom_at(7));
    world.happened(&["failed"]);
    let name = fail_once(&mut world, &mut worker, boom_at(7));
    world.happened(&["failed", "record_skipped"]);
    let skipped = Skipped { at: at(7).unwrap(), why: boom_at(7).to_string(), by_reader: false };
    assert_eq!(told(&world, &name), [TaskSkips { task: 0, records: vec![skipped.clone()] }]);
    world.restart(0);
    assert_eq!(told(&world, &name)[0].records, std::slice::from_ref(&skipped), "it is durable");

    world.pass(limits::RETRY_BACKOFF_MAX_MS);
    worker.reborn(&mut world);
    let name = world.granted(&mut worker);
    let made_up = Skipped { at: at(8).unwrap(), why: String::new(), by_reader: false };
    let done = Done { skipped: vec![skipped, made_up], ..made(Location::Worker(worker.request.worker)) };
    worker.request.holds.push(job);
    worker.report(&name, name.tasks, Ended::Done(done));
    world.answered(&mut worker);
    let view = world.scheduler.job_view(job, world.now).unwrap();
    assert_eq!((view.skipped_records, view.skipped[0].offset), (1, 7), "what was not to be left out is not believed");
    assert_eq!(view.stages[0].failures, 3);
}

#[test]
fn failures_at_many_records_do_not_use_up_the_attempts_but_the_quota() {
    let mut world = World::new();
    let id = job(&mut world, (1, 0), |spec| spec.on_bad_record = OnBadRecord::Skip(2));
    let mut worker = world.worker("h", 1);
    for record in [10, 20] {
        fail_once(&mut world, &mut worker, boom_at(record));
        fail_once(&mut world, &mut worker, boom_at(record));
        world.happened(&["failed", "record_skipped"]);
    }
    for _ in 1..limits::ATTEMPTS {
        fail_once(&mut world, &mut worker, boom_at(30));
        world.happened(&["failed"]);
    }
    fail_once(&mut world, &mut worker, boom_at(30));
    world.happened(&["failed", "job_failed"]);
    let failure = world.scheduler.job_view(id, world.now).unwrap().failure.unwrap();
    assert!(failure.message.ends_with("2 of 2 records that the job may leave out are used up"), "{failure:?}");
}

#[test]
fn nothing_is_left_out_unasked_or_where_that_did_not_help() {
    let mut world = World::new();
    let careful = job(&mut world, (1, 0), |_| {});
    let mut worker = world.worker("h", 1);
    for _ in 1..limits::ATTEMPTS {
        fail_once(&mut world, &mut worker, boom_at(7));
        world.happened(&["failed"]);
    }
    fail_once(&mut world, &mut worker, boom_at(7));
    world.happened(&["failed", "job_failed"]);
    assert!(!world.scheduler.may_skip(careful));

    job(&mut world, (1, 0), |spec| spec.on_bad_record = OnBadRecord::Skip(9));
    fail_once(&mut world, &mut worker, boom_at(7));
    fail_once(&mut world, &mut worker, boom_at(7));
    world.happened(&["failed", "record_skipped"]);
    for _ in 1..limits::ATTEMPTS {
        fail_once(&mut world, &mut worker, boom_at(7));
        world.happened(&["failed"]);
    }
    fail_once(&mut world, &mut worker, boom_at(7));
    world.happened(&["failed", "job_failed"]);
}

#[test]
fn a_worker_that_cannot_leave_records_out_is_not_asked_to() {
    let mut world = World::new();
    let id = job(&mut world, (1, 0), |spec| spec.on_bad_record = OnBadRecord::Skip(1));
    let mut old = world.worker("h", 1);
    old.request.protocol = limits::PROTOCOL_THAT_SKIPS - 1;
    world.parked(&mut old);
    let lines = world.scheduler.explain(id, None).unwrap();
    assert!(lines.iter().any(|line| line.contains("too old to leave bad records out")), "{lines:?}");
    world.forget();
    world.and_nothing_else_happened();
}

/// Two maps and two reduces; one reduce has won when map 0 is lost and made again with another output.
fn made_again_differently(policy: OnNondeterminism) -> (World, JobId, Hand) {
    let mut world = World::new();
    let id = job(&mut world, (2, 2), |spec| spec.on_nondeterminism = policy);
    let mut worker = world.worker("h", 1);
    for _ in 0..2 {
        let name = world.granted(&mut worker);
        worker.done_here(&name);
    }
    let first = world.granted(&mut worker);
    worker.done(&first, Location::Store);
    let second = world.granted(&mut worker);
    let fence = world.scheduler.outputs(&second).unwrap().outputs[0].fence;
    let map = gristmill_common::TaskName { step: 0, stage: Stage::Map, index: 0 };
    worker.failed(&second, Reason::LostOutput { map, fence, message: "gone".to_owned() });
    let again = world.granted(&mut worker);
    assert_eq!(again.stage, Stage::Map);
    world.forget();
    let mut done = made(Location::Worker(worker.request.worker));
    done.output.digest = "0f".to_owned();
    worker.report(&again, again.tasks, Ended::Done(done));
    world.answered(&mut worker);
    (world, id, worker)
}

#[test]
fn another_output_fails_the_job_by_default() {
    let (mut world, id, _) = made_again_differently(OnNondeterminism::Fail);
    world.happened(&["output_differed", "rolled_back", "won", "job_failed"]);
    let view = world.scheduler.job_view(id, world.now).unwrap();
    assert!(view.failure.unwrap().message.contains("not deterministic"));
    assert_eq!(view.differing_outputs, 1);
}

#[test]
fn a_retry_after_another_output_mixes_nothing() {
    let (mut world, id, mut worker) = made_again_differently(OnNondeterminism::Fail);
    assert!(matches!(world.tell(Command::RetryJob { job: id }), Reply::Done));
    for reduce in 0..2 {
        let name = world.granted(&mut worker);
        assert_eq!((name.stage, name.tasks), (Stage::Reduce, TaskRange::one(reduce)), "also the one that had won");
        worker.done(&name, Location::Store);
    }
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    assert_eq!(world.scheduler.state(id).unwrap().word(), "committing");
}

#[test]
fn another_output_rolls_the_reduces_back_when_asked() {
    let (mut world, id, mut worker) = made_again_differently(OnNondeterminism::Rollback);
    world.happened(&["output_differed", "rolled_back", "won", "granted"]);
    let won = |world: &World| world.scheduler.job_view(id, world.now).unwrap().stages[1].won;
    assert_eq!(won(&world), 0, "the reduce that had won is open again");
    for _ in 0..2 {
        let running = worker.request.running[0].fences.first;
        let name = grant::name_of(&worker.tokens[&running.0]).unwrap();
        worker.done(&name, Location::Store);
        world.answered(&mut worker);
    }
    assert_eq!(won(&world), 2);
    assert_eq!(world.scheduler.state(id).unwrap().word(), "committing");
}

#[test]
fn another_output_is_accepted_when_asked() {
    let (mut world, id, _) = made_again_differently(OnNondeterminism::Accept);
    world.happened(&["output_differed", "won", "granted"]);
    let view = world.scheduler.job_view(id, world.now).unwrap();
    assert_eq!((view.differing_outputs, view.stages[1].won), (1, 1));
}

#[test]
fn a_reduce_that_read_a_win_which_the_journal_lost_cannot_win() {
    let mut world = World::new();
    world.job(1, 1);
    let (mut first, mut second) = (world.worker("h", 1), world.worker("h", 1));
    let map = world.granted(&mut first);
    first.done_here(&map);
    let durable = world.journal.len();
    let reduce = world.granted(&mut first);
    // The win and the grant that depended on it are lost; another attempt of the map wins.
    let lost = world.journal.len() - durable;
    world.restart(lost);
    let mut early = first.clone();
    early.request.running.clear();
    early.request.finished.clear();
    early.request.free_slots = 0;
    early.done(&reduce, Location::Store);
    early.request.free_slots = 0;
    let answer = world.answered(&mut early);
    assert_eq!(verdicts(&answer), [Verdict::Superseded], "what it read is not known");
    first.request.seq = early.request.seq;
    world.pass(config().lease_ms);
    let again = world.granted(&mut second);
    let mut done = made(Location::Worker(second.request.worker));
    done.output.digest = "0f".to_owned();
    second.request.holds.push(again.job);
    second.report(&again, again.tasks, Ended::Done(done));
    second.request.free_slots = 0;
    world.answered(&mut second);
    first.request.free_slots = 0;
    first.request.running.clear();
    first.request.finished.clear();
    first.done(&reduce, Location::Store);
    let answer = world.answered(&mut first);
    assert_eq!(verdicts(&answer), [Verdict::Superseded]);
}

#[test]
fn results_that_overlap_in_one_poll_are_looked_at_once() {
    let mut world = World::new();
    let id = job(&mut world, (3, 0), |_| {});
    let mut worker = world.worker("h", 3);
    let name = world.granted(&mut worker);
    assert_eq!(name.tasks.count, 3);
    let token = secret().sign(&name);
    let result = |tasks| TaskResult { tasks, outcome: Ended::Failed(boom()) };
    let overlapping = vec![result(name.tasks), result(name.tasks), result(TaskRange::one(1))];
    worker.request.finished.push(Report { token: token.clone(), results: overlapping });
    worker.request.finished.push(Report { token, results: vec![result(TaskRange::one(2))] });
    worker.request.running.clear();
    world.forget();
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Accepted, Verdict::Conflict, Verdict::Conflict]);
    assert_eq!(world.scheduler.job_view(id, world.now).unwrap().stages[0].failures, 3);
}

#[test]
fn what_a_reader_left_out_comes_with_its_report_and_counts_for_the_quota() {
    let bad = |offset| Skipped { at: at(offset).unwrap(), why: "not JSON".to_owned(), by_reader: true };
    for (most, ends) in [(3, false), (2, true)] {
        let mut world = World::new();
        let id = job(&mut world, (2, 1), |spec| spec.on_bad_record = OnBadRecord::Skip(most));
        let mut worker = world.worker("h", 2);
        let answer = world.answered(&mut worker);
        let names = worker.grants(&answer);
        worker.request.holds.push(id);
        for (task, skipped) in [(0, vec![bad(1), bad(2)]), (1, vec![bad(3)])] {
            let name = names.iter().find(|name| name.fence_of(task).is_some()).expect("granted");
            let done = Done { skipped, ..made(Location::Worker(worker.request.worker)) };
            worker.report(name, TaskRange::one(task), Ended::Done(done));
        }
        world.answered(&mut worker);
        let view = world.scheduler.job_view(id, world.now).unwrap();
        if ends {
            let message = view.failure.unwrap().message;
            assert!(message.contains("3 records are bad") && message.contains("may leave out 2"), "{message}");
        } else {
            assert_eq!((view.skipped_records, view.failure), (3, None));
            assert_eq!(view.skipped[2].why, "not JSON");
        }
    }
}
