//! `job logs`: what attempts wrote, once or as it comes.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gristmill_client::Client;
use gristmill_common::TaskName;
use gristmill_sdk::app::exit::Exit;
use tokio::io::AsyncWriteExt as _;

/// How often more is asked for.
const EVERY: Duration = Duration::from_secs(1);

/// Prints the logs of a task, or of the failed attempts of a job; with `follow` until the job is over.
pub(crate) async fn run(client: &Client, job: &str, task: Option<TaskName>, follow: bool) -> Result<Exit> {
    // `last` may be another job in a minute.
    let job = client.job(job, None).await?;
    let id = job.id.to_string();
    let mut after = None;
    let mut any = false;
    loop {
        // Asked before the logs are, so that what came with the end is not missed.
        let over = client.job(&id, None).await?.state.is_over();
        let mut logs = client.logs(&id, task, None, after).await?;
        let cursor = logs.header("x-log-cursor").and_then(|cursor| cursor.parse::<u64>().ok());
        while let Some(chunk) = logs.chunk().await? {
            any = true;
            if !print(&chunk).await? {
                return Ok(Exit::Ok);
            }
        }
        after = cursor.or(after);
        if !follow || over {
            break;
        }
        tokio::time::sleep(EVERY).await;
    }
    if !any {
        let what = task.map_or_else(
            || "no failed attempt wrote a log; name a task, such as m0, to see what others wrote".to_owned(),
            |task| format!("no attempt of {task} wrote a log that has arrived"),
        );
        gristmill_sdk::app::progress::Progress::new(false).say(&what);
    }
    Ok(Exit::Ok)
}

/// Returns `false` when nobody reads any more. On a terminal, what could move its cursor or recolour it is replaced.
async fn print(chunk: &[u8]) -> Result<bool> {
    let mut stdout = tokio::io::stdout();
    let written = if std::io::stdout().is_terminal() {
        let text = String::from_utf8_lossy(chunk);
        let text: String =
            text.chars().map(|c| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c }).collect();
        stdout.write_all(text.as_bytes()).await
    } else {
        stdout.write_all(chunk).await
    };
    let flushed = match written {
        Ok(()) => stdout.flush().await,
        failed => failed,
    };
    match flushed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        flushed => flushed.map(|()| true).context("cannot write to stdout"),
    }
}
