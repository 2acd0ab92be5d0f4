//! Answers that wait for the disk, and those who wait for a job to change.

use std::collections::{HashMap, VecDeque};

use gristmill_common::JobId;
use tokio::sync::oneshot;

use super::Deliver;

/// Answers in the order in which they were decided, each with the number of entries that must be durable before it.
#[derive(Default)]
pub(super) struct Answers(VecDeque<(u64, Deliver)>);

impl Answers {
    /// Keeps an answer until this many entries are durable. Numbers never fall from call to call.
    pub(super) fn keep(&mut self, after: u64, deliver: Deliver) {
        self.0.push_back((after, deliver));
    }

    /// Gives all answers whose entries are durable.
    pub(super) fn release(&mut self, durable: u64) {
        while self.0.front().is_some_and(|(after, _)| *after <= durable) {
            if let Some((_, deliver)) = self.0.pop_front() {
                deliver();
            }
        }
    }
}

/// Who waits for which job.
#[derive(Default)]
pub(super) struct Watchers(HashMap<JobId, Vec<oneshot::Sender<()>>>);

impl Watchers {
    pub(super) fn add(&mut self, job: JobId, changed: oneshot::Sender<()>) {
        let watchers = self.0.entry(job).or_default();
        // Those who gave up are swept here, so that a list is as long as its living watchers.
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(changed);
    }

    pub(super) fn tell(&mut self, job: JobId) {
        for watcher in self.0.remove(&job).into_iter().flatten() {
            let _ = watcher.send(());
        }
    }
}
