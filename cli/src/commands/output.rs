//! `output`: the result of a job, on stdout or into a file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gristmill_sdk::app::connect::Connect;
use gristmill_sdk::app::exit::Exit;
use gristmill_sdk::app::follow;

use crate::save;

/// Arguments of `output`.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputArgs {
    #[command(flatten)]
    connect: Connect,

    /// Id of the job, a prefix of it, or `last`
    #[arg(default_value = "last")]
    job: String,

    /// The parts one after the other instead of merged by key
    #[arg(long)]
    concatenate: bool,

    /// A file to write instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Prints or writes the output.
pub(crate) async fn run(args: &OutputArgs) -> Result<Exit> {
    let client = args.connect.client()?;
    let job = client.job(&args.job, None).await?;
    let merged = !args.concatenate && follow::is_ordered(&job);
    let Some(path) = &args.output else {
        follow::print_output(&client, job.id, merged).await?;
        return Ok(Exit::Ok);
    };
    save::save(client.output(&job.id.to_string(), merged, None).await?, path, |_| {}).await?;
    Ok(Exit::Ok)
}
