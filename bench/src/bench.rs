//! The command line, and the rounds: every contender once a round, so that a slow minute hits all of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::contender::{Contender, Equal};
use crate::data::Data;
use crate::report::{Report, Row};
use crate::workloads::{self, Workload};
use crate::{measure, yard};

/// First argument by which this binary is a yardstick.
pub(crate) const YARDSTICK: &str = "__yardstick";

#[derive(Parser)]
#[command(name = "gristmill-bench", about = "Runs workloads with Gristmill and other programs side by side")]
#[command(after_help = "\
Workloads:
  W1  word count, English text        W2  word count, Zipf words       W3  sort of 100-byte records
  W4  no-op tasks per second          W5  latency of a tiny job        W6  mapper.py and reducer.py
  W8  grep                            W9  cluster beside `run`
  W9z the same, much shuffle          W9r polls beside a relay
  W10 growth with the input

Contenders: gristmill, typed (a user's 35-line job), yardstick, gnu, duckdb, polars, spark; those that are not installed
are left out with a line that says so. Python packages are looked for in --python. Any other program can be brought:
  --with 'hadoop=java -cp jobs.jar:$JARS Jobs wc \"$1\" \"$2\"'")]
pub(crate) struct Args {
    /// Workloads to run
    #[arg(required = true, value_parser = workloads::parse)]
    workloads: Vec<Workload>,
    /// Bytes of input, with a suffix such as 256M or 4G; each workload has its own default
    #[arg(long, value_parser = parse_size)]
    pub(crate) size: Option<u64>,
    /// Memory of W3, with a suffix such as 512M: that of `run` (its --memory; unbounded when left out) and of GNU sort (its -S; 8G)
    #[arg(long, value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Contenders beside Gristmill, or `all`
    #[arg(long, value_delimiter = ',', default_value = "typed,yardstick")]
    pub(crate) against: Vec<String>,
    /// Another program to run beside them, as a line of a shell that finds the input as `$1` and the output as `$2`, for
    /// workloads whose contenders make an output; may be given more than once
    #[arg(long, value_name = "NAME=SCRIPT", value_parser = parse_with)]
    pub(crate) with: Vec<With>,
    /// How often each contender runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where inputs are kept and outputs written
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    data: PathBuf,
    /// Directory of the .txt files that English text is made of
    #[arg(long, value_name = "DIR", default_value = "examples/texts")]
    texts: PathBuf,
    /// Python that has the packages of contenders
    #[arg(long, default_value = "python3")]
    pub(crate) python: String,
    /// File for the results as JSON, added to as one line a workload
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A program that the command line brings.
#[derive(Clone, Debug)]
pub(crate) struct With {
    name: String,
    script: String,
}

/// What workloads work with.
pub(crate) struct Bench {
    pub(crate) args: Args,
    pub(crate) data: Data,
    /// For outputs and logs; emptied before each round.
    pub(crate) scratch: PathBuf,
    /// This binary, which is also the `gristmill` that is measured.
    pub(crate) gristmill: PathBuf,
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> Result<()> {
    let words: Vec<_> = std::env::args_os().collect();
    if let [_, first, name, input, output] = words.as_slice()
        && first == YARDSTICK
    {
        return yard::run(&name.to_string_lossy(), Path::new(input), Path::new(output));
    }
    let args = Args::parse();
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures mean nothing (use --release)");
    }
    fs::create_dir_all(&args.data).with_context(|| format!("cannot make {}", args.data.display()))?;
    let directory = args.data.canonicalize()?;
    let bench = Bench {
        data: Data { directory: directory.clone(), texts: args.texts.clone() },
        scratch: directory.join("scratch"),
        gristmill: std::env::current_exe()?,
        args,
    };
    for workload in &bench.args.workloads {
        let report = workload.run(&bench)?;
        report.print();
        if let Some(file) = &bench.args.json {
            report.append(file)?;
        }
    }
    Ok(())
}

impl Bench {
    /// Says whether a contender was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.args.against.iter().any(|asked| asked == name || asked == "all" || (asked == "spark" && name == "pyspark"))
    }

    /// Adds the Python programs that were asked for and whose package is there.
    pub(crate) fn add_python(&self, all: &mut Vec<Contender>, equal: Equal, programs: &[(&str, &str)], input: &Path) {
        for (package, program) in programs.iter().filter(|(package, _)| self.wants(package)) {
            match Contender::python(self, package, equal, program, input) {
                Some(contender) => all.push(contender),
                None => say(&format!("{package} is left out: {} has no such package", self.args.python)),
            }
        }
    }

    /// Adds the programs that the command line brings.
    pub(crate) fn add_with(&self, all: &mut Vec<Contender>, equal: Equal, input: &Path) {
        all.extend(self.args.with.iter().map(|with| Contender::shell(&with.name, self, equal, &with.script, input)));
    }

    /// Runs the contenders, round after round, and compares what they made.
    pub(crate) fn rounds(&self, workload: &str, input: &str, contenders: &[Contender]) -> Result<Report> {
        let mut rows: Vec<Row> = contenders.iter().map(|contender| Row::new(&contender.name)).collect();
        for round in 1..=self.args.rounds {
            for (contender, row) in contenders.iter().zip(&mut rows) {
                say(&format!("{workload} round {round}: {}", contender.name));
                self.clean()?;
                row.taken.push(measure::run(&mut contender.command(), &self.scratch.join("log"))?);
                row.see(contender.digest()?)?;
            }
        }
        self.clean()?;
        let report = Report { workload: workload.to_owned(), input: input.to_owned(), rows };
        if let Some((first, other)) = report.disagreement() {
            bail!("{workload}: the outputs of {first} and {other} differ");
        }
        Ok(report)
    }

    fn clean(&self) -> Result<()> {
        if self.scratch.exists() {
            fs::remove_dir_all(&self.scratch)?;
        }
        Ok(fs::create_dir_all(&self.scratch)?)
    }
}

#[expect(clippy::print_stderr, reason = "what a command line says while it works")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

fn parse_with(text: &str) -> Result<With, String> {
    let (name, script) = text.split_once('=').ok_or("NAME=SCRIPT is expected")?;
    Ok(With { name: name.to_owned(), script: script.to_owned() })
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err("a number with k, m or g is expected, such as 256M".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number is expected".to_owned())?;
    number.checked_shl(shift).filter(|bytes| bytes >> shift == number).ok_or_else(|| "too large".to_owned())
}

/// Writes a size as people do.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.3} GiB", bytes as f64 / (1_u64 << 30) as f64).replace(".000", ""),
    }
}
