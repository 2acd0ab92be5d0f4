//! The `gristmill` command with programs that misbehave or take their time, for tests and for trying things by hand.
//!
//! `paced-word-count MS`: each map and each reduce task sleeps that long first. `steady-word-count MS`: each record sleeps that
//! long, in small pieces, so that a process that is stopped now and then takes longer. `faulty MODE MARKER`: misbehaves at the
//! first line that holds the marker; the modes are panic, error, abort, exit, overflow and loop. `says`: says each line as its
//! status and sleeps. `lab-*`: see the module.

mod lab;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use gristmill_sdk::prelude::*;

struct PacedWords {
    pace: Duration,
}

impl Mapper for PacedWords {
    type Key = [u8];
    type Value = u64;

    fn start(&mut self, _: &Start<'_>) -> Result<()> {
        std::thread::sleep(std::mem::take(&mut self.pace));
        Ok(())
    }

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        for word in line.split(|byte| b" \t\n\x0b\x0c\r".contains(byte)).filter(|word| !word.is_empty()) {
            out.emit(word, &1);
        }
        Ok(())
    }
}

struct SteadyWords {
    pieces: u64,
}

/// One piece of a record's sleep.
const PIECE_MS: u64 = 5;

impl Mapper for SteadyWords {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        for _ in 0..self.pieces {
            std::thread::sleep(Duration::from_millis(PIECE_MS));
        }
        out.emit(line, &1);
        Ok(())
    }
}

/// Says each line as its status, and takes its time.
struct Says;

impl Mapper for Says {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        out.status(&String::from_utf8_lossy(line));
        std::thread::sleep(Duration::from_secs(4));
        out.emit(line, &1);
        Ok(())
    }
}

struct PacedTotals {
    pace: Duration,
}

impl Reducer for PacedTotals {
    type Key = [u8];
    type Value = u64;

    fn reduce(&mut self, word: &[u8], counts: &mut Values<'_, u64>, out: &mut Lines<'_>) -> Result<()> {
        std::thread::sleep(std::mem::take(&mut self.pace));
        out.emit(word, counts.sum::<u64>());
        Ok(())
    }
}

fn pace(args: &[String]) -> Duration {
    Duration::from_millis(args.first().and_then(|arg| arg.parse().ok()).unwrap_or(0))
}

struct Faulty {
    mode: String,
    marker: Vec<u8>,
}

impl Mapper for Faulty {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        if line.windows(self.marker.len().max(1)).any(|window| window == self.marker) {
            complain();
            misbehave(&self.mode)?;
        }
        out.emit(line, &1);
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "what programs print is what is tested")]
fn complain() {
    eprintln!("about to misbehave");
}

fn misbehave(mode: &str) -> Result<()> {
    match mode {
        "panic" => panic!("the test's panic"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "overflow" => {
            std::hint::black_box(overflow(1));
        }
        "loop" => loop {
            std::thread::sleep(Duration::from_millis(10));
        },
        _ => bail!("the test's error"),
    }
    Ok(())
}

#[expect(unconditional_recursion, reason = "this is how a stack overflows")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 1024]);
    overflow(depth + 1) + frame[7]
}

fn main() -> ExitCode {
    let paced: Job = Job::map(|args| PacedWords { pace: pace(args) })
        .combine(Sum)
        .reduce(|args| PacedTotals { pace: pace(args) })
        .into();
    let says: Job = Job::map(|_| Says).combine(Sum).into();
    let steady: Job = Job::map(|args| {
        let ms = u64::try_from(pace(args).as_millis()).unwrap_or(0);
        SteadyWords { pieces: ms / PIECE_MS }
    })
    .into();
    let faulty: Job = Job::map(|args| Faulty {
        mode: args.first().cloned().unwrap_or_default(),
        marker: args.get(1).cloned().unwrap_or_default().into_bytes(),
    })
    .into();
    let programs = gristmill_sdk::jobs::all()
        .with("paced-word-count", Arc::new(paced))
        .with("steady-word-count", Arc::new(steady))
        .with("says", Arc::new(says))
        .with("faulty", Arc::new(faulty));
    let programs = lab::jobs().into_iter().fold(programs, |programs, (name, job)| programs.with(name, Arc::new(job)));
    gristmill_cli::main(programs)
}
