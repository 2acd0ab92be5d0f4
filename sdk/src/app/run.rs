//! `run`: a whole job in this process, without a server.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gristmill_common::spec::Input;
use gristmill_common::{JobId, limits, quantity};
use gristmill_worker::Programs;

use super::exit::{self, Exit, Usage};
use super::follow::{self, Watched};
use super::job_args::{self, JobArgs, Work};
use super::pack;
use super::paths::{Typed, TypedInput};
use super::progress::Progress;
use super::signals;
use super::upload::{self, Uploads};
use super::wasm_args;
use crate::embedded::{Embedded, EmbeddedConfig};

/// How often a commit that Ctrl-C came too late for is looked at.
const COMMIT_LOOK: Duration = Duration::from_millis(500);
/// How many times: a minute.
const COMMIT_LOOKS: u32 = 120;

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill run word-count 'logs/*.gz' -o counts.tsv
  gristmill run word-count books/ -o parts/
  gristmill run grep -a 'error|warn' /var/log/app/
  cat notes.txt | gristmill run word-count -
  gristmill run --mapper ./mapper.py --reducer ./reducer.py books/*.txt -o counts.tsv
  gristmill run --mapper-wasm 'count.wasm map' --reducer-wasm 'count.wasm reduce' books/*.txt
  gristmill run grep -a Smith --input-format csv --header people.csv         each row a JSON object
  gristmill run --each-line 'convert {} {}.png' list.txt       one command for each line, in parallel (full paths:
                                                               it runs in a directory of its own)

Ready-made: word-count, grep, sort, join, distinct, count-by-field, top-k; `gristmill run sort --help` teaches the flags of one.

Without -o the result goes to stdout, in key order. Files are read where they are; .gz, .bz2, .zst and .lz4 are known by their content.
The output is there when the job has succeeded, whole, or not at all.")]
pub struct RunArgs {
    /// Tasks run at a time; one per processor when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::SLOTS)))]
    slots: Option<u32>,

    /// Memory for everything that this process does, beside the programs of commands: fewer tasks run at a time, and the
    /// result is the same; such as 512M
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    memory: Option<u64>,

    #[command(flatten)]
    pub(super) job: JobArgs,
}

/// Runs the job and prints or writes its output.
///
/// # Errors
/// If the job cannot be set up, or its output cannot be written.
pub async fn run(args: &RunArgs, programs: Programs) -> Result<Exit> {
    let job = &args.job;
    let work = tokio::task::block_in_place(|| job.work())?;
    match &work {
        Work::Native(program) => job_args::check_native(program, &job.args, &programs)?,
        Work::Spec(spec, _) => job_args::check_spec(spec, &programs)?,
        Work::Code(_) => {}
    }
    let typed = job.typed_inputs(&work, &programs)?;
    let output = job.output_place(&work)?;
    refuse_input_as_output(output.as_ref().map(|(url, _)| url.as_str()), &typed)?;
    let root = |input: &TypedInput| if let Typed::Local(local) = &input.from { Some(local.root.clone()) } else { None };
    let mut roots: Vec<_> = typed.iter().filter_map(root).collect();
    roots.extend(output.and_then(|(_, parent)| parent));
    roots.sort();
    roots.dedup();
    let slots = args.memory.map(|memory| slots_in(memory, args, &work, &typed)).transpose()?.or(args.slots);
    let embedded = Embedded::start(EmbeddedConfig { roots, slots, ..EmbeddedConfig::default() }, programs).await?;
    let result = run_job(job, &work, &typed, &embedded).await;
    embedded.stop().await;
    // The coordinator is in this process: what it refuses is an error here, not a refusal by somebody else.
    result.map_err(|error| anyhow::anyhow!(exit::sentence(&error)))
}

/// Returns how many tasks run at a time in so much memory.
fn slots_in(memory_bytes: u64, args: &RunArgs, work: &Work, typed: &[TypedInput]) -> Result<u32> {
    let name = |input: &TypedInput| {
        input.input(match &input.from {
            Typed::Local(local) => local.url.clone(),
            Typed::Url(url) => url.clone(),
            // It has no URL yet, and needs none for this.
            Typed::Stdin => "store://stdin".to_owned(),
        })
    };
    let spec = args.job.job_spec(work, typed.iter().map(name).collect())?;
    let (slots, least) = spec.slots_in(memory_bytes);
    if slots == 0 {
        let (least, budget) = (least.div_ceil(1 << 20), quantity::exact(spec.sort_budget_bytes));
        let advice = "give more, or a smaller --sort-budget, which changes where records are grouped";
        return Err(Usage(format!(
            "--memory is too little for one task: with a sort budget of {budget} the least is {least}M; {advice}"
        ))
        .into());
    }
    let wanted = u64::from(args.slots.unwrap_or_else(super::processors));
    Ok(u32::try_from(slots.min(wanted)).unwrap_or(1))
}

fn refuse_input_as_output(output: Option<&str>, typed: &[TypedInput]) -> Result<()> {
    let Some(output) = output else { return Ok(()) };
    let same = |input: &TypedInput| matches!(&input.from, Typed::Local(local) if local.url.trim_end_matches('/') == output.trim_end_matches('/'));
    if typed.iter().any(same) {
        return Err(Usage(format!("-o names an input, which would be replaced: {output}")).into());
    }
    Ok(())
}

async fn run_job(args: &JobArgs, work: &Work, typed: &[TypedInput], embedded: &Embedded) -> Result<Exit> {
    let client = embedded.client();
    let mut progress = Progress::new(args.quiet).without_server();
    let mut inputs: Vec<Input> = Vec::with_capacity(typed.len());
    for input in typed {
        let url = match &input.from {
            Typed::Local(local) => local.url.clone(),
            Typed::Url(url) => url.clone(),
            Typed::Stdin => tokio::select! {
                url = async { Uploads::new(client, false).stdin().await } => url?,
                () = signals::stop() => return Ok(Exit::Interrupted),
            },
        };
        inputs.push(input.input(url));
    }
    let spec = args.job_spec(work, inputs)?;
    wasm_args::check_built_in(&spec)?;
    pack::upload(client, work.bundles()).await?;
    let submitted = client.submit(&spec, &upload::fresh_key(), None).await?;
    let mut watched = follow::watch(client, submitted.id, &mut progress, None).await?;
    if !matches!(watched, Watched::Over(_)) {
        if client.cancel(&submitted.id.to_string()).await.is_ok() {
            progress.say("interrupted: the job is cancelled, nothing was written");
            return Ok(Exit::Interrupted);
        }
        watched = end_commit(submitted.id, embedded, &mut progress).await?;
    }
    let Watched::Over(job) = watched else { return Ok(Exit::Interrupted) };
    progress.close(&job);
    if Exit::of_job(&job) == Exit::Ok && spec.output.url.is_none() {
        follow::print_output(client, job.id, follow::is_ordered(&job)).await?;
    }
    Ok(Exit::of_job(&job))
}

/// Lets a commit end that is under way; gives it up once it waits for something, such as room on the disk.
async fn end_commit(job: JobId, embedded: &Embedded, progress: &mut Progress) -> Result<Watched> {
    let mut is_said = false;
    for _ in 0..COMMIT_LOOKS {
        if let Some(why) = embedded.give_up_commit(job).await? {
            progress.warn(&format!("interrupted: the output was not written, and nothing is left of it: {why}"));
            return Ok(Watched::Interrupted);
        }
        if !is_said {
            progress.say("the output is being written: a moment");
            is_said = true;
        }
        match follow::watch(embedded.client(), job, progress, Some(COMMIT_LOOK)).await? {
            Watched::TimedOut(_) => {}
            ended => return Ok(ended),
        }
    }
    Ok(Watched::Interrupted)
}
