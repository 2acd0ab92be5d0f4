//! The processes below this one, as `/proc` shows them.
//!
//! This process is a child subreaper: whatever a program leaves behind becomes its child, so that the tree below it is all
//! that there is of the program, sessions and process groups of its own or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    parent: i32,
    group: i32,
    /// It has ended and takes its place until somebody waits for it.
    ended: bool,
    pub(super) threads: u64,
    pub(super) memory_bytes: u64,
}

/// Returns all processes below this one.
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
    let ended = matches!(fields.first()?.as_str(), "Z" | "X");
    let pages: u64 = fields.get(21)?.parse().ok()?;
    Some(Process {
        pid: Pid::from_raw(i32::try_from(pid).ok()?)?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ended,
        threads: fields.get(17)?.parse().ok()?,
        memory_bytes: pages * rustix::param::page_size() as u64,
    })
}

/// Returns how many processes and threads these are.
pub(super) fn threads(processes: &[Process]) -> u64 {
    processes.iter().map(|process| process.threads).sum()
}

/// Waits for those that have ended and were left to this process, but for the program itself: it would keep their places
/// until the program's own end.
pub(super) fn bury(processes: &[Process], program: Pid) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    for process in processes.iter().filter(|process| process.ended && process.parent == own && process.pid != program) {
        let _ = waitpid(Some(process.pid), WaitOptions::NOHANG);
    }
}

/// Sends a signal to each group that one of these leads. Other groups, which a program may have joined, are not its own.
pub(super) fn signal_groups(processes: &[Process], signal: Signal) {
    for leader in processes.iter().filter(|process| process.pid.as_raw_nonzero().get() == process.group) {
        let _ = kill_process_group(leader.pid, signal);
    }
}

/// Sends a signal to each.
pub(super) fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        let _ = kill_process(process.pid, signal);
    }
}
