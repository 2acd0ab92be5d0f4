//! Steps whose maps run in the reduces of the step before: what those leave is theirs to lose, and kept as parts are.

use gristmill_common::api::StageView;
use gristmill_common::plan::StepShape;
use gristmill_common::{Generation, Stage, TaskName};

use super::*;

/// A job of two steps: a map and two reduces, which run the maps of the second step, and its one reduce.
fn job(world: &mut World) -> JobId {
    let job = world.submit_spec(spec(2));
    plan(world, job);
    world.forget();
    job
}

fn plan(world: &mut World, job: JobId) {
    let shape = |maps, reduces, fused| StepShape { maps, reduces, fused };
    let shapes = vec![shape(1, 2, false), shape(0, 1, true)];
    let reply = world.tell(Command::FinishPlan { job, result: Ok(PlanSummary { shapes, ..summary(&[]) }) });
    assert!(matches!(reply, Reply::Done), "{reply:?}");
}

/// A worker that has won the map and holds the two reduces.
fn reducing(world: &mut World) -> (JobId, Hand, GrantName) {
    let job = job(world);
    let mut worker = world.worker("h", 2);
    let map = world.granted(&mut worker);
    worker.done_here(&map);
    let reduces = world.granted(&mut worker);
    assert_eq!((reduces.step, reduces.stage, reduces.tasks.count), (0, Stage::Reduce, 2));
    world.forget();
    (job, worker, reduces)
}

#[test]
fn the_reduces_behind_read_what_the_reduces_before_left() {
    let mut world = World::new();
    let (job, mut worker, reduces) = reducing(&mut world);
    worker.done(&reduces, Location::Store);
    let last = world.granted(&mut worker);
    assert_eq!((last.step, last.stage, last.generation), (1, Stage::Reduce, Generation(0)));
    let table = world.scheduler.outputs(&last).unwrap();
    let listed: Vec<_> = table.outputs.iter().map(|output| (output.map, output.fence, output.at.clone())).collect();
    let fence = |index| reduces.fence_of(index).unwrap();
    assert_eq!(listed, [(0, fence(0), vec![Location::Store]), (1, fence(1), vec![Location::Store])]);
    let view = world.scheduler.job_view(job, world.now).unwrap();
    let shown = |view: &StageView| (view.step, view.stage, view.tasks, view.maps_next);
    let shown: Vec<_> = view.stages.iter().map(shown).collect();
    let expected = [(0, Stage::Map, 1, false), (0, Stage::Reduce, 2, true), (1, Stage::Reduce, 1, false)];
    assert_eq!(shown, expected, "the second step has no maps of its own");
    world.forget();
    worker.done(&last, Location::Store);
    worker.request.free_slots = 0;
    world.answered(&mut worker);
    world.happened(&["won", "commit_started"]);
    world.and_nothing_else_happened();
}

#[test]
fn what_a_fused_reduce_left_and_the_store_lost_is_made_again() {
    let mut world = World::new();
    let (job, mut worker, reduces) = reducing(&mut world);
    worker.done(&reduces, Location::Store);
    let last = world.granted(&mut worker);
    world.forget();
    let made = TaskName { step: 0, stage: Stage::Reduce, index: 1 };
    let reason = |fence| Reason::LostOutput { map: made, fence, message: "no such file".to_owned() };
    worker.failed(&last, reason(reduces.fence_of(1).unwrap()));
    let answer = world.answered(&mut worker);
    world.happened(&["failed", "reopened", "granted"]);
    let again = worker.grants(&answer)[0];
    assert_eq!((again.step, again.stage, again.tasks), (0, Stage::Reduce, TaskRange::one(1)));
    assert_eq!(world.scheduler.trouble((job, made)).lost_outputs, 1, "a loss counts once");
    worker.done(&again, Location::Store);
    let last = world.granted(&mut worker);
    assert_eq!((last.step, last.generation), (1, Generation(1)), "tables of before are old");
    assert_eq!(world.scheduler.outputs(&last).unwrap().generation, Generation(1));
    world.forget();
    worker.failed(&last, reason(reduces.fence_of(1).unwrap()));
    world.answered(&mut worker);
    let entries = world.happened(&["failed", "granted"]);
    assert!(matches!(&entries[1], Entry::Granted { step: 1, .. }), "what is lost since long is nobody's fault");
}

#[test]
fn a_fused_reduce_leaves_nothing_on_its_worker_and_no_part() {
    let mut world = World::new();
    let (_, mut worker, reduces) = reducing(&mut world);
    worker.done_here(&reduces);
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Conflict]);
}

#[test]
fn the_executable_of_the_map_behind_is_pinned_with_the_reduce() {
    let mut world = World::new();
    let mut two = spec(2);
    two.steps[1].native = Some("other".to_owned());
    let job = world.submit_spec(two);
    plan(&mut world, job);
    world.forget();
    let mut lacks = world.worker("h", 1);
    world.parked(&mut lacks);
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("no program `other`") && lines.contains("\"fuse\": false"), "{lines}");
    let mut worker = world.worker("h", 2);
    worker.request.about.programs.push("other".to_owned());
    let map = world.granted(&mut worker);
    world.happened(&["program_pinned", "granted"]);
    worker.done(&map, Location::Nothing);
    let reduces = world.granted(&mut worker);
    let entries = world.happened(&["won", "program_pinned", "granted"]);
    assert!(matches!(&entries[1], Entry::ProgramPinned { step: 1, .. }), "{entries:?}");
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("run the maps of step 1 too"), "{lines}");
    // Pin and grant are lost, another build pins the second step: what ran its mapper before cannot win.
    world.restart(2);
    let mut early = worker.clone();
    early.done(&reduces, Location::Store);
    world.pass(config().lease_ms);
    let mut other = worker.clone();
    (other.request.worker, other.request.session) = (WorkerId(world.id()), SessionId(world.id()));
    (other.request.seq, other.request.seen, other.request.free_slots) = (0, 0, 2);
    other.request.running.clear();
    world.answered(&mut other);
    world.happened(&["program_pinned", "granted"]);
    early.request.free_slots = 0;
    let answer = world.answered(&mut early);
    assert_eq!(verdicts(&answer), [Verdict::Superseded]);
}

#[test]
fn a_reduce_that_read_a_fused_win_which_the_journal_lost_cannot_win() {
    let mut world = World::new();
    let (_, mut worker, reduces) = reducing(&mut world);
    worker.done(&reduces, Location::Store);
    let durable = world.journal.len();
    let last = world.granted(&mut worker);
    let lost = world.journal.len() - durable;
    world.restart(lost);
    worker.request.running.clear();
    worker.done(&last, Location::Store);
    worker.request.free_slots = 0;
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Superseded], "what it read is not known");
}

#[test]
fn shapes_that_cannot_be_fused_are_refused() {
    let shape = |maps, reduces, fused| StepShape { maps, reduces, fused };
    let wrong = [
        vec![shape(0, 1, true), shape(1, 1, false)],
        vec![shape(1, 0, false), shape(0, 1, true)],
        vec![shape(1, 2, false), shape(2, 1, true)],
        vec![shape(1, 2, false), shape(0, 0, true)],
    ];
    for shapes in wrong {
        let mut world = World::new();
        let job = world.submit_spec(spec(2));
        world.forget();
        world.tell(Command::FinishPlan { job, result: Ok(PlanSummary { shapes, ..summary(&[]) }) });
        world.happened(&["job_failed"]);
    }
}

#[test]
fn an_older_worker_gets_nothing_of_a_fused_job() {
    let mut world = World::new();
    let job = world.submit_spec(spec(2));
    let shape = |maps, reduces, fused| StepShape { maps, reduces, fused };
    let shapes = vec![shape(1, 2, false), shape(0, 1, true)];
    let plan = PlanSummary { shapes, protocol: limits::PROTOCOL_THAT_FUSES, ..summary(&[]) };
    world.tell(Command::FinishPlan { job, result: Ok(plan) });
    let mut old = world.worker("h", 2);
    old.request.protocol = limits::PROTOCOL_THAT_FUSES - 1;
    world.parked(&mut old);
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("too old"), "{lines}");
    let mut new = world.worker("h", 2);
    assert_eq!(world.answered(&mut new).grants.len(), 1);
}
