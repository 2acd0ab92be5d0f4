use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::api::JobState;
use gristmill_common::{Stage, limits};
use gristmill_runs::{PartWriter, RunHeader, RunSummary, RunWriter};

use super::*;

fn lose(world: &mut World, job: JobId, step: u16, index: u32) -> Reply {
    let fence = world.scheduler.part(job, step, index).map_or(Fence(0), |(fence, _)| fence);
    world.tell(Command::LoseParts { job, step, parts: vec![(index, fence)], why: "no such file".to_owned() })
}

/// A job of one map and one reduce that commits, and its worker.
fn committing(world: &mut World) -> (JobId, Hand, GrantName) {
    let job = world.job(1, 1);
    let mut worker = world.worker("h", 1);
    let map = world.granted(&mut worker);
    worker.done_here(&map);
    let reduce = world.granted(&mut worker);
    worker.done(&reduce, Location::Store);
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    assert_eq!(world.scheduler.state(job), Some(JobState::Committing));
    world.forget();
    (job, worker, reduce)
}

#[test]
fn a_part_lost_at_the_commit_is_made_again_and_committed() {
    let mut world = World::new();
    let (job, mut worker, reduce) = committing(&mut world);
    assert!(matches!(lose(&mut world, job, 0, 0), Reply::Done));
    world.happened(&["reopened"]);
    assert_eq!(world.scheduler.state(job), Some(JobState::Running));
    assert_eq!(world.scheduler.parts(job), None);
    worker.done(&reduce, Location::Store);
    worker.request.free_slots = 1;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Superseded], "the lost attempt cannot win again");
    let again = worker.grants(&answer)[0];
    assert_eq!((again.stage, again.tasks), (Stage::Reduce, TaskRange::one(0)));
    world.forget();
    worker.done(&again, Location::Store);
    world.answered(&mut worker);
    world.happened(&["won", "commit_started"]);
    refused(world.tell(Command::CancelJob { job }), Code::Conflict);
    world.restart(0);
    assert_eq!(world.scheduler.state(job), Some(JobState::Committing));
    assert_eq!(world.scheduler.part(job, 0, 0).map(|part| part.0), again.fence_of(0));
}

#[test]
fn a_job_that_lost_a_part_can_be_cancelled() {
    let mut world = World::new();
    let (job, ..) = committing(&mut world);
    lose(&mut world, job, 0, 0);
    assert!(matches!(world.tell(Command::CancelJob { job }), Reply::Done));
    world.happened(&["reopened", "job_cancelled"]);
}

#[test]
fn maps_that_are_gone_run_again_before_the_lost_part() {
    let mut world = World::new();
    let (job, mut worker, _) = committing(&mut world);
    lose(&mut world, job, 0, 0);
    world.forget();
    worker.request.holds.clear();
    worker.request.free_slots = 1;
    let answer = world.answered(&mut worker);
    assert_eq!(worker.grants(&answer)[0].stage, Stage::Map);
    world.happened(&["reopened", "granted"]);
}

#[test]
fn a_part_of_an_earlier_step_is_made_again_and_later_wins_stay() {
    let mut world = World::new();
    let job = world.submit_spec(spec(2));
    world.plan(job, &[(2, 0), (2, 0)]);
    let mut worker = world.worker("h", 2);
    let first = world.granted(&mut worker);
    worker.done(&first, Location::Store);
    let second = world.granted(&mut worker);
    assert_eq!(second.step, 1);
    worker.report(&second, TaskRange::one(0), Ended::Done(made(Location::Store)));
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    world.forget();
    assert!(matches!(lose(&mut world, job, 0, 1), Reply::Done));
    refused(
        world.tell(Command::LoseParts { job, step: 0, parts: vec![(1, Fence(1))], why: String::new() }),
        Code::Conflict,
    );
    worker.request.running.clear();
    worker.request.returned.push(FenceRange::one(second.fence_of(1).unwrap()));
    worker.request.free_slots = 2;
    let answer = world.answered(&mut worker);
    let again = worker.grants(&answer);
    assert_eq!((again.len(), again[0].step, again[0].tasks), (1, 0, TaskRange::one(1)));
    worker.done(&again[0], Location::Store);
    let answer = world.answered(&mut worker);
    let rest = worker.grants(&answer);
    assert_eq!((rest.len(), rest[0].step, rest[0].tasks), (1, 1, TaskRange::one(1)));
    worker.done(&rest[0], Location::Store);
    world.answered(&mut worker);
    assert_eq!(world.scheduler.state(job), Some(JobState::Committing));
    refused(lose(&mut world, job, 0, 0), Code::Conflict);
}

#[test]
fn a_part_that_is_lost_too_often_fails_its_job() {
    let mut world = World::new();
    let job = world.job(1, 0);
    let mut worker = world.worker("h", 1);
    for lost in 1..=limits::LOST_OUTPUTS {
        worker.request.free_slots = 1;
        let map = world.granted(&mut worker);
        worker.done(&map, Location::Store);
        worker.request.free_slots = 0;
        world.answered(&mut worker);
        world.forget();
        lose(&mut world, job, 0, 0);
        if lost < limits::LOST_OUTPUTS {
            world.happened(&["reopened"]);
        }
    }
    let entries = world.happened(&["reopened", "job_failed"]);
    let Entry::JobFailed { failure, .. } = &entries[1] else { panic!("{entries:?}") };
    assert!(failure.message.contains("m0") && failure.message.contains("no such file"), "{failure:?}");
}

fn inline(bytes: &[u8], summary: RunSummary) -> Done {
    let RunSummary { records, bytes: length, text_bytes, digest } = summary;
    let at = Location::Inline(STANDARD.encode(bytes));
    let output =
        Output { records, bytes: length, text_bytes, digest: format!("{digest:016x}"), at, ..Output::default() };
    Done { output, ..made(Location::Nothing) }
}

fn part(fence: Fence) -> Done {
    let mut bytes = Vec::new();
    let mut writer = PartWriter::new(&mut bytes, fence, false).unwrap();
    writer.push(b"key", b"text").unwrap();
    let summary = writer.finish().unwrap();
    inline(&bytes, summary)
}

fn map_run(fence: Fence) -> Done {
    let mut bytes = Vec::new();
    let header = RunHeader { fence, partitions: 1, compress: false };
    let mut writer = RunWriter::new(&mut bytes, header).unwrap();
    writer.push(0, b"key", b"value").unwrap();
    let summary = writer.finish().unwrap();
    inline(&bytes, summary)
}

#[test]
fn an_output_in_a_report_has_to_be_what_is_said_of_it() {
    let mut world = World::new();
    world.job(2, 0);
    let mut worker = world.worker("h", 2);
    let name = world.granted(&mut worker);
    let fence = name.first_fence;
    let change = |change: &dyn Fn(&mut Output)| {
        let mut done = part(fence);
        change(&mut done.output);
        done
    };
    let nothing = |records, bytes, text_bytes| {
        let mut done = made(Location::Nothing);
        (done.output.records, done.output.bytes, done.output.text_bytes) = (records, bytes, text_bytes);
        done
    };
    let one = TaskRange::one(0);
    let refused = [
        (one, nothing(1, 0, 0)),
        (one, nothing(0, 1, 0)),
        (one, nothing(0, 0, 1)),
        (one, change(&|output| output.at = Location::Inline("no base64".to_owned()))),
        (one, change(&|output| output.at = Location::Inline("AAAA".to_owned()))),
        (one, change(&|output| output.records = 2)),
        (one, change(&|output| output.text_bytes += 1)),
        (one, change(&|output| output.digest = "0".to_owned())),
        (one, part(fence.plus(1))),
        (one, map_run(fence)),
        (name.tasks, part(fence)),
    ];
    for (tasks, done) in refused {
        worker.request.finished.clear();
        let results = vec![TaskResult { tasks, outcome: Ended::Done(done.clone()) }];
        worker.request.finished.push(Report { token: secret().sign(&name), results });
        let answer = world.answered(&mut worker);
        assert!(verdicts(&answer).iter().all(|verdict| *verdict == Verdict::Conflict), "{done:?}: {answer:?}");
        assert_eq!(answer.acks.len(), 1);
    }
    worker.report(&name, one, Ended::Done(part(fence)));
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Accepted]);
}

#[test]
fn a_made_up_incarnation_does_not_lock_a_worker_out_for_good() {
    let mut world = World::new();
    let mut worker = world.worker("h", 1);
    let mut rival = worker.clone();
    rival.request.session = SessionId(world.id());
    rival.request.incarnation = u64::MAX;
    world.parked(&mut rival);
    refused(world.poll(&mut worker), Code::Stale);
    world.pass(limits::LEASE_MS + limits::HOLD_MS);
    world.parked(&mut worker);
}
