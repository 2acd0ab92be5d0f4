//! What is left of an attempt that somebody runs again to look at it: its working directory, all that its program reads on
//! stdin, what it printed, and a script that runs it once more by hand.
//!
//! The input is written in a run of its own, before the program runs: one that fails early has not read all of it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gristmill_common::Reason;

use super::ending::lost;
use super::spawner::Start;
use crate::streaming::{Peer, Take};

/// Name of the script.
pub(crate) const SCRIPT: &str = "run.sh";
/// Name of what the program reads.
pub(crate) const STDIN: &str = "stdin";
/// Name of what the program printed.
pub(crate) const STDOUT: &str = "stdout";

/// Name of the directory of the next step's mapper.
pub(crate) const NEXT: &str = "next";

/// Where it is left.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) directory: PathBuf,
    /// Whether this run only writes down the input.
    pub(crate) records: bool,
}

impl Trace {
    /// Where the next step's mapper leaves what is left of it, when it runs in the same task.
    pub(crate) fn of_next(&self) -> Result<Self, Reason> {
        let directory = self.directory.join(NEXT);
        fs::create_dir_all(&directory).map_err(|error| lost("make a directory", &error))?;
        Ok(Self { directory, records: self.records })
    }

    /// The working directory of the program.
    pub(super) fn work(&self) -> PathBuf {
        self.directory.join(super::WORK)
    }

    /// Starts to write the input down.
    pub(super) fn recorder(&self) -> Result<Recorder, Reason> {
        self.create(STDIN).map(Recorder)
    }

    /// Starts to write down what the program prints.
    pub(super) fn stdout(&self) -> Result<File, Reason> {
        self.create(STDOUT)
    }

    fn create(&self, name: &str) -> Result<File, Reason> {
        File::create(self.directory.join(name)).map_err(|error| lost(&format!("write `{name}`"), &error))
    }

    /// Lets the user change the job's files: only copies are the attempt's own.
    pub(super) fn open_up(&self) {
        for entry in fs::read_dir(self.work()).into_iter().flatten().flatten() {
            let Ok(found) = fs::symlink_metadata(entry.path()) else { continue };
            if found.is_file() {
                let mode = found.permissions().mode() | 0o200;
                let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode));
            }
        }
    }

    /// Writes the script that starts the program as it is started now.
    pub(super) fn script(&self, start: &Start) -> Result<(), Reason> {
        let mut text =
            "#!/bin/sh\n# Runs the program of this attempt once more, on the same input, as a worker starts it.\n"
                .to_owned();
        text.push_str(&format!("cd {} || exit\nexec env -i", quoted(&start.directory.display().to_string())));
        for (name, value) in &start.env {
            text.push_str(&format!(" \\\n  {}", quoted(&format!("{name}={value}"))));
        }
        text.push_str(&format!(" \\\n  {}", quoted(&program(start).display().to_string())));
        for argument in start.argv.iter().skip(1) {
            text.push_str(&format!(" {}", quoted(argument)));
        }
        text.push_str(&format!(" < {}\n", quoted(&self.directory.join(STDIN).display().to_string())));
        let path = self.directory.join(SCRIPT);
        let written =
            fs::write(&path, text).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        written.map_err(|error| lost("write the script", &error))
    }
}

/// The program as its working directory names it, if it is there.
fn program(start: &Start) -> PathBuf {
    match start.program.strip_prefix(&start.directory) {
        Ok(inside) => Path::new(".").join(inside.strip_prefix(".").unwrap_or(inside)),
        Err(_) => start.program.clone(),
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A program and a file that gets what it is given.
pub(super) struct Recorded<P> {
    peer: P,
    recorder: Option<Recorder>,
}

impl<P> Recorded<P> {
    pub(super) fn new(peer: P, recorder: Option<Recorder>) -> Self {
        Self { peer, recorder }
    }
}

impl<P: Peer> Peer for Recorded<P> {
    fn feed(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<(), Reason> {
        if let Some(recorder) = &mut self.recorder {
            recorder.feed(bytes, take)?;
        }
        self.peer.feed(bytes, take)
    }

    fn finish(&mut self, take: &mut Take<'_>) -> Result<(), Reason> {
        self.peer.finish(take)
    }

    fn counters(&mut self) -> Vec<(String, i64)> {
        self.peer.counters()
    }
}

/// Writes down what a program would be given.
pub(super) struct Recorder(File);

impl Peer for Recorder {
    fn feed(&mut self, bytes: &[u8], _: &mut Take<'_>) -> Result<(), Reason> {
        self.0.write_all(bytes).map_err(|error| lost("write `stdin`", &error))
    }

    fn finish(&mut self, _: &mut Take<'_>) -> Result<(), Reason> {
        Ok(())
    }

    fn counters(&mut self) -> Vec<(String, i64)> {
        Vec::new()
    }
}
