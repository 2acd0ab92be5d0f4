//! Control groups for commands, where the kernel lets this worker make them: all processes of a program in one group, whose
//! memory and number the kernel limits together, and which it ends together.
//!
//! Version 2 is used as it is found: a group in which processes are, such as the worker's own, can hand no controllers on, and
//! then only ends programs; one that was made for this is named with `--cgroup`. Of version 1, `memory` and `pids` are used.
//! What is not there is done by looking, as without control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How groups are named: this and the process that made it.
const PREFIX: &str = "gristmill-";
/// Of version 2: what a group limits and how it is ended.
const UNIFIED: [&str; 3] = ["memory.max", "pids.max", "cgroup.kill"];
/// Controllers that are used.
const CONTROLLERS: &str = "+memory +pids";

/// Directories in which groups can be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ControlGroups {
    pub(crate) places: Vec<Place>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    /// Of version 1, which has one for each controller.
    pub(crate) controller: Option<String>,
    /// Files of a group made there: what it can do.
    pub(crate) files: Vec<String>,
}

impl ControlGroups {
    /// Looks where this process may make groups: in a directory that is given, or below its own groups.
    ///
    /// # Errors
    /// When a directory is given and no group can be made there.
    pub fn find(given: Option<&Path>) -> io::Result<Option<Self>> {
        if let Some(directory) = given {
            let place = unified(directory)?;
            return Ok(Some(Self { places: vec![place] }));
        }
        let (own, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let mut places = Vec::new();
        if let Some(directory) = own_directory(&own, &mounts, "") {
            places.extend(unified(&directory).ok());
        }
        for controller in ["memory", "pids"] {
            let directory = own_directory(&own, &mounts, controller);
            places.extend(directory.and_then(|directory| probe(&directory, Some(controller)).ok()));
        }
        places.retain(|place| !place.files.is_empty());
        Ok((!places.is_empty()).then_some(Self { places }))
    }

    /// Where they are made.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.places.iter().map(|place| place.directory.clone()).collect()
    }

    /// Says whether the kernel limits the memory of a group.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.has(&["memory.max", "memory.limit_in_bytes"])
    }

    fn has(&self, names: &[&str]) -> bool {
        self.places.iter().any(|place| place.files.iter().any(|file| names.contains(&&**file)))
    }

    /// What groups do and where they are, for the worker's log.
    #[must_use]
    pub fn describe(&self) -> String {
        let can = [
            (self.limits_memory(), "limit memory"),
            (self.has(&["pids.max"]), "limit processes"),
            (self.has(&["cgroup.kill"]), "end a program at once"),
        ];
        let can: Vec<&str> = can.iter().filter(|(can, _)| *can).map(|(_, what)| *what).collect();
        let places: Vec<String> = self.places.iter().map(|place| place.directory.display().to_string()).collect();
        format!("control groups, which {} ({})", can.join(", "), places.join(", "))
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The directory of this process's own group of a controller of version 1, or of version 2.
fn own_directory(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mounted) = (place.next()?, place.next()?);
        let (kind, options) = kind.split_once(' ')?;
        let is_it = match controller {
            "" => kind == "cgroup2",
            _ => kind == "cgroup" && options.rsplit(' ').next()?.split(',').any(|option| option == controller),
        };
        let inside = Path::new(path).strip_prefix(root).ok()?;
        is_it.then(|| Path::new(mounted).join(inside))
    })
}

/// Makes a group and looks what it has.
fn probe(directory: &Path, controller: Option<&str>) -> io::Result<Place> {
    sweep(directory);
    let group = directory.join(name());
    fs::create_dir(&group)?;
    let wanted: &[&str] = match controller {
        None => &UNIFIED,
        Some("memory") => &["memory.limit_in_bytes"],
        Some(_) => &["pids.max"],
    };
    // What cannot be joined is of no use.
    let may_join = fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).is_ok();
    let files = wanted.iter().filter(|file| may_join && group.join(file).exists()).map(|file| (*file).to_owned());
    let files = files.collect();
    fs::remove_dir(&group)?;
    Ok(Place { directory: directory.to_owned(), controller: controller.map(str::to_owned), files })
}

/// The name of a group that this process makes.
pub(crate) fn name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// Removes groups of processes that are gone.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            // One that is not empty stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn unified(directory: &Path) -> io::Result<Place> {
    let place = probe(directory, None)?;
    let has_limits = place.files.iter().any(|file| file == UNIFIED[0]);
    if !has_limits && hand_on(directory).is_ok() { probe(directory, None) } else { Ok(place) }
}

/// Hands controllers on to groups below; the kernel lets that be where no process is in the group itself.
fn hand_on(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.subtree_control"), CONTROLLERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "5:cpu,cpuacct:/a\n4:memory:/jobs/7\n0::/user.slice/worker\n";
    const MOUNTS: &str = "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
        31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 23 0:28 /jobs /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";

    #[test]
    fn own_groups_are_where_they_are_mounted() {
        let found = |controller| own_directory(OWN, MOUNTS, controller);
        assert_eq!(found(""), Some("/sys/fs/cgroup/unified/user.slice/worker".into()));
        assert_eq!(found("memory"), Some("/sys/fs/cgroup/memory/7".into()));
        assert_eq!(found("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/a".into()));
        assert_eq!(found("pids"), None);
        assert_eq!(own_directory("", "", ""), None);
    }

    #[test]
    fn a_directory_that_is_no_control_group_has_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("gristmill-4194305")).expect("made");
        let found = ControlGroups::find(Some(home.path())).expect("probed").expect("a place");
        assert!(found.places[0].files.is_empty());
        assert!(!home.path().join("gristmill-4194305").exists(), "that of a process that is gone is removed");
        assert!(ControlGroups::find(Some(Path::new("/proc"))).is_err());
    }
}
