//! The control group of the programs of one spawner, which start one after the other: made once, so that a start costs one
//! more write. The kernel limits all processes of a program together, and ends them together.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use super::message::{Over, Start};
use crate::control_groups::{ControlGroups, name};

/// The group, one for each place.
pub(super) struct Group {
    directories: Vec<PathBuf>,
    /// Whoever writes to these joins.
    procs: Vec<File>,
    memory: Option<Limit>,
    processes: Option<Limit>,
    kill: Option<File>,
}

/// What the kernel limits, and how often something met the limit.
struct Limit {
    most: File,
    set: Option<u64>,
    events: File,
    /// The line of `events` that counts.
    event: &'static str,
    /// As it was when the program started.
    before: u64,
}

impl Group {
    pub(super) fn make(groups: &ControlGroups) -> io::Result<Self> {
        let mut group = Self { directories: Vec::new(), procs: Vec::new(), memory: None, processes: None, kill: None };
        for place in &groups.places {
            let directory = place.directory.join(name());
            fs::create_dir(&directory)?;
            group.directories.push(directory.clone());
            group.procs.push(write_only(&directory.join("cgroup.procs"))?);
            let has = |file: &str| place.files.iter().any(|known| known == file);
            if has("memory.max") {
                // All of a program or nothing: what is left of one is of no use.
                let _ = fs::write(directory.join("memory.oom.group"), "1");
                group.memory = Some(Limit::open(&directory, "memory.max", "memory.events", "oom_kill")?);
            } else if has("memory.limit_in_bytes") {
                let files = ("memory.limit_in_bytes", "memory.oom_control");
                group.memory = Some(Limit::open(&directory, files.0, files.1, "oom_kill")?);
            }
            if has("pids.max") {
                group.processes = Some(Limit::open(&directory, "pids.max", "pids.events", "max")?);
            }
            if has("cgroup.kill") {
                group.kill = Some(write_only(&directory.join("cgroup.kill"))?);
            }
        }
        Ok(group)
    }

    /// What a child writes to, to join.
    pub(super) fn procs(&self) -> Vec<BorrowedFd<'_>> {
        self.procs.iter().map(|file| file.as_fd()).collect()
    }

    /// Makes it ready for a program.
    pub(super) fn begin(&mut self, order: &Start) -> io::Result<()> {
        if let Some(memory) = &mut self.memory {
            memory.begin(order.memory_bytes)?;
        }
        if let Some(processes) = &mut self.processes {
            processes.begin(Some(order.processes))?;
        }
        Ok(())
    }

    /// Returns the limit that the program met.
    pub(super) fn over(&mut self, order: &Start) -> Option<Over> {
        if self.memory.as_mut().is_some_and(Limit::is_met) {
            return Some(Over::Memory(order.memory_bytes.unwrap_or(0)));
        }
        self.processes.as_mut().is_some_and(Limit::is_met).then(|| Over::Processes(order.processes + 1))
    }

    pub(super) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Kills all that is in it; `false` where the kernel cannot.
    pub(super) fn kill(&mut self) -> bool {
        self.kill.as_mut().is_some_and(|kill| kill.write_all(b"1").is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            // One that is not empty is removed when a worker starts next.
            let _ = fs::remove_dir(directory);
        }
    }
}

impl Limit {
    fn open(directory: &Path, most: &str, events: &str, event: &'static str) -> io::Result<Self> {
        let (most, events) = (write_only(&directory.join(most))?, File::open(directory.join(events))?);
        Ok(Self { most, set: None, events, event, before: 0 })
    }

    fn begin(&mut self, most: Option<u64>) -> io::Result<()> {
        if self.set != most {
            let text = match (most, self.event) {
                (Some(most), _) => most.to_string(),
                // Version 1 has no word for it.
                (None, _) => "-1".to_owned(),
            };
            self.most.write_all(text.as_bytes()).or_else(|_| self.most.write_all(b"max"))?;
            self.set = most;
        }
        self.before = self.count();
        Ok(())
    }

    fn is_met(&mut self) -> bool {
        self.set.is_some() && self.count() > self.before
    }

    fn count(&mut self) -> u64 {
        let mut text = String::new();
        let read = self.events.rewind().and_then(|()| self.events.read_to_string(&mut text));
        let line = text.lines().find_map(|line| line.strip_prefix(self.event)?.strip_prefix(' '));
        read.ok().and(line).and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

fn write_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}
