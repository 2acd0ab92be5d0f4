//! The tasks of one stage: each is open, running or won, kept as ranges.
//!
//! ```text
//!            grant                win
//!   open ──────────────▶ running ─────▶ won
//!    ▲  ◀── fail, lose ────┘ (unless a rival goes on)
//!    │ ◀───────── reopen (output lost) ──┘      open, given up ── late report ──▶ won
//!    └── give up ──▶ given up
//! ```
//!
//! A running task may have a second attempt, its rival. When the first one ends without a win the rival takes its place.
//!
//! Invariant: `open`, `running`, `won` and `given_up` cover every task of the stage once. Nothing here decides; `apply` calls it.

use std::collections::BTreeMap;

use gristmill_common::wire::{Done, Location, Output, Skipped};
use gristmill_common::{Fence, TaskRange, WorkerId};

use super::durations::Durations;
use super::range_set::RangeSet;
use super::skip::BadRecords;

/// The tasks of one stage.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) count: u32,
    pub(crate) open: RangeSet,
    /// Tasks that failed for good while their job goes on.
    pub(crate) given_up: RangeSet,
    /// Attempts by first task.
    running: BTreeMap<u32, Attempts>,
    /// Second attempts of running tasks.
    rivals: BTreeMap<u32, Rival>,
    /// Wins by first task.
    won: BTreeMap<u32, Win>,
    running_count: u32,
    won_count: u32,
    /// Only of tasks that had any.
    pub(crate) trouble: BTreeMap<u32, Trouble>,
    /// The first fence that may win, of tasks that were reopened.
    pub(crate) below: BTreeMap<u32, Fence>,
    /// Digests of the outputs that reopened tasks had before.
    pub(crate) former: BTreeMap<u32, String>,
    /// The first fence that may win at all: older attempts read what is void.
    pub(crate) floor: Fence,
    /// Records that user code failed at, of tasks that had any.
    pub(crate) bad: BTreeMap<u32, BadRecords>,
    /// Records that won attempts left out.
    pub(crate) left_out: BTreeMap<u32, Vec<Skipped>>,
    pub(crate) totals: Totals,
    /// What won attempts took.
    pub(crate) durations: Durations,
}

/// The second attempt of a running task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rival {
    pub(crate) fence: Fence,
    pub(crate) worker: WorkerId,
}

/// Attempts of consecutive tasks under consecutive fences.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attempts {
    pub(crate) tasks: TaskRange,
    pub(crate) first_fence: Fence,
    pub(crate) worker: WorkerId,
}

/// Wins of consecutive tasks under consecutive fences that ended alike.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Win {
    pub(crate) tasks: TaskRange,
    pub(crate) first_fence: Fence,
    pub(crate) worker: WorkerId,
    pub(crate) output: Output,
    /// A copy is in the coordinator's store, beside where `output` is.
    pub(crate) stored: bool,
}

/// What went wrong with a task so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Trouble {
    /// Failures of user code.
    pub(crate) failures: u32,
    /// Workers that died under it.
    pub(crate) worker_losses: u32,
    /// Attempts that failed through their worker's fault.
    pub(crate) worker_failures: u32,
    /// How often its output was reported lost or damaged.
    pub(crate) lost_outputs: u32,
    /// The newest attempt whose failure is counted: older ones never are.
    pub(crate) last_failed: Fence,
    /// The worker that failed it last through its own fault.
    pub(crate) failed_on: Option<WorkerId>,
}

/// Sums over the stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) failures: u64,
    pub(crate) losses: u64,
    pub(crate) records_in: u64,
    pub(crate) records_out: u64,
    pub(crate) output_bytes: u64,
}

impl Attempts {
    /// Cuts out `tasks`, which overlap: what lies before, inside and behind.
    fn cut(self, tasks: TaskRange) -> (Option<Self>, Self, Option<Self>) {
        let piece = |from: u32, to: u32| Self {
            tasks: TaskRange { first: from, count: to - from },
            first_fence: self.first_fence.plus(u64::from(from - self.tasks.first)),
            worker: self.worker,
        };
        let (start, end) = (self.tasks.first, self.tasks.end());
        let (from, to) = (tasks.first.max(start), tasks.end().min(end));
        ((start < from).then(|| piece(start, from)), piece(from, to), (to < end).then(|| piece(to, end)))
    }
}

impl Rival {
    fn attempts(self, task: u32) -> Attempts {
        Attempts { tasks: TaskRange::one(task), first_fence: self.fence, worker: self.worker }
    }
}

impl Win {
    pub(crate) fn fence_of(&self, task: u32) -> Fence {
        self.first_fence.plus(u64::from(task.saturating_sub(self.tasks.first)))
    }

    /// The worker that alone holds the output.
    pub(crate) fn sole_holder(&self) -> Option<WorkerId> {
        match self.output.at {
            Location::Worker(worker) if !self.stored => Some(worker),
            Location::Worker(_) | Location::Nothing | Location::Inline(_) | Location::Store => None,
        }
    }

    fn piece(&self, from: u32, to: u32) -> Self {
        Self {
            tasks: TaskRange { first: from, count: to - from },
            first_fence: self.fence_of(from),
            worker: self.worker,
            output: self.output.clone(),
            stored: self.stored,
        }
    }
}

impl Tasks {
    pub(crate) fn new(count: u32) -> Self {
        let mut tasks = Self { count, ..Self::default() };
        tasks.open.insert(0, u64::from(count));
        tasks
    }

    pub(crate) fn is_won(&self) -> bool {
        self.won_count == self.count
    }

    pub(crate) fn won_count(&self) -> u32 {
        self.won_count
    }

    pub(crate) fn running_count(&self) -> u32 {
        self.running_count
    }

    /// The attempt of a task that runs, as the range it is part of.
    pub(crate) fn attempt(&self, task: u32) -> Option<&Attempts> {
        self.running.range(..=task).next_back().map(|(_, attempts)| attempts).filter(|a| a.tasks.contains(task))
    }

    /// The fence and worker under which a task runs.
    pub(crate) fn running(&self, task: u32) -> Option<(Fence, WorkerId)> {
        let attempts = self.attempt(task)?;
        Some((attempts.first_fence.plus(u64::from(task - attempts.tasks.first)), attempts.worker))
    }

    pub(crate) fn rival(&self, task: u32) -> Option<Rival> {
        self.rivals.get(&task).copied()
    }

    pub(crate) fn rivals(&self) -> impl ExactSizeIterator<Item = Attempts> {
        self.rivals.iter().map(|(task, rival)| rival.attempts(*task))
    }

    /// The worker that runs the task under this fence, as its first attempt or its rival.
    pub(crate) fn holder(&self, task: u32, fence: Fence) -> Option<WorkerId> {
        let rival = self.rival(task).map(|rival| (rival.fence, rival.worker));
        self.running(task).into_iter().chain(rival).find(|(running, _)| *running == fence).map(|(_, worker)| worker)
    }

    pub(crate) fn win(&self, task: u32) -> Option<&Win> {
        self.won.range(..=task).next_back().map(|(_, win)| win).filter(|win| win.tasks.contains(task))
    }

    pub(crate) fn wins(&self) -> impl Iterator<Item = &Win> {
        self.won.values()
    }

    pub(crate) fn attempts(&self) -> impl Iterator<Item = &Attempts> {
        self.running.values()
    }

    /// The tasks of the range that are won.
    pub(crate) fn won_within(&self, tasks: TaskRange) -> RangeSet {
        let mut set = RangeSet::default();
        let first = self.won.range(..=tasks.first).next_back().map_or(tasks.first, |(&first, _)| first);
        for win in self.won.range(first..tasks.end()).map(|(_, win)| win) {
            set.insert_tasks(win.tasks);
        }
        set.remove(0, u64::from(tasks.first));
        set.remove(u64::from(tasks.end()), u64::MAX);
        set
    }

    pub(crate) fn trouble(&self, task: u32) -> Trouble {
        self.trouble.get(&task).copied().unwrap_or_default()
    }

    pub(crate) fn start(&mut self, attempts: Attempts) {
        self.open.remove_tasks(attempts.tasks);
        self.running.insert(attempts.tasks.first, attempts);
        self.running_count += attempts.tasks.count;
    }

    /// Gives a running task a second attempt.
    pub(crate) fn start_rival(&mut self, task: u32, rival: Rival) {
        self.rivals.insert(task, rival);
    }

    /// Ends the attempts of these tasks that began with this fence; returns what ran. Where another attempt runs beside
    /// one of them, the task goes on under that.
    pub(crate) fn drop_out(&mut self, tasks: TaskRange, first_fence: Fence) -> Vec<Attempts> {
        if let Some(rival) = self.rival(tasks.first).filter(|rival| rival.fence == first_fence) {
            self.rivals.remove(&tasks.first);
            return vec![rival.attempts(tasks.first)];
        }
        let going_on: Vec<_> = self.rivals.extract_if(tasks.iter(), |_, _| true).collect();
        let stopped = self.stop(tasks);
        for (task, rival) in going_on {
            self.start(rival.attempts(task));
        }
        stopped
    }

    /// Ends all attempts of the tasks and opens these; returns what ran.
    pub(crate) fn stop(&mut self, tasks: TaskRange) -> Vec<Attempts> {
        let rivals = self.rivals.extract_if(tasks.iter(), |_, _| true);
        let mut stopped: Vec<_> = rivals.map(|(task, rival)| rival.attempts(task)).collect();
        let first = self.attempt(tasks.first).map_or(tasks.first, |attempts| attempts.tasks.first);
        while let Some((&at, _)) = self.running.range(first..tasks.end()).find(|(_, a)| a.tasks.end() > tasks.first) {
            let Some(attempts) = self.running.remove(&at) else { break };
            let (before, inside, behind) = attempts.cut(tasks);
            for rest in [before, behind].into_iter().flatten() {
                self.running.insert(rest.tasks.first, rest);
            }
            self.running_count -= inside.tasks.count;
            self.open.insert_tasks(inside.tasks);
            stopped.push(inside);
        }
        stopped
    }

    /// Takes an open task out of what can be granted.
    pub(crate) fn give_up(&mut self, task: u32) {
        if self.open.contains(u64::from(task)) {
            self.open.remove_tasks(TaskRange::one(task));
            self.given_up.insert_tasks(TaskRange::one(task));
        }
    }

    /// Opens what was given up and counts failures anew; only that older failures do not count again.
    pub(super) fn forgive(&mut self) {
        for (start, end) in std::mem::take(&mut self.given_up).iter() {
            self.open.insert(start, end);
        }
        for trouble in self.trouble.values_mut() {
            *trouble = Trouble { last_failed: trouble.last_failed, ..Trouble::default() };
        }
    }

    /// Whether nothing more can come of the stage: what is not won has failed for good.
    pub(crate) fn is_exhausted(&self) -> bool {
        !self.given_up.is_empty() && self.open.is_empty() && self.running_count == 0
    }

    /// Records wins of tasks that are open.
    pub(crate) fn set_won(&mut self, tasks: TaskRange, first_fence: Fence, worker: WorkerId, done: &Done) {
        self.open.remove_tasks(tasks);
        self.given_up.remove_tasks(tasks);
        self.won_count += tasks.count;
        let again = self.below.range(tasks.first..tasks.end()).count() as u64;
        let fresh = u64::from(tasks.count) - again;
        self.durations.add(done.took_ms, tasks.count);
        self.totals.records_in = self.totals.records_in.saturating_add(done.records_in.saturating_mul(fresh));
        self.totals.records_out = self.totals.records_out.saturating_add(done.output.records.saturating_mul(fresh));
        self.totals.output_bytes = self.totals.output_bytes.saturating_add(done.output.bytes.saturating_mul(fresh));
        if !done.skipped.is_empty() {
            self.left_out.insert(tasks.first, done.skipped.clone());
        }
        let win = Win { tasks, first_fence, worker, output: done.output.clone(), stored: false };
        if let Some((_, last)) = self.won.range_mut(..tasks.first).next_back()
            && last.tasks.end() == tasks.first
            && last.fence_of(tasks.first) == first_fence
            && (last.worker, &last.output, last.stored) == (worker, &win.output, false)
        {
            last.tasks.count += tasks.count;
            return;
        }
        self.won.insert(tasks.first, win);
    }

    /// Takes back a win; returns it.
    pub(crate) fn unwin(&mut self, task: u32) -> Option<Win> {
        let win = self.cut_win(task)?;
        self.left_out.remove(&task);
        self.won_count -= 1;
        self.open.insert_tasks(TaskRange::one(task));
        Some(win)
    }

    /// Marks the output of a won task as stored; returns the win as it was before.
    pub(crate) fn set_stored(&mut self, task: u32) -> Option<Win> {
        let win = self.cut_win(task)?;
        self.won.insert(task, Win { stored: true, ..win.clone() });
        Some(win)
    }

    /// Takes the win of one task out of the range it is part of.
    fn cut_win(&mut self, task: u32) -> Option<Win> {
        let first = self.win(task)?.tasks.first;
        let win = self.won.remove(&first)?;
        let end = win.tasks.end();
        if first < task {
            self.won.insert(first, win.piece(first, task));
        }
        if task + 1 < end {
            self.won.insert(task + 1, win.piece(task + 1, end));
        }
        Some(win.piece(task, task + 1))
    }
}
