//! The arguments that shape a job, shared by `run` and `submit`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use gristmill_common::spec::{
    Generated, Input, OnBadRecord, OnFailedTask, OnNondeterminism, OutputSpec, SORT, StepSpec,
};
use gristmill_common::{JobSpec, limits, quantity};
use gristmill_worker::Programs;

use super::code_args::{Code, CodeArgs};
use super::exit::Usage;
use super::format_args::FormatArgs;
use super::output_args::OutputArgs;
use super::pack::{LocalBundle, Pack};
use super::paths::{self, Typed, TypedInput};
use super::spec_file;

/// A job on the command line.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// A ready-made program (`word-count`, `grep`, or one of your own), unless --mapper, --reducer, --each-line or --spec
    /// says what to run; then what to read: files, directories, globs in quotes, URLs, or `-` for standard input
    #[arg(value_name = "[PROGRAM] INPUT")]
    pub words: Vec<String>,

    /// An input with a tag, by which the program tells where a record is from ($gristmill_input_tag); may be repeated
    #[arg(long = "input", value_name = "TAG=PATH", value_parser = tagged, conflicts_with = "generate")]
    pub tagged: Vec<(String, String)>,

    /// A job spec in JSON, `-` for standard input; inputs and -o, if there are any, take the place of its own
    #[arg(long, value_name = "FILE", conflicts_with_all = SAID_BY_A_SPEC)]
    pub spec: Option<PathBuf>,

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

    /// Target size of a split, such as 64M; chosen from the input's size when left out
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub split_bytes: Option<u64>,

    /// No inputs: map this many generated records, the decimal numbers from 0
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
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

    /// Whose job it is: users of one priority share the workers fairly
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Most tasks of the job that run at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_running: Option<u32>,

    /// Only on workers with this label (`worker --label NAME=VALUE`); may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::worker::label)]
    pub require: Vec<(String, String)>,

    /// Only on workers with this much memory for each slot (`worker --memory`), such as 2G
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub require_memory: Option<u64>,

    /// Bytes of records that a map sorts or combines at a time, the same on every worker [default: 128M]
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub sort_budget: Option<u64>,

    /// Give slow tasks near the end of a stage no second attempt
    #[arg(long)]
    pub no_backups: bool,

    /// Failures of the program that one task may have before the job fails [default: 4, with --each-line 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ATTEMPTS_MAX)))]
    pub attempts: Option<u32>,

    /// When a task fails for good, run the others of its stage before the job fails; always so with --each-line
    #[arg(long)]
    pub keep_going: bool,

    /// End an attempt that shows no progress for this long, such as 90s or 2h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = quantity::milliseconds)]
    pub progress_timeout: u64,

    /// Leave out up to N records that the program fails at twice, and list them beside the output
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=limits::SKIPS_MAX))]
    pub skip_bad_records: Option<u64>,

    /// When a map that is lost and made again comes out differently: `fail`, `rollback` its step, or `accept` a mixture
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = on_nondeterminism)]
    pub on_nondeterminism: OnNondeterminism,

    /// Say nothing but errors on stderr
    #[arg(short, long)]
    pub quiet: bool,

    /// What the inputs hold.
    #[command(flatten)]
    pub format: FormatArgs,

    /// What the output is written as.
    #[command(flatten)]
    pub output_format: OutputArgs,

    /// Code of the user's own.
    #[command(flatten)]
    pub code: CodeArgs,

    /// The steps of a ready-made job that has flags of its own.
    #[arg(skip)]
    pub steps: Option<Vec<StepSpec>>,
}

/// Flags that mean nothing beside a spec, which says these things itself: refused, and not passed over.
const SAID_BY_A_SPEC: [&str; 32] = [
    "mapper",
    "reducer",
    "combiner",
    "each_line",
    "mapper_wasm",
    "reducer_wasm",
    "combiner_wasm",
    "env",
    "separator",
    "key_fields",
    "partition_by",
    "order",
    "strict",
    "command_memory",
    "args",
    "partitions",
    "split_bytes",
    "generate",
    "map_only",
    "name",
    "priority",
    "user",
    "max_running",
    "require",
    "require_memory",
    "sort_budget",
    "no_backups",
    "attempts",
    "keep_going",
    "progress_timeout",
    "skip_bad_records",
    "on_nondeterminism",
];

/// What a command line asks to run.
#[derive(Clone, Debug)]
pub enum Work {
    /// A spec that is whole.
    Spec(Box<JobSpec>, Pack),
    /// Code that goes along.
    Code(Box<Code>),
    /// A program by its name.
    Native(String),
}

impl Work {
    /// Returns the files that go along.
    #[must_use]
    pub fn bundles(&self) -> &[LocalBundle] {
        match self {
            Self::Spec(_, pack) => &pack.locals,
            Self::Code(code) => &code.pack.locals,
            Self::Native(_) => &[],
        }
    }
}

impl JobArgs {
    /// Reads what is to run. Files are read and hashed: blocks.
    ///
    /// # Errors
    /// If nothing is named, or what is named cannot be read.
    pub fn work(&self) -> Result<Work> {
        if let Some(file) = &self.spec {
            if self.format.is_given() {
                return Err(Usage("with --spec the format is the spec's: write it as `input_format`".to_owned()).into());
            }
            if self.output_format.is_given() {
                let what = "with --spec the format is the spec's: write it as `output.format` and `output.compression`";
                return Err(Usage(what.to_owned()).into());
            }
            let (mut spec, pack) = spec_file::read(file, !self.has_no_inputs(), self.code.pack()?)?;
            if let Some((url, _)) = self.output.as_deref().map(paths::output_url).transpose()? {
                spec.output = OutputSpec { url: Some(url), overwrite: self.overwrite, ..spec.output };
            }
            return Ok(Work::Spec(Box::new(spec), pack));
        }
        if self.code.is_given() {
            if !self.args.is_empty() {
                return Err(
                    Usage("-a is for ready-made programs: write a command's arguments behind it".to_owned()).into()
                );
            }
            return self.code.code().map(|code| Work::Code(Box::new(code)));
        }
        self.code.check_absent()?;
        let program = self.words.first().ok_or_else(|| {
            let what = "a ready-made program and its inputs (word-count notes.txt), --mapper and --reducer, or --spec";
            Usage(format!("nothing to run: give {what}"))
        })?;
        Ok(Work::Native(program.clone()))
    }

    /// Reads the inputs of the job as typed; those of a spec are URLs.
    ///
    /// # Errors
    /// If one is missing, or there are none.
    pub fn typed_inputs(&self, work: &Work, programs: &Programs) -> Result<Vec<TypedInput>> {
        let words = match work {
            Work::Spec(spec, _) if self.has_no_inputs() => {
                let urls = spec.inputs.iter().filter_map(Input::url);
                return urls.map(|(url, tag)| TypedInput::read(url, tag)).collect();
            }
            Work::Spec(..) | Work::Code(_) => self.words.as_slice(),
            Work::Native(_) => self.words.get(1..).unwrap_or_default(),
        };
        match (words, self.generate) {
            ([], None) if self.tagged.is_empty() => {
                let what = "no inputs: name files, directories or globs, or `-` for standard input";
                return Err(Usage(what.to_owned()).into());
            }
            ([_, ..], Some(_)) => {
                return Err(Usage("--generate makes the records: it stands alone, without inputs".to_owned()).into());
            }
            _ => {}
        }
        if let (Work::Code(_), Some(word)) = (work, words.first())
            && programs.find(word).is_some()
            && !Path::new(word).exists()
        {
            let hint = "with --mapper, --reducer or --each-line there is no program, only inputs";
            return Err(Usage(format!("`{word}` is a ready-made program: {hint}")).into());
        }
        let plain = words.iter().map(|text| TypedInput::read(text, None));
        let tagged = self.tagged.iter().map(|(tag, text)| TypedInput::read(text, Some(tag)));
        let all = plain.chain(tagged).collect::<Result<Vec<_>>>()?;
        if all.iter().filter(|input| input.from == Typed::Stdin).count() > 1 {
            let hint = "the first would read all of it: give a file for the others";
            return Err(Usage(format!("`-` is standard input, and can be named once: {hint}")).into());
        }
        Ok(all)
    }

    /// Says whether the command line names no inputs, where those of a spec would be replaced.
    pub(super) fn has_no_inputs(&self) -> bool {
        self.words.is_empty() && self.tagged.is_empty()
    }

    /// Builds the spec from inputs that are URLs already.
    ///
    /// # Errors
    /// If the output's directory is missing or the spec is not valid.
    pub fn job_spec(&self, work: &Work, mut inputs: Vec<Input>) -> Result<JobSpec> {
        if let Some(generate) = self.generate {
            inputs.push(Input::Generated(Generated { generate }));
        }
        let (mut steps, name) = match work {
            Work::Spec(spec, _) if self.has_no_inputs() => return Ok(spec.as_ref().clone()),
            Work::Spec(spec, _) => return Ok(JobSpec { inputs, ..spec.as_ref().clone() }),
            Work::Code(code) => (vec![code.step.clone()], code.name.as_str()),
            Work::Native(program) => (self.native_steps(program), program.as_str()),
        };
        for step in &mut steps {
            step.partitions = step.partitions.or(self.partitions);
            step.reduce = !self.map_only && self.code.each_line.is_none();
        }
        let mut spec = JobSpec::new(self.name.as_deref().unwrap_or(name), inputs, steps);
        spec.input_format = self.format.format()?;
        spec.split.bytes = self.split_bytes;
        spec.split.records = self.split_records;
        spec.sort_budget_bytes = self.sort_budget.unwrap_or(limits::SORT_BUDGET_BYTES);
        spec.output.url = self.output_place(work)?.map(|(url, _)| url);
        spec.output.overwrite = self.overwrite;
        spec.output.format = self.output_format.format()?;
        spec.output.compression = self.output_format.compression();
        spec.priority = self.priority;
        spec.attempts = self.attempts.unwrap_or(limits::ATTEMPTS);
        spec.progress_timeout_ms = self.progress_timeout;
        if self.code.each_line.is_some() {
            spec.split.lines = Some(self.code.lines_per_task.unwrap_or(1));
            // A line's command may have done half of something: whoever wants it again says so.
            spec.attempts = self.attempts.unwrap_or(1);
        }
        spec.on_bad_record = self.skip_bad_records.map_or(OnBadRecord::Fail, OnBadRecord::Skip);
        spec.on_nondeterminism = self.on_nondeterminism;
        spec.user.clone_from(&self.user);
        spec.max_running = self.max_running;
        spec.requires.labels = self.require.iter().cloned().collect();
        spec.requires.memory_bytes = self.require_memory.unwrap_or(0);
        spec.backups = !self.no_backups;
        if self.keep_going || self.code.each_line.is_some() {
            spec.on_failed_task = OnFailedTask::Continue;
        }
        spec.check().map_err(|problem| Usage(problem.detail))?;
        Ok(spec)
    }

    fn native_steps(&self, program: &str) -> Vec<StepSpec> {
        if let Some(steps) = &self.steps {
            return steps.clone();
        }
        let order = (program == SORT).then(Box::default);
        vec![StepSpec { args: self.args.clone(), order, ..StepSpec::native(program) }]
    }

    /// Returns the URL of the output and its parent directory; `None` for the coordinator's store.
    ///
    /// # Errors
    /// If the parent directory does not exist.
    pub fn output_place(&self, work: &Work) -> Result<Option<(String, Option<PathBuf>)>> {
        let output = match work {
            Work::Spec(spec, _) => spec.output.url.as_deref(),
            Work::Code(_) | Work::Native(_) => self.output.as_deref(),
        };
        output.map(paths::output_url).transpose()
    }
}

/// Refuses a program that this binary does not have, or arguments that it does not take.
///
/// # Errors
/// If so, with the names it has.
pub fn check_native(name: &str, args: &[String], programs: &Programs) -> Result<()> {
    let Some(program) = programs.find(name) else {
        let known = programs.names().join(", ");
        let hint = if Path::new(name).exists() { "; your own code is given with --mapper and --reducer" } else { "" };
        return Err(Usage(format!("no program `{name}` here; there are: {known}{hint}")).into());
    };
    let refused = |why| Usage(format!("{name}: {why} (arguments of the program are given with -a)"));
    Ok(program.check(args).map_err(refused)?)
}

/// Checks the native programs of a spec that runs here: what is wrong with them is known before any task.
///
/// # Errors
/// If there is no such program here, or it does not take its arguments.
pub fn check_spec(spec: &JobSpec, programs: &Programs) -> Result<()> {
    for (index, step) in spec.steps.iter().enumerate() {
        let Some(name) = &step.native else { continue };
        let at = format!("the spec, at /steps/{index}");
        let Some(program) = programs.find(name) else {
            let known = programs.names().join(", ");
            return Err(Usage(format!("{at}/native: no program `{name}` here; there are: {known}")).into());
        };
        program.check(&step.args).map_err(|why| Usage(format!("{at}/args: {name}: {why}")))?;
    }
    Ok(())
}

fn tagged(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(tag, path)| !tag.is_empty() && !path.is_empty());
    pair.map(|(tag, path)| (tag.to_owned(), path.to_owned()))
        .ok_or_else(|| "a tag, `=` and what to read are expected, as in orders=orders/*.csv".to_owned())
}

fn on_nondeterminism(text: &str) -> Result<OnNondeterminism, String> {
    match text {
        "fail" => Ok(OnNondeterminism::Fail),
        "rollback" => Ok(OnNondeterminism::Rollback),
        "accept" => Ok(OnNondeterminism::Accept),
        _ => Err("`fail`, `rollback` or `accept` is expected".to_owned()),
    }
}
