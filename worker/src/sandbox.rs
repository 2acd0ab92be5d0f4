//! What commands may touch of a worker's files and processes: Landlock, where the kernel has it.
//!
//! A program reads and runs what the system and its interpreters are made of, writes its working directory and the shared
//! temporary directories, and signals what it started itself. It is a fence around mistakes and curiosity, not a wall: the
//! network is open, and so is what others left in `/tmp`.

use std::env;
use std::path::{Path, PathBuf};

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated};
use landlock::{RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules};
use serde::{Deserialize, Serialize};

/// The newest that is known here; an older kernel does what it can.
const NEWEST: ABI = ABI::V7;

/// Read and run by every program.
const SYSTEM: [&str; 17] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix",
    "/snap",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/dev/random",
    "/dev/urandom",
    "/dev/fd",
];
/// Written by every program. Scripts of mrjob lock a file in `/tmp`, Python keeps semaphores in `/dev/shm`.
const SHARED: [&str; 8] =
    ["/tmp", "/var/tmp", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/pts"];
/// Variables of the worker whose directories hold interpreters and what they load.
const INTERPRETERS: [&str; 8] =
    ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "JAVA_HOME"];

/// Directories that programs may touch beside their own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// Read and run.
    pub read: Vec<PathBuf>,
    /// Written too.
    pub write: Vec<PathBuf>,
}

impl Sandbox {
    /// Allows what programs usually need, and these directories; of what this process's environment names, nothing that
    /// holds the worker's own state.
    #[must_use]
    pub fn new(state_dir: &Path, read: &[PathBuf], write: &[PathBuf]) -> Self {
        let mut named: Vec<PathBuf> = INTERPRETERS
            .iter()
            .filter_map(env::var_os)
            .flat_map(|list| env::split_paths(&list).collect::<Vec<_>>())
            .collect();
        named.extend(env::var_os("PATH").iter().flat_map(env::split_paths).flat_map(|bin| beside(&bin)));
        // What `pip install --user` installs.
        named.extend(env::var_os("HOME").map(|home| Path::new(&home).join(".local/lib")));
        named.retain(|path| path.is_absolute() && !state_dir.starts_with(path) && !is_of_the_system(path));
        named.sort_unstable();
        named.dedup();
        let mut sandbox = Self {
            read: SYSTEM.iter().map(PathBuf::from).chain(named).chain(read.iter().cloned()).collect(),
            write: SHARED.iter().map(PathBuf::from).chain(write.iter().cloned()).collect(),
        };
        sandbox.read.push(state_dir.join("bundles"));
        sandbox
    }

    /// Directories that may come, go or be others while a worker runs; those of the system are not expected to.
    pub(crate) fn changing(&self) -> impl Iterator<Item = &Path> {
        let fixed = |path: &&Path| SYSTEM.iter().chain(&SHARED).any(|fixed| path.as_os_str() == *fixed);
        self.read.iter().chain(&self.write).map(PathBuf::as_path).filter(move |path| !fixed(path))
    }

    /// Makes the rules for a program whose working directory this is. Opens what is allowed; what is not there is left out.
    ///
    /// # Errors
    /// When the kernel has Landlock and refuses the rules.
    pub(crate) fn rules(&self, work: &Path) -> Result<RulesetCreated, RulesetError> {
        let read = AccessFs::from_read(NEWEST);
        let write = AccessFs::from_all(NEWEST);
        Ruleset::default()
            .handle_access(write)?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.write, write))?
            .add_rules(path_beneath_rules([work], write))
    }
}

/// Says whether a directory is in one that every program reads, by its own name and not by a link.
fn is_of_the_system(path: &Path) -> bool {
    let within = |path: &Path| SYSTEM.iter().any(|system| path.starts_with(system));
    within(path) && path.canonicalize().is_ok_and(|path| within(&path))
}

/// What programs in a directory of PATH are made of: `…/lib` of `…/bin`, and all of what has `shims` (pyenv, rbenv, asdf).
fn beside(bin: &Path) -> Vec<PathBuf> {
    let Some(parent) = bin.parent().filter(|parent| parent.parent().is_some()) else { return Vec::new() };
    if bin.ends_with("shims") {
        return vec![parent.to_owned()];
    }
    ["lib", "lib64", "libexec"].map(|name| parent.join(name)).to_vec()
}

/// Says whether the kernel has Landlock.
#[must_use]
pub fn is_supported() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_s_own_state_is_never_allowed_by_its_environment() {
        let path = env::var_os("HOME").map(|home| Path::new(&home).join(".local/lib")).expect("a HOME");
        assert!(Sandbox::new(Path::new("/elsewhere"), &[], &[]).read.contains(&path));
        let inside = Sandbox::new(&path.join("state"), &[], &["/data".into()]);
        assert!(!inside.read.contains(&path));
        assert!(inside.read.contains(&path.join("state/bundles")) && inside.write.contains(&"/data".into()));
    }

    #[test]
    fn what_the_system_has_is_named_once() {
        let sandbox = Sandbox::new(Path::new("/elsewhere"), &[], &[]);
        assert!(sandbox.read.contains(&"/usr".into()) && !sandbox.read.contains(&"/usr/bin".into()));
        assert!(is_of_the_system(Path::new("/usr/bin")) && !is_of_the_system(Path::new("/usr/no such directory")));
        let changing: Vec<_> = sandbox.changing().collect();
        assert!(changing.contains(&Path::new("/elsewhere/bundles")) && !changing.contains(&Path::new("/usr")));
    }
}
