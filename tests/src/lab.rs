//! The programs of the lab tests: word count, indexer, one that tells when and where it ran, one that keeps crashing.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use gristmill_sdk::prelude::*;

fn words(line: &[u8]) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    let words = line.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Counts words: longest runs of letters.
pub(crate) struct CountWords;

impl Mapper for CountWords {
    type Key = str;
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, str, u64>) -> Result<()> {
        words(line).iter().for_each(|word| out.emit(word, &1));
        Ok(())
    }
}

/// Prints `word count`.
pub(crate) struct PrintCounts;

impl Reducer for PrintCounts {
    type Key = str;
    type Value = u64;

    fn reduce(&mut self, word: &str, counts: &mut Values<'_, u64>, out: &mut Lines<'_>) -> Result<()> {
        out.line(format!("{word} {}", counts.sum::<u64>()).as_str());
        Ok(())
    }
}

/// Finds the files of each word.
#[derive(Default)]
pub(crate) struct IndexWords {
    file: String,
}

impl Mapper for IndexWords {
    type Key = str;
    type Value = String;

    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        start.name.rsplit('/').next().unwrap_or(start.name).clone_into(&mut self.file);
        Ok(())
    }

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, str, String>) -> Result<()> {
        words(line).iter().for_each(|word| out.emit(word, &self.file));
        Ok(())
    }
}

/// Prints `word n file1,file2`.
pub(crate) struct PrintFiles;

impl Reducer for PrintFiles {
    type Key = str;
    type Value = String;

    fn reduce(&mut self, word: &str, files: &mut Values<'_, String>, out: &mut Lines<'_>) -> Result<()> {
        let files: Vec<String> = files.collect::<BTreeSet<_>>().into_iter().collect();
        out.line(format!("{word} {} {}", files.len(), files.join(",")).as_str());
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the test compares when tasks ran")]
fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// Takes `MAP_MS REDUCE_MS DIR`: each map leaves a file in the directory, and all say from when to when they ran.
#[derive(Clone)]
pub(crate) struct Timed {
    map: Duration,
    reduce: Duration,
    directory: PathBuf,
}

impl Timed {
    pub(crate) fn new(args: &[String]) -> Result<Self> {
        let ms = |n: usize| -> Result<_> {
            Ok(Duration::from_millis(args.get(n).context("MAP_MS REDUCE_MS DIR")?.parse::<u64>()?))
        };
        Ok(Self { map: ms(0)?, reduce: ms(1)?, directory: args.get(2).context("a directory")?.into() })
    }
}

impl Mapper for Timed {
    type Key = str;
    type Value = String;

    fn map(&mut self, number: &[u8], out: &mut Emit<'_, str, String>) -> Result<()> {
        let (start, number) = (now_ms(), String::from_utf8_lossy(number));
        std::fs::write(self.directory.join(format!("{number}-{}-{start}", std::process::id())), "")?;
        std::thread::sleep(self.map);
        out.emit(&format!("map {number}"), &format!("{start} {}", now_ms()));
        Ok(())
    }
}

/// The reduces of [`Timed`].
pub(crate) struct TimedReduce(pub(crate) Duration);

impl Reducer for TimedReduce {
    type Key = str;
    type Value = String;

    fn reduce(&mut self, map: &str, times: &mut Values<'_, String>, out: &mut Lines<'_>) -> Result<()> {
        times.for_each(|time| out.line(format!("{map} {time}").as_str()));
        Ok(())
    }

    fn finish(&mut self, out: &mut Lines<'_>) -> Result<()> {
        let start = now_ms();
        std::thread::sleep(self.0);
        out.line(format!("reduce 0 {start} {}", now_ms()).as_str());
        Ok(())
    }
}

/// Takes `SLEEP_MS`: each call exits or sleeps up to so long, each in one of three cases.
pub(crate) struct Crashing {
    pub(crate) sleep_ms: u64,
}

impl Crashing {
    pub(crate) fn new(args: &[String]) -> Self {
        Self { sleep_ms: args.first().and_then(|arg| arg.parse().ok()).unwrap_or(0) }
    }

    fn call(&self) {
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        match random % 3 {
            0 => std::process::exit(1),
            1 => std::thread::sleep(Duration::from_millis((random >> 8) % (self.sleep_ms + 1))),
            _ => {}
        }
    }
}

impl Mapper for Crashing {
    type Key = str;
    type Value = String;

    fn start(&mut self, _: &Start<'_>) -> Result<()> {
        self.call();
        Ok(())
    }

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, str, String>) -> Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        for key in ["a", "b", "c", "d"] {
            out.emit(key, &line);
        }
        Ok(())
    }
}

impl Reducer for Crashing {
    type Key = str;
    type Value = String;

    fn reduce(&mut self, key: &str, lines: &mut Values<'_, String>, out: &mut Lines<'_>) -> Result<()> {
        self.call();
        let mut lines: Vec<String> = lines.collect();
        lines.sort_unstable();
        out.line(format!("{key} {}", lines.join(" ")).as_str());
        Ok(())
    }
}

/// All of them.
pub(crate) fn jobs() -> [(&'static str, Job); 4] {
    let timed = Job::try_map(Timed::new)
        .reduce(|args| TimedReduce(Timed::new(args).map_or(Duration::ZERO, |timed| timed.reduce)));
    [
        ("lab-wc", Job::map(|_| CountWords).reduce(|_| PrintCounts).into()),
        ("lab-indexer", Job::map(|_| IndexWords::default()).reduce(|_| PrintFiles).into()),
        ("lab-timed", timed.into()),
        ("lab-crash", Job::map(Crashing::new).reduce(Crashing::new).into()),
    ]
}
