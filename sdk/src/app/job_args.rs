//! The arguments that shape a job, shared by `run` and `submit`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::{JobSpec, limits};
use gristmill_worker::Programs;

use super::exit::Usage;
use super::paths::{self, Typed};

/// A job on the command line.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// The program: `word-count`, `grep`, or one of your own
    pub program: String,

    /// What to read: files, directories, globs in quotes, URLs, or `-` for standard input
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<String>,

    /// An argument for the program; may be repeated (grep takes its pattern this way)
    #[arg(short = 'a', long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    pub args: Vec<String>,

    /// Where the result goes: one file merged by key, or with a trailing slash a directory of parts
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<String>,

    /// Replace an output that exists
    #[arg(long, requires = "output")]
    pub overwrite: bool,

    /// Number of reduce tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::PARTITIONS)))]
    pub partitions: Option<u32>,

    /// Target bytes of a split; chosen from the input's size when left out
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub split_bytes: Option<u64>,

    /// No inputs: map this many generated records, the decimal numbers from 0
    #[arg(long, value_name = "RECORDS", conflicts_with = "inputs", value_parser = clap::value_parser!(u64).range(1..))]
    pub generate: Option<u64>,

    /// Records of one split of a generated input
    #[arg(long, value_name = "N", requires = "generate", value_parser = clap::value_parser!(u64).range(1..))]
    pub split_records: Option<u64>,

    /// Skip the reduce stage: the output of each map task is a part
    #[arg(long, conflicts_with = "partitions")]
    pub map_only: bool,

    /// A name for the job; the program's when left out
    #[arg(long)]
    pub name: Option<String>,

    /// Jobs of higher priority run first (-1000 to 1000)
    #[arg(long, allow_negative_numbers = true, default_value_t = 0, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub priority: i32,

    /// Failures of the program that one task may have before the job fails
    #[arg(long, value_name = "N", default_value_t = limits::ATTEMPTS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ATTEMPTS_MAX)))]
    pub attempts: u32,

    /// End an attempt that shows no progress for this long
    #[arg(long, value_name = "MS", default_value_t = limits::PROGRESS_TIMEOUT_MS)]
    pub progress_timeout_ms: u64,

    /// Say nothing but errors on stderr
    #[arg(short, long)]
    pub quiet: bool,
}

impl JobArgs {
    /// Reads the inputs as typed.
    ///
    /// # Errors
    /// If one is missing, or there are none.
    pub fn typed_inputs(&self) -> Result<Vec<Typed>> {
        if self.inputs.is_empty() && self.generate.is_none() {
            return Err(
                Usage("no inputs: name files, directories or globs, or `-` for standard input".to_owned()).into()
            );
        }
        self.inputs.iter().map(|text| paths::typed(text)).collect()
    }

    /// Builds the spec from inputs that are URLs already.
    ///
    /// # Errors
    /// If the output's directory is missing or the spec is not valid.
    pub fn spec(&self, mut inputs: Vec<Input>) -> Result<JobSpec> {
        if let Some(generate) = self.generate {
            inputs.push(Input::Generated(Generated { generate }));
        }
        let mut step = StepSpec::native(&self.program);
        step.args.clone_from(&self.args);
        step.partitions = self.partitions;
        step.reduce = !self.map_only;
        let name = self.name.clone().unwrap_or_else(|| self.program.clone());
        let mut spec = JobSpec::new(name, inputs, vec![step]);
        spec.split.bytes = self.split_bytes;
        spec.split.records = self.split_records;
        spec.output.url = self.output_place()?.map(|(url, _)| url);
        spec.output.overwrite = self.overwrite;
        spec.priority = self.priority;
        spec.attempts = self.attempts;
        spec.progress_timeout_ms = self.progress_timeout_ms;
        spec.check().map_err(|problem| Usage(problem.detail))?;
        Ok(spec)
    }

    /// Returns the URL of the output and its parent directory; `None` for the coordinator's store.
    ///
    /// # Errors
    /// If the parent directory does not exist.
    pub fn output_place(&self) -> Result<Option<(String, PathBuf)>> {
        self.output.as_deref().map(paths::output_url).transpose()
    }

    /// Refuses a program that this binary does not have, or arguments that it does not take.
    ///
    /// # Errors
    /// If so, with the names it has.
    pub fn check_program(&self, programs: &Programs) -> Result<()> {
        let Some(program) = programs.find(&self.program) else {
            let known = programs.names().join(", ");
            return Err(Usage(format!("no program `{}` here; there are: {known}", self.program)).into());
        };
        let refused = |why| Usage(format!("{}: {why} (arguments of the program are given with -a)", self.program));
        Ok(program.check(&self.args).map_err(refused)?)
    }
}
