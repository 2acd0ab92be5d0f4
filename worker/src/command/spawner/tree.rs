//! The processes below this one, as `/proc` shows them.
//!
//! This process is a child subreaper: whatever a program leaves behind becomes its child, so that the tree below it is all
//! that there is of the program, sessions and process groups of its own or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) group: i32,
    pub(super) threads: u64,
    pub(super) memory_bytes: u64,
}

/// Returns all processes below this one that have not ended.
pub(super) fn descendants() -> Vec<Process> {
    let own = std::process::id();
    let pids = listed(own).unwrap_or_else(|| searched(own));
    pids.into_iter().filter_map(stat).collect()
}

/// By the kernel's lists of children, where it has them.
fn listed(root: u32) -> Option<BTreeSet<u32>> {
    let (mut found, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(pid) = open.pop() {
        let tasks = match fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(tasks) => tasks,
            Err(_) if pid != root => continue,
            Err(_) => return None,
        };
        for task in tasks.flatten() {
            let children = match fs::read_to_string(task.path().join("children")) {
                Ok(children) => children,
                Err(_) if pid != root => continue,
                Err(_) => return None,
            };
            let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
            open.extend(children.filter(|&child| found.insert(child)));
        }
    }
    Some(found)
}

/// By the parents of all processes.
fn searched(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Some(parent) = fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(pid) = open.pop() {
        open.extend(children.remove(&pid).unwrap_or_default().into_iter().filter(|&child| found.insert(child)));
    }
    found
}

/// The fields of `/proc/PID/stat` from the state on.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

fn stat(pid: u32) -> Option<Process> {
    let fields = fields(pid)?;
    if matches!(fields.first()?.as_str(), "Z" | "X") {
        return None;
    }
    let pages: u64 = fields.get(21)?.parse().ok()?;
    Some(Process {
        pid: Pid::from_raw(i32::try_from(pid).ok()?)?,
        group: fields.get(2)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        memory_bytes: pages * rustix::param::page_size() as u64,
    })
}

/// Sends a signal to each.
pub(super) fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        let _ = kill_process(process.pid, signal);
    }
}
