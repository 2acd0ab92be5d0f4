//! `job replay`: runs one task here, with the input, the code and the environment that it had, and leaves them to be looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::Args;
use gristmill_client::Client;
use gristmill_common::TaskName;
use gristmill_common::api::ReplayView;
use gristmill_sdk::app::exit::{Exit, Usage};
use gristmill_sdk::app::progress::Progress;
use gristmill_sdk::app::signals;
use gristmill_worker::Programs;
use gristmill_worker::executor::{Replay, Replayed, replay};

use crate::table::harmless;
use crate::view::say;

/// Arguments of `job replay`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Its code runs as you, without a worker's sandbox, and its job learns nothing of it. Ctrl-C ends it.
Of a command, everything is left in a directory; change what is in its work/ and run its run.sh again.")]
pub(crate) struct ReplayArgs {
    /// Id of the job, a prefix of it, or `last`
    job: String,
    /// The task, such as m12 or r3; the one that the job failed at when left out
    task: Option<TaskName>,
    /// Where its files are left; a new temporary directory when left out
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// State directory of workers of this machine: map outputs that only they have are read there
    /// [default: $XDG_STATE_HOME/gristmill]
    #[arg(long, env = "GRISTMILL_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Runs the task and says how it ended.
pub(crate) async fn run(client: &Client, args: &ReplayArgs, programs: Programs) -> Result<Exit> {
    let (job, task) = which(client, args).await?;
    let view = client.replay(&job, task).await?;
    let progress = Progress::new(false);
    if let Some(warning) = other_build(&view)? {
        progress.say(&warning);
    }
    let order = Replay {
        endpoint: client.endpoint().clone().with_token(None),
        token: view.token,
        task,
        directory: directory(args.dir.as_deref(), &job, task)?,
        state_dir: match &args.state_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => gristmill_worker::default_state_dir()?,
        },
    };
    progress.say(&format!("running {task} of job {job} here"));
    let cancel = Arc::new(AtomicBool::new(false));
    let mut running = {
        let (order, cancel) = (order.clone(), Arc::clone(&cancel));
        tokio::task::spawn_blocking(move || replay(&order, &programs, &cancel))
    };
    let replayed = tokio::select! {
        ended = &mut running => ended,
        () = signals::stop() => {
            cancel.store(true, Ordering::Relaxed);
            running.await
        }
    };
    let replayed = replayed?.with_context(|| format!("cannot use {}", order.directory.display()))?;
    tell(task, &order.directory, &replayed);
    Ok(match replayed.ended {
        Ok(_) => Exit::Ok,
        Err(_) if cancel.load(Ordering::Relaxed) => Exit::Interrupted,
        Err(_) => Exit::JobFailed,
    })
}

/// The job's full id, and the task.
async fn which(client: &Client, args: &ReplayArgs) -> Result<(String, TaskName)> {
    let job = client.job(&args.job, None).await?;
    let task = args.task.or_else(|| job.failure.as_ref()?.task);
    let task = task.ok_or_else(|| Usage(format!("job {} failed at no task: name one, such as m0", job.id)))?;
    Ok((job.id.to_string(), task))
}

fn other_build(view: &ReplayView) -> Result<Option<String>> {
    let Some(pinned) = view.executable else { return Ok(None) };
    let own = gristmill_worker::executable_digest()?;
    Ok((own != pinned).then(|| {
        let (own, pinned) = (own.to_string(), pinned.to_string());
        format!("this is another build ({own:.12}) than the one that ran it ({pinned:.12}): it may do something else")
    }))
}

fn directory(given: Option<&Path>, job: &str, task: TaskName) -> Result<PathBuf> {
    let Some(given) = given else {
        let name = format!("gristmill-replay-{job:.8}-{task}-");
        let made = tempfile::Builder::new().prefix(&name).tempdir().context("no temporary directory")?;
        return Ok(made.keep());
    };
    std::fs::create_dir_all(given).with_context(|| format!("cannot make {}", given.display()))?;
    if std::fs::read_dir(given)?.next().is_some() {
        return Err(Usage(format!("{} is not empty: name a new directory", given.display())).into());
    }
    Ok(given.canonicalize()?)
}

fn tell(task: TaskName, directory: &Path, replayed: &Replayed) {
    match &replayed.ended {
        Ok(records) => say(&format!("{task} ended well here, after {records} records")),
        Err(reason) => say(&format!("{task} failed here: {}", harmless(&reason.to_string()))),
    }
    let left = [
        ("working directory", &replayed.work),
        ("stdin", &replayed.stdin),
        ("stdout", &replayed.stdout),
        ("again by hand", &replayed.script),
        ("next step's mapper", &replayed.next),
    ];
    let mut any = false;
    for (what, path) in left {
        if let Some(path) = path {
            any = true;
            say(&format!("{what:<18} {}", path.display()));
        }
    }
    if !any {
        let _ = std::fs::remove_dir(directory);
    }
    if !replayed.log.is_empty() {
        let text = String::from_utf8_lossy(&replayed.log);
        say("stderr:");
        text.lines().for_each(|line| say(&format!("  {}", harmless(line))));
    }
}
