//! One program that does a workload: its command line, and how its output is compared with the others'.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use gristmill_common::Digest;
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, YARDSTICK};

/// What of an output has to be equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Equal {
    /// Every byte, files of a directory one after the other by name.
    Bytes,
    /// The lines, in any order.
    Lines,
    /// Nothing: there is no output.
    Nothing,
}

/// A program.
pub(crate) struct Contender {
    pub(crate) name: String,
    argv: Vec<OsString>,
    /// A file or a directory.
    output: PathBuf,
    equal: Equal,
}

impl Contender {
    pub(crate) fn new(name: &str, bench: &Bench, equal: Equal, argv: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let output = bench.scratch.join(name);
        Self { name: name.to_owned(), argv: argv(&output), output, equal }
    }

    /// `gristmill run PROGRAM INPUT -o OUTPUT`.
    pub(crate) fn gristmill(name: &str, bench: &Bench, equal: Equal, arguments: &[&OsStr]) -> Self {
        Self::new(name, bench, equal, |output| {
            let mut argv = vec![bench.gristmill.clone().into_os_string(), "run".into()];
            argv.extend(arguments.iter().map(OsString::from));
            argv.extend(["--quiet".into(), "-o".into(), output.as_os_str().to_owned()]);
            argv
        })
    }

    /// One of the yardsticks.
    pub(crate) fn yardstick(bench: &Bench, equal: Equal, which: &str, input: &Path) -> Self {
        Self::new("yardstick", bench, equal, |output| {
            let words: [&OsStr; 5] =
                [bench.gristmill.as_os_str(), YARDSTICK.as_ref(), which.as_ref(), input.as_ref(), output.as_ref()];
            words.map(OsStr::to_owned).to_vec()
        })
    }

    /// A command line of a shell, which finds the input as `$1` and the output as `$2`.
    pub(crate) fn shell(name: &str, bench: &Bench, equal: Equal, script: &str, input: &Path) -> Self {
        Self::new(name, bench, equal, |output| {
            let script = format!("set -eo pipefail; export LC_ALL=C; {script}");
            let words: [&OsStr; 6] =
                ["bash".as_ref(), "-c".as_ref(), script.as_ref(), "bash".as_ref(), input.as_ref(), output.as_ref()];
            words.map(OsStr::to_owned).to_vec()
        })
    }

    /// A Python program, which finds the input as `argv[1]` and the output as `argv[2]`; `None` without its package.
    pub(crate) fn python(bench: &Bench, package: &str, equal: Equal, program: &str, input: &Path) -> Option<Self> {
        let python = &bench.args.python;
        let found = Command::new(python).args(["-c", &format!("import {package}")]).output();
        found.is_ok_and(|done| done.status.success()).then(|| {
            Self::new(package, bench, equal, |output| {
                let words: [&OsStr; 5] =
                    [python.as_ref(), "-c".as_ref(), program.as_ref(), input.as_ref(), output.as_ref()];
                words.map(OsStr::to_owned).to_vec()
            })
        })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]);
        command
    }

    /// Hashes what it made, then removes it.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let made = || format!("{} made no output at {}", self.name, self.output.display());
        let digest = match self.equal {
            Equal::Nothing => Digest::of(b""),
            Equal::Bytes => {
                let mut hash = Sha256::new();
                let mut chunk = vec![0; 1 << 20];
                for file in files(&self.output).with_context(made)? {
                    let mut file = File::open(file)?;
                    loop {
                        match file.read(&mut chunk)? {
                            0 => break,
                            length => hash.update(&chunk[..length]),
                        }
                    }
                }
                Digest(hash.finalize().into())
            }
            Equal::Lines => {
                let mut text = Vec::new();
                for file in files(&self.output).with_context(made)? {
                    File::open(file)?.read_to_end(&mut text)?;
                }
                let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
                lines.sort_unstable();
                Digest::of(&lines.concat())
            }
        };
        let _ = fs::remove_file(&self.output).or_else(|_| fs::remove_dir_all(&self.output));
        Ok(digest)
    }
}

/// The file, or the files of a directory by name; markers and checksums of other engines are left out.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries: Vec<PathBuf> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let is_data = |path: &PathBuf| {
        path.is_file() && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
    };
    let mut files: Vec<PathBuf> = entries.into_iter().filter(is_data).collect();
    files.sort();
    Ok(files)
}
