//! What a seed derives before it runs: the cluster, the jobs, and how bad the world is.

use gristmill_common::spec::OnNondeterminism;

use super::random::Random;
use crate::scheduler::Bug;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) bug: Option<Bug>,
    /// Faults end after this long.
    pub(super) faults_ms: u64,
    pub(super) loss: u64,
    pub(super) duplication: u64,
    pub(super) replay: u64,
    pub(super) delay_ms: u64,
    /// Chances per second, in thousandths.
    pub(super) worker_crash: u64,
    pub(super) coordinator_crash: u64,
    pub(super) pause: u64,
    pub(super) coordinator_pause: u64,
    pub(super) drain: u64,
    pub(super) cancel: u64,
    /// How often a failed job is retried.
    pub(super) retry: u64,
    /// Chances per attempt, in thousandths.
    pub(super) user_failure: u64,
    pub(super) worker_failure: u64,
    pub(super) damage: u64,
    /// Chance per second, in thousandths, that a blob of the store disappears.
    pub(super) store_loss: u64,
    pub(super) lease_ms: u64,
    pub(super) workers: Vec<Machine>,
    pub(super) jobs: Vec<JobPlan>,
    pub(super) json: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// What it says its host is.
    pub(super) host: u64,
    /// Where its files really are: another one than its host's means that they cannot be shared.
    pub(super) disk: u64,
    pub(super) slots: u32,
    pub(super) has_program: bool,
    pub(super) has_label: bool,
    /// How many times longer than others it takes.
    pub(super) slowness: u64,
    pub(super) tells_progress: bool,
    /// Whether it serves its map outputs to others, and fetches from those.
    pub(super) serves: bool,
    /// Whether nobody reaches what it serves.
    pub(super) is_walled: bool,
}

#[derive(Clone, Debug)]
pub(super) struct JobPlan {
    pub(super) at_ms: u64,
    pub(super) maps: u32,
    /// Reduces of each step; 0 for map-only.
    pub(super) reduces: Vec<u32>,
    pub(super) no_op: bool,
    /// A map of the first step that always fails.
    pub(super) poison: Option<u32>,
    pub(super) priority: i32,
    pub(super) task_ms: u64,
    /// Jobs with the same number write to the same URL.
    pub(super) output: Option<u64>,
    pub(super) user: Option<u64>,
    /// Most tasks that run at a time.
    pub(super) cap: Option<u32>,
    pub(super) requires_label: bool,
    pub(super) backups: bool,
    /// A map of the first step whose records with these numbers fail, and how many records the job may leave out.
    pub(super) bad: Option<(u32, Vec<u64>, u64)>,
    /// What becomes of the job when its first map, which is not deterministic, runs again.
    pub(super) strays: Option<OnNondeterminism>,
    /// Whether the others of a stage run before a failed task fails the job.
    pub(super) goes_on: bool,
    /// Whether the reduces of the step before run a step's maps.
    pub(super) fused: Vec<bool>,
    /// What strays is the first reduce of the first step instead.
    pub(super) strays_late: bool,
}

impl Options {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut r = Random::new(seed);
        let one = |r: &mut Random, permille: u64, most: u64| if r.chance(permille) { r.below(most + 1) } else { 0 };
        let hosts = r.between(1, 3);
        let count = r.between(1, 4);
        let workers = (0..count)
            .map(|i| {
                let host = r.below(hosts);
                let disk = if r.chance(60) { 100 + i } else { host };
                Machine {
                    host,
                    disk,
                    slots: u32::try_from(r.between(1, 3)).unwrap(),
                    has_program: i == 0 || !r.chance(80),
                    has_label: true,
                    slowness: 1,
                    tells_progress: true,
                    serves: false,
                    is_walled: false,
                }
            })
            .collect();
        let jobs = (0..r.between(1, 3)).map(|_| JobPlan::new(&mut r)).collect();
        let mut options = Self {
            seed,
            bug,
            faults_ms: r.between(500, 6_000),
            loss: one(&mut r, 600, 300),
            duplication: one(&mut r, 500, 500),
            replay: one(&mut r, 400, 500),
            delay_ms: if r.chance(500) { r.between(1, 20) } else { r.between(20, 800) },
            worker_crash: one(&mut r, 500, 800),
            coordinator_crash: one(&mut r, 500, 800),
            pause: one(&mut r, 400, 500),
            coordinator_pause: 0,
            drain: one(&mut r, 200, 300),
            cancel: one(&mut r, 200, 200),
            retry: 0,
            user_failure: one(&mut r, 300, 150),
            worker_failure: one(&mut r, 200, 150),
            damage: one(&mut r, 300, 100),
            store_loss: 0,
            lease_ms: r.between(1_000, 3_000),
            workers,
            jobs,
            json: r.chance(20),
        };
        // Last, so that older seeds keep their worlds.
        options.store_loss = one(&mut r, 300, 900);
        options.coordinator_pause = one(&mut r, 200, 400);
        for machine in options.workers.iter_mut().skip(1) {
            machine.has_label = !r.chance(200);
            machine.slowness = if r.chance(250) { r.between(4, 20) } else { 1 };
            machine.tells_progress = r.chance(500);
        }
        for job in &mut options.jobs {
            job.user = r.chance(500).then(|| r.below(2));
            job.cap = r.chance(200).then(|| u32::try_from(r.between(1, 4)).unwrap());
            job.requires_label = r.chance(200);
            job.backups = r.chance(800);
        }
        options.jobs.iter_mut().for_each(|job| job.add_failings(&mut r));
        if r.chance(300) {
            for machine in &mut options.workers {
                machine.serves = r.chance(800);
                machine.is_walled = r.chance(150);
            }
        }
        options.retry = one(&mut r, 500, 3);
        options.jobs.iter_mut().for_each(|job| job.goes_on = r.chance(400));
        options.jobs.iter_mut().for_each(|job| job.add_fusion(&mut r));
        options
    }
}

impl JobPlan {
    fn add_fusion(&mut self, r: &mut Random) {
        if !self.no_op && r.chance(200) {
            let more =
                (0..r.between(1, 2)).map(|_| if r.chance(100) { 0 } else { u32::try_from(r.between(1, 3)).unwrap() });
            self.reduces.extend(more.collect::<Vec<_>>());
        }
        let shapes = std::iter::once(0).chain(self.reduces.iter().copied()).zip(&self.reduces);
        let can = shapes.map(|(before, here)| before > 0 && *here > 0 && self.bad.is_none());
        self.fused = can.map(|can| can && r.chance(600)).collect();
        self.strays_late = self.strays.is_some() && self.fuses(0) && r.chance(600);
    }

    /// Whether the reduces of the step run the maps of the next one.
    pub(super) fn fuses(&self, step: usize) -> bool {
        self.fused.get(step + 1).copied().unwrap_or_default()
    }

    fn add_failings(&mut self, r: &mut Random) {
        if self.no_op || self.poison.is_some() {
            return;
        }
        if r.chance(150) {
            let map = u32::try_from(r.below(u64::from(self.maps))).unwrap();
            let records: Vec<u64> = (0..r.between(1, 3)).map(|record| record * 10 + r.below(10)).collect();
            // Sometimes fewer than there are.
            let most = records.len() as u64 + 1 - r.below(3).min(records.len() as u64);
            self.bad = Some((map, records, most));
        } else if r.chance(500) {
            let policies = [OnNondeterminism::Fail, OnNondeterminism::Rollback, OnNondeterminism::Accept];
            self.strays = Some(policies[usize::try_from(r.below(3)).unwrap()]);
        }
    }

    fn new(r: &mut Random) -> Self {
        let no_op = r.chance(100);
        let steps = if no_op || !r.chance(200) { 1 } else { 2 };
        let small = |n: u64| u32::try_from(n).unwrap();
        let reduces = |r: &mut Random| if no_op || r.chance(200) { 0 } else { small(r.between(1, 3)) };
        let maps = if no_op { small(r.between(50, 400)) } else { small(r.between(1, 8)) };
        Self {
            at_ms: r.below(1_500),
            maps,
            reduces: (0..steps).map(|_| reduces(r)).collect(),
            no_op,
            poison: (!no_op && r.chance(60)).then(|| small(r.below(u64::from(maps)))),
            priority: i32::try_from(r.below(3)).unwrap() - 1,
            task_ms: if no_op { 0 } else { r.between(5, 700) },
            output: r.chance(300).then(|| r.below(2)),
            user: None,
            cap: None,
            requires_label: false,
            backups: true,
            bad: None,
            strays: None,
            goes_on: false,
            fused: Vec::new(),
            strays_late: false,
        }
    }
}
