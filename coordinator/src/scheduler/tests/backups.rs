//! Backup attempts: who gets one, and what becomes of the two.

use super::*;

/// A stage of four maps: `fast` has won its two after three seconds, `slow` is at a fifth of its own.
struct Race {
    world: World,
    job: JobId,
    slow: Hand,
    fast: Hand,
    /// What `slow` runs.
    slow_grants: Vec<GrantName>,
}

fn took(ms: u64) -> Ended {
    Ended::Done(Done { took_ms: ms, ..made(Location::Nothing) })
}

fn race(change: impl FnOnce(&mut JobSpec)) -> Race {
    let mut world = World::new();
    let mut spec = spec(1);
    change(&mut spec);
    let (mut slow, mut fast) = (world.worker("a", 2), world.worker("b", 2));
    world.parked(&mut slow);
    world.parked(&mut fast);
    let job = world.submit_spec(spec);
    world.plan(job, &[(4, 0)]);
    let (first, second) = (world.answered(&mut slow), world.answered(&mut fast));
    let slow_grants = slow.grants(&first);
    world.pass(3_000);
    for running in &mut slow.request.running {
        running.progress_permille = Some(200);
    }
    slow.request.free_slots = 0;
    world.answered(&mut slow);
    for grant in fast.grants(&second) {
        fast.report(&grant, grant.tasks, took(3_000));
    }
    world.answered(&mut fast);
    world.parked(&mut fast);
    world.forget();
    Race { world, job, slow, fast, slow_grants }
}

impl Race {
    /// The look for stragglers wakes `fast`, which gets a rival.
    fn backup(&mut self) -> GrantName {
        self.world.pass(limits::BACKUP_LOOK_MS);
        self.world.woken(&[&self.fast]);
        let answer = self.world.resumed(&mut self.fast);
        self.world.happened(&["granted"]);
        self.fast.grants(&answer)[0]
    }

    fn first_of(&self, backup: &GrantName) -> GrantName {
        let grant = self.slow_grants.iter().find(|grant| grant.tasks.contains(backup.tasks.first)).unwrap();
        let first_fence = grant.fence_of(backup.tasks.first).unwrap();
        GrantName { tasks: backup.tasks, first_fence, ..*grant }
    }

    fn view(&self, grant: &GrantName) -> gristmill_common::api::TaskView {
        let page = self.world.scheduler.tasks(self.job, TaskFilter::default(), None, 10).unwrap();
        page.tasks[grant.tasks.first as usize].clone()
    }
}

#[test]
fn the_backup_wins_and_the_first_attempt_is_stopped_as_nobodys_failure() {
    let mut race = race(|_| {});
    let backup = race.backup();
    assert_eq!(backup.tasks.count, 1, "a quarter of four slots");
    assert!(race.view(&backup).backup.is_some());
    let lines = race.world.scheduler.explain(race.job, Some(backup.task(backup.tasks.first))).unwrap();
    assert!(lines[1].contains("backup"), "{lines:?}");
    race.fast.report(&backup, backup.tasks, took(3_000));
    let answer = race.world.answered(&mut race.fast);
    assert_eq!(verdicts(&answer), [Verdict::Accepted]);
    race.world.happened(&["won"]);
    let first = race.first_of(&backup);
    let answer = race.world.answered(&mut race.slow);
    assert!(!answer.keep.iter().any(|keep| keep.contains(first.first_fence)), "it is to stop");
    race.slow.report(&race.first_of(&backup), backup.tasks, took(15_000));
    let answer = race.world.answered(&mut race.slow);
    assert_eq!(verdicts(&answer), [Verdict::Superseded]);
    let view = race.view(&backup);
    assert_eq!((view.failures, view.losses, view.backup), (0, 0, None));
    race.world.and_nothing_else_happened();
}

#[test]
fn the_first_attempt_may_win_all_the_same() {
    let mut race = race(|_| {});
    let backup = race.backup();
    let first = race.first_of(&backup);
    race.slow.report(&first, first.tasks, took(4_000));
    race.world.answered(&mut race.slow);
    race.world.happened(&["won"]);
    race.fast.failed(&backup, boom());
    let answer = race.world.answered(&mut race.fast);
    assert_eq!(verdicts(&answer), [Verdict::Superseded], "a failure of who lost the race counts for nothing");
    assert_eq!(race.view(&backup).failures, 0);
}

#[test]
fn a_backup_goes_on_when_the_first_attempt_is_lost_or_fails() {
    for is_lost in [true, false] {
        let mut race = race(|_| {});
        let backup = race.backup();
        if is_lost {
            race.slow.reborn(&mut race.world);
        } else {
            let first = race.first_of(&backup);
            race.slow.failed(&first, boom());
        }
        race.slow.request.draining = true;
        race.world.poll(&mut race.slow);
        let view = race.view(&backup);
        assert_eq!((view.fence, view.backup), (Some(backup.first_fence.0), None), "lost: {is_lost}");
        race.world.forget();
        race.fast.report(&backup, backup.tasks, took(3_000));
        race.world.poll(&mut race.fast);
        race.world.fresh.retain(|entry| entry.kind() == "won");
        race.world.happened(&["won"]);
    }
}

#[test]
fn a_backup_that_fails_leaves_the_first_attempt_running() {
    let mut race = race(|_| {});
    let backup = race.backup();
    let first = race.first_of(&backup);
    race.fast.failed(&backup, boom());
    race.world.poll(&mut race.fast);
    race.world.happened(&["failed"]);
    let view = race.view(&backup);
    assert_eq!((view.fence, view.failures, view.backup), (Some(first.first_fence.0), 1, None));
    race.world.pass(5_000);
    race.world.fresh.retain(|entry| matches!(entry, Entry::Granted { tasks, .. } if tasks.first == first.tasks.first));
    race.world.happened(&[]);
}

#[test]
fn backups_survive_a_restart_of_the_coordinator() {
    let mut race = race(|_| {});
    let backup = race.backup();
    race.world.restart(0);
    for hand in [&mut race.slow, &mut race.fast] {
        race.world.poll(hand);
    }
    assert!(race.view(&backup).backup.is_some());
    race.world.fresh.retain(|entry| entry.kind() != "adopted");
    race.world.happened(&[]);
}

#[test]
fn who_does_not_want_backups_gets_none() {
    let mut race = race(|spec| spec.backups = false);
    race.world.pass(5_000);
    race.world.and_nothing_else_happened();
}

#[test]
fn a_stage_that_goes_by_as_it_should_gets_none() {
    let mut race = race(|_| {});
    for running in &mut race.slow.request.running {
        running.progress_permille = Some(700);
    }
    race.world.answered(&mut race.slow);
    race.world.forget();
    race.world.pass(limits::BACKUP_LOOK_MS);
    race.world.and_nothing_else_happened();
}
