//! `hadoop`, as scripts that were written for Hadoop call it: `version`, `fs …` and `jar …streaming.jar …`. There is no JVM.
//!
//! Its one reader with exact wishes is mrjob's hadoop runner, which parses what is printed here; `docs/hadoop.md` says
//! what is supported. Paths are files of the coordinator's store ([`place`]), jobs are jobs with a command program.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use clap::Parser;
use gristmill_client::Client;
use gristmill_sdk::app::connect::Connect;
use gristmill_sdk::app::exit::{Exit, Usage};

mod fs;
mod jar;
mod place;
mod tree;

/// The release of Hadoop whose command line this is: mrjob writes other options for those before 2.
const RELEASE: &str = "3.3.6";

const USAGE: &str = "\
Usage: hadoop COMMAND
  version                                     print the version
  fs -ls|-du|-cat|-text|-put|-get|…           files of the coordinator's store
  jar hadoop-streaming.jar [options]          run a job of Hadoop Streaming

The coordinator is the one of GRISTMILL_URL and GRISTMILL_TOKEN, or the one on this machine.";

/// Finds the coordinator in the environment alone: the arguments are Hadoop's.
#[derive(Parser)]
struct Environment {
    #[command(flatten)]
    connect: Connect,
}

/// Returns the arguments if the program was called by a name of Hadoop's: `hadoop`, or `hdfs` for `hdfs dfs`.
pub(crate) fn called_as_hadoop(mut args: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = args.next()?;
    let name = Path::new(&program).file_name().and_then(OsStr::to_str);
    matches!(name, Some("hadoop" | "hdfs")).then(|| args.collect())
}

/// Does what a command line of Hadoop says.
pub(crate) async fn run(args: &[OsString]) -> Result<Exit> {
    let text = |arg: &OsString| arg.clone().into_string();
    let args: Vec<String> = args
        .iter()
        .map(text)
        .collect::<Result<_, _>>()
        .map_err(|arg| Usage(format!("an argument is not UTF-8: {}", arg.to_string_lossy())))?;
    let (command, rest) = args.split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    match command {
        "version" | "-version" | "--version" => version(),
        "fs" | "dfs" => fs::run(rest, client).await,
        "jar" => jar::run(rest, client).await,
        "" | "-h" | "-help" | "--help" => {
            say(USAGE);
            Ok(if command.is_empty() { Exit::Error } else { Exit::Ok })
        }
        other => Err(Usage(format!("`hadoop {other}` is not built: version, fs and jar are\n{USAGE}")).into()),
    }
}

/// Connects when the command line is known to be right.
fn client() -> Result<Client> {
    Environment::try_parse_from(["hadoop"])?.connect.client()
}

fn version() -> Result<Exit> {
    let own = env!("CARGO_PKG_VERSION");
    let text = format!(
        "Hadoop {RELEASE}\nthe streaming command line of that release, by Gristmill {own}; no JVM is behind it\n"
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Says something on stderr; a closed stderr is nobody's concern.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_named_hadoop_is_hadoop() {
        let called = |line: &[&str]| called_as_hadoop(line.iter().map(OsString::from));
        assert_eq!(called(&["/usr/bin/hadoop", "version"]), Some(vec!["version".into()]));
        assert_eq!(called(&["hdfs", "dfs", "-ls"]), Some(vec!["dfs".into(), "-ls".into()]));
        assert_eq!(called(&["/opt/hadoop/gristmill", "hadoop", "version"]), None);
        assert_eq!(called(&[]), None);
    }
}
