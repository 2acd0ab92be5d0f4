//! Users and jobs of one priority share the workers; caps and requirements keep tasks from workers.

use super::*;

impl World {
    fn job_of(&mut self, user: Option<&str>, maps: u32, change: impl FnOnce(&mut JobSpec)) -> JobId {
        let mut spec = spec(1);
        spec.user = user.map(str::to_owned);
        change(&mut spec);
        let job = self.submit_spec(spec);
        self.plan(job, &[(maps, 0)]);
        self.forget();
        job
    }
}

/// Tasks that each job got.
fn tally(grants: &[GrantName]) -> BTreeMap<JobId, u32> {
    let mut tally = BTreeMap::new();
    for grant in grants {
        *tally.entry(grant.job).or_default() += grant.tasks.count;
    }
    tally
}

#[test]
fn a_big_job_does_not_starve_a_small_one_that_comes_later() {
    let mut world = World::new();
    let big = world.job_of(None, 1_000, |_| {});
    let mut hand = world.worker("a", 4);
    let answer = world.answered(&mut hand);
    assert_eq!(tally(&hand.grants(&answer)), [(big, 4)].into());
    let small = world.job_of(None, 3, |_| {});
    hand.done(&hand.grants(&answer)[0].clone(), Location::Nothing);
    let answer = world.answered(&mut hand);
    assert_eq!(tally(&hand.grants(&answer)), [(small, 2), (big, 2)].into(), "what ran before is not paid back");
}

#[test]
fn equal_jobs_of_one_poll_get_equal_parts() {
    let mut world = World::new();
    let jobs: Vec<JobId> = (0..3).map(|_| world.job_of(None, 100, |_| {})).collect();
    let mut hand = world.worker("a", 9);
    let answer = world.answered(&mut hand);
    assert_eq!(tally(&hand.grants(&answer)), jobs.iter().map(|job| (*job, 3)).collect());
}

#[test]
fn users_share_first_and_their_jobs_then() {
    let mut world = World::new();
    let one = world.job_of(Some("ann"), 100, |_| {});
    let many: Vec<JobId> = (0..3).map(|_| world.job_of(Some("bob"), 100, |_| {})).collect();
    let mut hand = world.worker("a", 12);
    let answer = world.answered(&mut hand);
    let got = tally(&hand.grants(&answer));
    assert_eq!(got[&one], 6);
    assert!(many.iter().all(|job| got[job] == 2), "{got:?}");
}

#[test]
fn a_higher_priority_comes_first_whoever_waits() {
    let mut world = World::new();
    world.job_of(Some("ann"), 100, |_| {});
    let urgent = world.job_of(Some("bob"), 3, |spec| spec.priority = 1);
    let mut hand = world.worker("a", 3);
    let answer = world.answered(&mut hand);
    assert_eq!(tally(&hand.grants(&answer)), [(urgent, 3)].into());
}

#[test]
fn a_cap_bounds_what_runs_and_wakes_who_waited_for_it() {
    let mut world = World::new();
    let job = world.job_of(None, 10, |spec| spec.max_running = Some(3));
    let (mut first, mut second) = (world.worker("a", 8), world.worker("a", 8));
    let answer = world.answered(&mut first);
    assert_eq!(tally(&first.grants(&answer)), [(job, 3)].into());
    world.parked(&mut second);
    let lines = world.scheduler.explain(job, None).unwrap();
    assert!(lines.iter().any(|line| line.contains("`max_running` lets 3")), "{lines:?}");
    world.forget();
    first.request.draining = true;
    for grant in first.grants(&answer) {
        first.done(&grant, Location::Nothing);
    }
    world.poll(&mut first);
    world.woken(&[&second]);
    let answer = world.resumed(&mut second);
    assert_eq!(tally(&second.grants(&answer)), [(job, 3)].into());
}

#[test]
fn labels_and_memory_are_obstacles_that_explain_names() {
    let mut world = World::new();
    let gib = 1 << 30;
    let job = world.job_of(None, 1, |spec| {
        spec.requires.labels.insert("gpu".to_owned(), "a100".to_owned());
        spec.requires.memory_bytes = gib;
    });
    let (mut plain, mut small) = (world.worker("a", 1), world.worker("a", 4));
    small.request.about.labels.insert("gpu".to_owned(), "a100".to_owned());
    small.request.about.memory_bytes = 2 * gib;
    world.parked(&mut plain);
    world.parked(&mut small);
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("requires gpu=a100") && lines.contains("`--label gpu=a100`"), "{lines}");
    assert!(lines.contains("requires 1.0 GiB of memory") && lines.contains("has 512.0 MiB at most"), "{lines}");
    small.request.about.slots = 2;
    let answer = world.answered(&mut small);
    assert_eq!(tally(&small.grants(&answer)), [(job, 1)].into());
}

#[test]
fn a_worker_that_bounds_its_memory_is_not_asked_for_more_than_a_sort_budget_takes() {
    let mut world = World::new();
    let job = world.job_of(None, 2, |spec| spec.sort_budget_bytes = 64 << 20);
    let mut small = world.worker("a", 1);
    small.request.about.memory_bytes = 256 << 20;
    world.parked(&mut small);
    let lines = world.scheduler.explain(job, None).unwrap().join("\n");
    assert!(lines.contains("has 256.0 MiB at most") && lines.contains("--sort-budget"), "{lines}");
    let mut enough = world.worker("a", 1);
    enough.request.about.memory_bytes = 512 << 20;
    let answer = world.answered(&mut enough);
    assert_eq!(tally(&enough.grants(&answer)), [(job, 1)].into());
}
