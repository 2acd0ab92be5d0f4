//! `submit`: hands a job to a running coordinator.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gristmill_client::{Client, retry};
use gristmill_common::JobSpec;
use gristmill_common::api::JobView;
use gristmill_common::spec::Executable;
use gristmill_worker::Programs;

use super::connect::Connect;
use super::exit::Exit;
use super::follow::{self, Watched};
use super::job_args::{self, JobArgs, Work};
use super::pack;
use super::paths::{Typed, TypedInput};
use super::progress::{Progress, counted, size};
use super::upload::{self, Uploads};

/// How long a submit is tried while the coordinator is out of reach: a restart of it is a non-event.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `submit`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill submit word-count 'logs/*.gz'                wait, show progress, print the result
  gristmill submit word-count 'logs/*.gz' --detach       print the job's id and return
  gristmill submit --mapper ./map.py --reducer ./red.py 'logs/*.gz'
  gristmill submit --spec job.json                       the JSON that POST /v1/jobs takes

Local inputs are uploaded unless the coordinator and all workers may read them in place (--allow-path on both).")]
pub struct SubmitArgs {
    #[command(flatten)]
    connect: Connect,

    /// Print the job's id and return at once
    #[arg(long)]
    detach: bool,

    /// Submitting again under the same key finds the same job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Let every build of the program run it, not only this executable
    #[arg(long)]
    any_executable: bool,

    #[command(flatten)]
    pub(super) job: JobArgs,
}

/// Submits, and unless detached waits and prints the output.
///
/// # Errors
/// If the coordinator cannot be reached or refuses the job.
pub async fn run(args: &SubmitArgs, programs: &Programs) -> Result<Exit> {
    let client = args.connect.client()?;
    let mut progress = Progress::new(args.job.quiet);
    let mut uploads = Uploads::new(&client, args.idempotency_key.is_some());
    let submitted = submit(args, &client, programs, &mut uploads, &progress).await;
    let (spec, job) = match submitted {
        Ok(submitted) => submitted,
        Err(error) => {
            uploads.take_back().await;
            return Err(error);
        }
    };
    if args.detach {
        print_id(&job.id.to_string());
        return Ok(Exit::Ok);
    }
    progress.say(&format!("job {} submitted", job.id));
    match follow::watch(&client, job.id, &mut progress, None).await? {
        Watched::Over(job) => {
            progress.close(&job);
            if Exit::of_job(&job) == Exit::Ok && spec.output.url.is_none() {
                follow::print_output(&client, job.id, follow::is_ordered(&job)).await?;
            }
            Ok(Exit::of_job(&job))
        }
        Watched::Interrupted | Watched::TimedOut(_) => {
            progress.say(&format!("the job goes on; come back with: gristmill job wait {}", job.id));
            Ok(Exit::Interrupted)
        }
    }
}

async fn submit(
    args: &SubmitArgs,
    client: &Client,
    programs: &Programs,
    uploads: &mut Uploads<'_>,
    progress: &Progress,
) -> Result<(JobSpec, JobView)> {
    let work = tokio::task::block_in_place(|| args.job.work())?;
    let spec = match &work {
        Work::Spec(spec, _) if args.job.has_no_inputs() => spec.as_ref().clone(),
        Work::Spec(..) | Work::Code(_) | Work::Native(_) => {
            let typed = args.job.typed_inputs(&work, programs)?;
            let common = common_roots(client).await?;
            from_args(args, &work, programs, &typed, uploads, &common).await?
        }
    };
    pack::upload(client, work.bundles()).await?;
    if uploads.files > 0 {
        let (files, bytes) = (counted(uploads.files, "file"), size(uploads.bytes));
        progress.say(&format!("uploaded {files} ({bytes}) to the coordinator's store"));
    }
    let key = args.idempotency_key.clone().unwrap_or_else(upload::fresh_key);
    let job = retry::idempotent(PATIENCE, || client.submit(&spec, &key, None)).await?;
    Ok((spec, job))
}

#[expect(clippy::print_stdout, reason = "the id is the result of a detached submit")]
fn print_id(id: &str) {
    println!("{id}");
}

async fn from_args(
    args: &SubmitArgs,
    work: &Work,
    programs: &Programs,
    typed: &[TypedInput],
    uploads: &mut Uploads<'_>,
    common: &[PathBuf],
) -> Result<JobSpec> {
    let job = &args.job;
    let own = match work {
        Work::Native(program) => programs.find(program).map(|_| program),
        Work::Spec(..) | Work::Code(_) => None,
    };
    if let Some(program) = own {
        job_args::check_native(program, &job.args, programs)?;
    }
    let mut inputs = Vec::new();
    for (number, input) in typed.iter().enumerate() {
        match &input.from {
            Typed::Stdin => inputs.push(input.input(uploads.stdin().await?)),
            Typed::Url(url) => inputs.push(input.input(url.clone())),
            Typed::Local(local) if common.iter().any(|allowed| local.root.starts_with(allowed)) => {
                inputs.push(input.input(local.url.clone()));
            }
            Typed::Local(local) => {
                for (name, file) in local.files()? {
                    inputs.push(input.input(uploads.file(number, &name, &file).await?));
                }
            }
        }
    }
    let mut spec = job.job_spec(work, inputs)?;
    if args.any_executable && matches!(work, Work::Native(_)) {
        spec.steps[0].executable = Some(Executable::Any);
    } else if own.is_some() {
        spec.steps[0].executable = Some(Executable::Pinned(gristmill_worker::executable_digest()?));
    }
    Ok(spec)
}

/// Directories that the coordinator and every live worker may read.
async fn common_roots(client: &Client) -> Result<Vec<PathBuf>> {
    let about = client.about().await?;
    let workers = client.workers().await?.workers;
    let covered =
        |root: &PathBuf| workers.iter().all(|worker| worker.roots.iter().any(|other| root.starts_with(other)));
    let roots = about.roots.iter().map(PathBuf::from);
    Ok(roots.filter(|root| !workers.is_empty() && covered(root)).collect())
}
