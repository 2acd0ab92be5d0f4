//! `dev`: coordinator, store and workers in one process, for trying things out: a real port, real executors, one Ctrl-C.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use gristmill_common::limits;
use gristmill_coordinator::config::DEFAULT_PORT;
use gristmill_sdk::app::exit::Exit;
use gristmill_sdk::app::{processors, signals};
use gristmill_sdk::embedded::{Embedded, EmbeddedConfig, Serve};
use gristmill_worker::Programs;

/// Arguments of `dev`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill dev                         everything is deleted at the end
  gristmill dev --data-dir ./mill       jobs, outputs and tokens are there the next time
Then, in another terminal:
  gristmill submit --mapper ./mapper.py --reducer ./reducer.py 'books/*.txt'")]
pub(crate) struct DevArgs {
    /// Port to listen on, 0 for any that is free
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,

    /// Where jobs, outputs and tokens are kept; a temporary directory when left out
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Tasks run at a time; one per processor when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::SLOTS)))]
    slots: Option<u32>,

    /// Directory from which jobs may read inputs and into which they may write outputs, besides this one; may be repeated
    #[arg(long, value_name = "DIR")]
    allow_path: Vec<PathBuf>,
}

/// Runs everything until Ctrl-C.
pub(crate) async fn run(args: &DevArgs, programs: Programs) -> Result<Exit> {
    let here = std::env::current_dir().context("the current directory cannot be told")?;
    let mut roots = vec![here];
    roots.extend(args.allow_path.iter().cloned());
    let data_dir = args.data_dir.as_ref().map(std::path::absolute).transpose()?;
    let listen = (Ipv4Addr::LOCALHOST, args.port).into();
    let serve = Some(Serve { listen, data_dir });
    let config = EmbeddedConfig { roots, slots: args.slots, serve };
    let mut embedded = Embedded::start(config, programs).await?;
    // A closed standard error must not keep it from running.
    let _ = std::io::stderr().write_all(greeting(args, &embedded).as_bytes());
    tokio::select! {
        () = signals::stop() => {
            embedded.stop().await;
            Ok(Exit::Ok)
        }
        error = embedded.failed() => Err(error),
    }
}

fn greeting(args: &DevArgs, embedded: &Embedded) -> String {
    let coordinator = embedded.coordinator();
    let (url, data) = (coordinator.url(), embedded.data_dir());
    let slots = args.slots.unwrap_or_else(processors);
    let kept = if args.data_dir.is_some() { "kept" } else { "deleted at the end; --data-dir DIR keeps it" };
    let found = if coordinator.address().port() == DEFAULT_PORT {
        String::new()
    } else {
        format!("export GRISTMILL_URL={url}\n  ")
    };
    format!(
        "{url}, {slots} slots\n\
         data   {} ({kept})\n\
         token  {} (commands of this user find it by themselves)\n\
         next, in another terminal:\n  \
           {found}gristmill submit word-count FILES…\n\
         Ctrl-C ends all\n",
        data.display(),
        data.join("client.token").display(),
    )
}
