//! A modelled worker around the real exchange: slots, a directory with outputs and an outbox, crashes, pauses, relays.

mod attempts;
mod polls;
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::shuffle::{ShuffleAddress, ShuffleKey};
use gristmill_common::wire::{Report, WorkerAbout, output_name_in};
use gristmill_common::{Digest, GrantName, JobId, SessionId, WorkerId};
use gristmill_worker::exchange::{Exchange, Identity, Work};

use super::network::Whom;
use super::options::Machine;
use super::random::Random;
use super::world::World;

/// A worker's directory. It stays when the process dies, unless the disk goes with it.
#[derive(Default)]
pub(super) struct Directory {
    pub(super) disk: u64,
    files: BTreeMap<String, u64>,
    pub(super) outbox: BTreeMap<u64, Report>,
}

pub(super) struct SimWorker {
    pub(super) id: WorkerId,
    pub(super) session: SessionId,
    incarnation: u64,
    pub(super) life: u64,
    pub(super) machine: Machine,
    pub(super) exchange: Exchange,
    /// What runs, since when, and for how long.
    running: BTreeMap<u64, (u64, u64, Work)>,
    runs: u64,
    timer: u64,
    pub(super) paused_until: u64,
    pub(super) is_up: bool,
    /// It was drained and went.
    pub(super) has_left: bool,
    /// Jobs of the attempts it ever reported, to know what an ack was for.
    jobs: BTreeMap<u64, JobId>,
    relaying: BTreeSet<String>,
}

impl SimWorker {
    pub(super) fn new(machine: &Machine, random: &mut Random) -> Self {
        let (id, session) = (WorkerId(random.uuid()), SessionId(random.uuid()));
        Self {
            id,
            session,
            incarnation: 1,
            life: 0,
            machine: machine.clone(),
            exchange: Exchange::new(identity(machine, id, session, 1)),
            running: BTreeMap::new(),
            runs: 0,
            timer: 0,
            paused_until: 0,
            is_up: false,
            has_left: false,
            jobs: BTreeMap::new(),
            relaying: BTreeSet::new(),
        }
    }

    pub(super) fn can_work(&self) -> bool {
        self.is_up && !self.has_left && self.machine.has_program && !self.exchange.is_draining()
    }
}

fn identity(machine: &Machine, worker: WorkerId, session: SessionId, incarnation: u64) -> Identity {
    let programs = if machine.has_program { vec!["program".to_owned()] } else { vec!["other".to_owned()] };
    let shuffle = machine.serves.then(|| ShuffleAddress {
        url: format!("https://{worker}"),
        pin: Digest([8; 32]),
        key: ShuffleKey::new([7; 32]),
    });
    let about = WorkerAbout {
        name: worker.to_string(),
        host: format!("host {}", machine.host),
        version: "1".to_owned(),
        slots: machine.slots,
        programs,
        executable: Digest([9; 32]),
        roots: Vec::new(),
        labels: machine.has_label.then(|| ("label".to_owned(), "yes".to_owned())).into_iter().collect(),
        shuffle,
        ..WorkerAbout::default()
    };
    Identity { worker, session, incarnation, about }
}

impl World {
    fn whom(&self, worker: usize) -> Whom {
        Whom { worker, life: self.workers[worker].life }
    }

    pub(super) fn is_current(&self, whom: Whom) -> bool {
        let worker = &self.workers[whom.worker];
        worker.is_up && worker.life == whom.life
    }

    /// Starts the process; with `fresh` in a new directory, as another worker.
    pub(super) fn start_worker(&mut self, index: usize, fresh: bool) {
        let (id, session) = (WorkerId(self.random.uuid()), SessionId(self.random.uuid()));
        let worker = &mut self.workers[index];
        if worker.is_up {
            return;
        }
        worker.life += 1;
        worker.is_up = true;
        worker.has_left = false;
        worker.session = session;
        worker.running.clear();
        worker.relaying.clear();
        worker.paused_until = 0;
        if fresh {
            worker.id = id;
            worker.incarnation = 0;
        }
        worker.incarnation += 1;
        let mut exchange = Exchange::new(identity(&worker.machine, worker.id, session, worker.incarnation));
        let directory = self.directories.entry(worker.id).or_default();
        directory.disk = worker.machine.disk;
        exchange.restore(directory.outbox.values().cloned());
        let restored = !directory.outbox.is_empty();
        for name in directory.files.keys() {
            if let Some(job) = name.split('/').next().and_then(|job| job.parse().ok()) {
                exchange.hold_job(job);
            }
        }
        self.oracle.hosts.insert(worker.id, worker.machine.host);
        if worker.machine.serves {
            self.oracle.serving.insert(worker.id);
        }
        worker.exchange = exchange;
        if restored {
            self.seen("outbox restored");
        }
        self.note(|| format!("worker {index} starts, fresh: {fresh}"));
        self.set_timer(index, 1);
    }

    pub(super) fn crash_worker(&mut self, index: usize, with_directory: bool) {
        let worker = &mut self.workers[index];
        if !worker.is_up {
            return;
        }
        worker.is_up = false;
        worker.life += 1;
        let id = worker.id;
        if with_directory {
            self.directories.remove(&id);
            self.seen("directory lost");
        }
        self.note(|| format!("worker {index} crashes, directory lost: {with_directory}"));
    }
}

fn name_of(grant: &GrantName, task: u32) -> String {
    output_name_in(grant, task).unwrap_or_default()
}
