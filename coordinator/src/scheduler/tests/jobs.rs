use gristmill_common::api::{JobFailure, JobState, OutputView};

use super::*;

fn output() -> OutputView {
    OutputView { url: "/v1/jobs/x/output".to_owned(), bytes: 1, records: 1, parts: 1 }
}

#[test]
fn a_job_goes_from_submit_to_success() {
    let mut world = World::new();
    let job = world.submit_spec(spec(2));
    world.happened(&["submitted"]);
    let mut worker = world.worker("h", 4);
    world.parked(&mut worker);
    world.plan(job, &[(2, 1), (1, 0)]);
    world.happened(&["planned"]);
    world.woken(&[&worker]);
    let resumed = world.tell(Command::ResumePoll { session: worker.request.session, expired: false });
    let Reply::Poll(answer) = resumed else { panic!("{resumed:?}") };
    let maps = worker.take(&answer);
    assert_eq!(maps.iter().map(|name| name.tasks).collect::<Vec<_>>(), [TaskRange { first: 0, count: 2 }]);
    world.happened(&["program_pinned", "granted"]);
    worker.done_here(&maps[0]);
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Accepted]);
    let reduces = worker.grants(&answer);
    world.happened(&["won", "granted"]);
    worker.done(&reduces[0], Location::Store);
    let answer = world.answered(&mut worker);
    let last = worker.grants(&answer);
    assert_eq!((last[0].step, last[0].tasks), (1, TaskRange::one(0)));
    world.happened(&["won", "program_pinned", "granted"]);
    worker.done(&last[0], Location::Store);
    world.answered(&mut worker);
    world.happened(&["won", "commit_started"]);
    assert_eq!(world.scheduler.parts(job).map(|parts| parts.len()), Some(1));
    refused(world.tell(Command::CancelJob { job }), Code::Conflict);
    world.tell(Command::FinishCommit { job, output: output() });
    world.happened(&["job_succeeded"]);
    let answer = world.answered(&mut worker);
    assert_eq!(answer.drop, [job]);
    world.and_nothing_else_happened();
}

#[test]
fn equal_keys_find_the_job_and_other_bodies_are_refused() {
    let mut world = World::new();
    let submit = |job: u128, body: &[u8]| Command::SubmitJob {
        job: JobId(uuid::Uuid::from_u128(job)),
        spec: Box::new(spec(1)),
        idempotency: Some(Idempotency { key: "k".to_owned(), body: Digest::of(body) }),
    };
    assert!(matches!(world.tell(submit(1, b"a")), Reply::Submitted { existing: false, .. }));
    let Reply::Submitted { job, existing: true } = world.tell(submit(2, b"a")) else { panic!("not found") };
    assert_eq!(job.0.as_u128(), 1);
    refused(world.tell(submit(3, b"b")), Code::Conflict);
    world.happened(&["submitted"]);
    world.and_nothing_else_happened();
}

#[test]
fn an_output_belongs_to_one_live_job() {
    let mut world = World::new();
    let to = |url: &str| {
        let mut spec = spec(1);
        spec.output.url = Some(url.to_owned());
        spec
    };
    let first = world.submit_spec(to("file:///out/"));
    let job = JobId(world.id());
    let again = Command::SubmitJob { job, spec: Box::new(to("file:///out")), idempotency: None };
    refused(world.tell(again.clone()), Code::Conflict);
    world.tell(Command::CancelJob { job: first });
    assert!(matches!(world.tell(again), Reply::Submitted { .. }));
}

#[test]
fn higher_priority_goes_first_and_then_who_came_first() {
    let mut world = World::new();
    let mut jobs: Vec<JobId> = Vec::new();
    for priority in [0, 5, 5] {
        let mut spec = spec(1);
        spec.priority = priority;
        let job = world.submit_spec(spec);
        world.plan(job, &[(1, 0)]);
        jobs.push(job);
    }
    let mut worker = world.worker("h", 1);
    let mut order = Vec::new();
    for _ in 0..3 {
        let name = world.granted(&mut worker);
        order.push(name.job);
        worker.done(&name, Location::Nothing);
    }
    assert_eq!(order, [jobs[1], jobs[2], jobs[0]]);
}

#[test]
fn a_failed_plan_and_one_too_large_fail_the_job() {
    let mut world = World::new();
    for result in [
        Err(Box::new(JobFailure { task: None, reason: None, message: "no such file".to_owned() })),
        Ok(summary(&[(1_000_001, 0)])),
        Ok(summary(&[(1, 0), (1, 0)])),
    ] {
        let job = world.submit_spec(spec(1));
        world.tell(Command::FinishPlan { job, result });
        world.happened(&["submitted", "job_failed"]);
        assert_eq!(world.scheduler.state(job), Some(JobState::Failed));
    }
    world.and_nothing_else_happened();
}

#[test]
fn a_cancelled_job_takes_its_attempts_back_and_can_be_removed() {
    let mut world = World::new();
    let job = world.job(2, 0);
    let mut worker = world.worker("h", 1);
    let name = world.granted(&mut worker);
    refused(world.tell(Command::RemoveJob { job }), Code::Conflict);
    world.tell(Command::CancelJob { job });
    world.forget();
    let answer = world.answered(&mut worker);
    assert!(answer.keep.is_empty() && answer.grants.is_empty(), "{answer:?}");
    worker.done(&name, Location::Nothing);
    let answer = world.answered(&mut worker);
    assert_eq!(verdicts(&answer), [Verdict::Superseded]);
    world.tell(Command::RemoveJob { job });
    world.happened(&["job_removed"]);
    refused(world.tell(Command::CancelJob { job }), Code::NotFound);
    world.and_nothing_else_happened();
}

#[test]
fn jobs_are_found_by_prefix_and_as_last() {
    let mut world = World::new();
    let (first, second) = (world.job(1, 0), world.job(1, 0));
    assert_eq!(world.scheduler.resolve("last"), Ok(second));
    assert_eq!(world.scheduler.resolve(&first.to_string()), Ok(first));
    assert_eq!(world.scheduler.resolve("0000").map_err(|problem| problem.code), Err(Code::Conflict));
    assert_eq!(world.scheduler.resolve("f").map_err(|problem| problem.code), Err(Code::NotFound));
}

#[test]
fn pages_of_jobs_and_tasks_go_on_where_the_last_ended() {
    let mut world = World::new();
    let jobs: Vec<JobId> = (0..5).map(|_| world.job(3, 2)).collect();
    let filter = JobFilter::default();
    let page = world.scheduler.jobs(&filter, None, 3, world.now).unwrap();
    let rest = world.scheduler.jobs(&filter, page.next_cursor.as_deref(), 3, world.now).unwrap();
    let ids: Vec<JobId> = page.jobs.iter().chain(&rest.jobs).map(|job| job.id).collect();
    assert_eq!(ids, jobs.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(rest.next_cursor, None);
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let page = world.scheduler.tasks(jobs[0], TaskFilter::default(), cursor.as_deref(), 2).unwrap();
        names.extend(page.tasks.iter().map(|task| format!("{} {:?}", task.task, task.state)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["m0 Queued", "m1 Queued", "m2 Queued", "r0 Blocked", "r1 Blocked"]);
}

#[test]
fn more_live_jobs_than_the_limit_are_refused_until_one_ends() {
    let mut world = World::new();
    let jobs: Vec<JobId> = (0..limits::LIVE_JOBS as u128).map(|n| JobId(uuid::Uuid::from_u128(1 << 64 | n))).collect();
    let mut scheduler = Scheduler::recover(std::iter::empty(), secret(), config());
    scheduler.start(epoch(1), Now::default());
    let mut submit = |job| {
        scheduler.handle(Command::SubmitJob { job, spec: Box::new(spec(1)), idempotency: None }, Now::default()).reply
    };
    for job in &jobs {
        assert!(matches!(submit(*job), Reply::Submitted { .. }));
    }
    let more = JobId(world.id());
    let problem = refused(submit(more), Code::Unavailable);
    assert!(problem.detail.contains("not over yet"), "{problem}");
    scheduler.handle(Command::CancelJob { job: jobs[0] }, Now::default());
    let reply = scheduler
        .handle(Command::SubmitJob { job: more, spec: Box::new(spec(1)), idempotency: None }, Now::default())
        .reply;
    assert!(matches!(reply, Reply::Submitted { .. }), "{reply:?}");
}

#[test]
fn a_compacted_history_folds_to_the_same_state() {
    let mut world = World::new();
    let job = JobId(world.id());
    let idempotency = Some(Idempotency { key: "key".to_owned(), body: Digest([4; 32]) });
    world.tell(Command::SubmitJob { job, spec: Box::new(spec(1)), idempotency });
    world.plan(job, &[(2, 0)]);
    let mut worker = world.worker("h", 2);
    let answer = world.answered(&mut worker);
    for name in worker.grants(&answer) {
        worker.done(&name, Location::Nothing);
    }
    world.answered(&mut worker);
    let output = OutputView { url: "url".to_owned(), bytes: 0, records: 0, parts: 2 };
    let other = world.job(1, 0);
    world.tell(Command::FinishCommit { job, output });
    assert_eq!(world.scheduler.compacted(other), None, "it is not over");
    let compacted = world.scheduler.compacted(job).expect("it is over");
    let fold = |entries: &[Entry]| {
        let mut durable = Durable::default();
        entries.iter().for_each(|entry| durable.apply(entry));
        durable
    };
    let of_job = |entry: &&Entry| entry.job() == Some(job);
    let whole = fold(&world.journal);
    let rows = world.journal.iter().filter(of_job).count();
    // Whatever number of the newest rows was deleted before a crash.
    for kept in 0..rows {
        let mut seen = 0;
        let journal: Vec<Entry> = world
            .journal
            .iter()
            .filter_map(|entry| {
                if entry.job() != Some(job) {
                    return Some(entry.clone());
                }
                seen += 1;
                match seen {
                    1 => Some(compacted.clone()),
                    n => (n <= kept + 1).then(|| entry.clone()),
                }
            })
            .collect();
        assert!(fold(&journal) == whole, "{kept} rows are left behind the summary");
    }
}

/// What the journal lost of a job's last word, by a crash or under older rules, is said at the next start.
#[test]
fn a_job_whose_last_word_was_lost_is_not_stuck() {
    use gristmill_common::spec::OnFailedTask;
    for fails in [true, false] {
        let mut world = World::new();
        let job = world.submit_spec(JobSpec { attempts: 1, on_failed_task: OnFailedTask::Continue, ..spec(1) });
        world.plan(job, &[(1, 0)]);
        let mut worker = world.worker("h", 1);
        let map = world.granted(&mut worker);
        if fails {
            worker.failed(&map, boom());
        } else {
            worker.done(&map, Location::Nothing);
        }
        worker.request.free_slots = 0;
        world.forget();
        world.answered(&mut worker);
        let last = if fails { "job_failed" } else { "commit_started" };
        assert_eq!(world.fresh.last().map(Entry::kind), Some(last));
        world.restart(1);
        let state = if fails { JobState::Failed } else { JobState::Committing };
        assert_eq!(world.scheduler.state(job), Some(state));
        assert_eq!(world.journal.last().map(Entry::kind), Some(last), "it is in the journal");
    }
}
