//! `submit`: hands a job to a running coordinator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use gristmill_client::{Client, retry};
use gristmill_common::JobSpec;
use gristmill_common::spec::{Executable, Input};
use gristmill_worker::Programs;

use super::connect::Connect;
use super::exit::Exit;
use super::follow::{self, Watched};
use super::job_args::JobArgs;
use super::paths::Typed;
use super::progress::{Progress, size};
use super::upload;

/// How long a submit is tried while the coordinator is out of reach: a restart of it is a non-event.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `submit`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill submit word-count 'logs/*.gz'                wait, show progress, print the result
  gristmill submit word-count 'logs/*.gz' --detach       print the job's id and return
  gristmill submit --spec job.json                       the JSON that POST /v1/jobs takes

Local inputs are uploaded unless the coordinator and all workers may read them in place (--allow-path on both).")]
pub struct SubmitArgs {
    #[command(flatten)]
    connect: Connect,

    #[command(flatten)]
    job: Option<JobArgs>,

    /// A job spec in JSON, instead of PROGRAM and INPUT; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "program")]
    spec: Option<PathBuf>,

    /// Print the job's id and return at once
    #[arg(long)]
    detach: bool,

    /// Submitting again under the same key finds the same job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Let every build of the program run it, not only this executable
    #[arg(long)]
    any_executable: bool,
}

/// Submits, and unless detached waits and prints the output.
///
/// # Errors
/// If the coordinator cannot be reached or refuses the job.
pub async fn run(args: &SubmitArgs, programs: &Programs) -> Result<Exit> {
    let client = args.connect.client()?;
    let quiet = args.job.as_ref().is_some_and(|job| job.quiet);
    let mut progress = Progress::new(quiet);
    let spec = match (&args.spec, &args.job) {
        (Some(file), _) => JobSpec::from_json(&read_spec(file)?)?,
        (None, Some(job)) => from_args(job, &client, programs, args.any_executable, &progress).await?,
        (None, None) => bail!("name a program and its inputs, or a spec with --spec"),
    };
    let key = args.idempotency_key.clone().unwrap_or_else(upload::fresh_key);
    let job = retry::idempotent(PATIENCE, || client.submit(&spec, &key, None)).await?;
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

#[expect(clippy::print_stdout, reason = "the id is the result of a detached submit")]
fn print_id(id: &str) {
    println!("{id}");
}

fn read_spec(file: &Path) -> Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("cannot read the spec {}", file.display()))
}

/// What was uploaded, to be said in one line.
#[derive(Default)]
struct Uploaded {
    files: u64,
    bytes: u64,
}

async fn from_args(
    job: &JobArgs,
    client: &Client,
    programs: &Programs,
    any_executable: bool,
    progress: &Progress,
) -> Result<JobSpec> {
    let typed = job.typed_inputs()?;
    let common = common_roots(client).await?;
    let mut inputs = Vec::with_capacity(typed.len());
    let mut uploaded = Uploaded::default();
    for input in &typed {
        inputs.extend(place(client, input, &common, &mut uploaded).await?);
    }
    if uploaded.files > 0 {
        progress.say(&format!(
            "uploaded {} files ({}) to the coordinator's store",
            uploaded.files,
            size(uploaded.bytes)
        ));
    }
    let mut spec = job.spec(inputs)?;
    if any_executable {
        spec.steps[0].executable = Some(Executable::Any);
    } else if programs.find(&job.program).is_some() {
        spec.steps[0].executable = Some(Executable::Pinned(gristmill_worker::executable_digest()?));
    }
    Ok(spec)
}

/// Directories that the coordinator and every live worker may read, each with what it covers on all of them.
async fn common_roots(client: &Client) -> Result<Vec<PathBuf>> {
    let about = client.about().await?;
    let workers = client.workers().await?.workers;
    let covered =
        |root: &PathBuf| workers.iter().all(|worker| worker.roots.iter().any(|other| root.starts_with(other)));
    let roots: Vec<PathBuf> =
        about.roots.iter().map(PathBuf::from).filter(|root| !workers.is_empty() && covered(root)).collect();
    Ok(roots)
}

async fn place(client: &Client, input: &Typed, common: &[PathBuf], uploaded: &mut Uploaded) -> Result<Vec<Input>> {
    let readable = |root: &Path| common.iter().any(|allowed| root.starts_with(allowed));
    match input {
        Typed::Stdin => Ok(vec![upload::stdin(client).await?]),
        Typed::Url(url) => Ok(vec![Input::Url(url.clone())]),
        Typed::Path(_) | Typed::Glob(_) if input.root().is_some_and(|root| readable(&root)) => {
            Ok(input.input().into_iter().collect())
        }
        Typed::Path(path) => upload_all(client, &files_below(path)?, uploaded).await,
        Typed::Glob(glob) => upload_all(client, &files_matching(glob)?, uploaded).await,
    }
}

async fn upload_all(client: &Client, files: &[(String, PathBuf)], uploaded: &mut Uploaded) -> Result<Vec<Input>> {
    let folder = upload::fresh_folder();
    let mut inputs = Vec::with_capacity(files.len());
    for (name, local) in files {
        inputs.push(upload::file(client, &format!("{folder}/{name}"), local).await?);
        uploaded.files += 1;
        uploaded.bytes += local.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(inputs)
}

/// Lists what a directory input means: all files below it, without names that start with `_` or `.`, by path.
fn files_below(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    if path.is_file() {
        return Ok(vec![(name_of(path), path.to_path_buf())]);
    }
    let mut files = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(['_', '.']) {
                continue;
            }
            let metadata = std::fs::metadata(entry.path())?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let name = |file: &PathBuf| file.strip_prefix(path).unwrap_or(file).to_string_lossy().into_owned();
    Ok(files.into_iter().map(|file| (name(&file), file)).collect())
}

fn files_matching(glob: &Path) -> Result<Vec<(String, PathBuf)>> {
    let pattern = glob.to_str().context("a glob must be UTF-8")?;
    let mut files = Vec::new();
    for (index, path) in glob::glob(pattern).context("not a glob")?.enumerate() {
        let path = path?;
        if path.is_file() {
            files.push((format!("{index}-{}", name_of(&path)), path));
        }
    }
    if files.is_empty() {
        bail!("nothing matches {pattern}");
    }
    Ok(files)
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "input".to_owned(), |name| name.to_string_lossy().into_owned())
}
