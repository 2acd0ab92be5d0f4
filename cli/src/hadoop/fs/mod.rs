//! `hadoop fs`: the verbs that scripts use, on files of the coordinator's store.
//!
//! What goes wrong with one path is said as Hadoop says it (`rm: `x': No such file or directory`) and the others go on;
//! the exit code is 1 then.

mod list;
mod read;
mod write;

use std::io::Write as _;

use anyhow::Result;
use gristmill_client::Client;
use gristmill_sdk::app::exit::Exit;

use super::place::{Place, Where, alternatives, user};
use super::say;
use super::tree::{self, Found};

/// What Hadoop says of a path that is not there.
const MISSING: &str = "No such file or directory";

const VERBS: &str = "\
Usage: hadoop fs -VERB [options] PATH…
  -ls [-R] [-d]  -du [-s] [-h]  -count  -test -e|-d|-f|-z|-s
  -cat  -text  -tail  -get|-copyToLocal [-f]  -getmerge
  -put|-copyFromLocal|-moveFromLocal [-f]  -touchz  -mkdir [-p]  -cp [-f]  -mv
  -rm [-r|-R] [-f] [-skipTrash]  -rmr  -rmdir";

/// A verb that is being carried out.
struct Shell<'a> {
    client: &'a Client,
    user: String,
    verb: &'a str,
    flags: Vec<char>,
    failed: bool,
}

/// Carries out one `fs` command.
pub(super) async fn run(args: &[String], connect: impl FnOnce() -> Result<Client>) -> Result<Exit> {
    let Some(verb) = args.first().and_then(|verb| verb.strip_prefix('-')) else {
        say(VERBS);
        return Ok(Exit::Error);
    };
    let Some(known) = flags_of(verb) else {
        say(&format!("-{verb}: Unknown command\n{VERBS}"));
        return Ok(Exit::Error);
    };
    let (flags, paths) = match flags(&args[1..], known) {
        Ok(split) => split,
        Err(flag) => {
            say(&format!("-{verb}: Illegal option {flag}\n{VERBS}"));
            return Ok(Exit::Error);
        }
    };
    let client = connect()?;
    let mut shell = Shell { client: &client, user: user(), verb, flags, failed: false };
    shell.carry_out(paths).await?;
    Ok(if shell.failed { Exit::Error } else { Exit::Ok })
}

/// Returns the letters that a verb takes as options; `skipTrash` is `T`, of which there is none.
fn flags_of(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "ls" => "dhRCtSru",
        "lsr" | "cat" | "text" | "tail" | "touchz" | "rmdir" | "mv" | "count" => "",
        "du" => "shvx",
        "dus" => "",
        "test" => "edfzs",
        "mkdir" => "p",
        "put" | "copyFromLocal" | "moveFromLocal" => "fpld",
        "get" | "copyToLocal" => "fp",
        "getmerge" => "",
        "cp" => "fpd",
        "rm" => "rRfT",
        "rmr" => "T",
        _ => return None,
    })
}

/// Splits options from paths; the option that is not known comes back as an error.
fn flags<'a>(args: &'a [String], known: &str) -> Result<(Vec<char>, &'a [String]), String> {
    let mut flags = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        match arg.strip_prefix('-') {
            None | Some("") => return Ok((flags, &args[at..])),
            Some("-") => return Ok((flags, &args[at + 1..])),
            Some("skipTrash") if known.contains('T') => flags.push('T'),
            Some(letters) if letters.chars().all(|letter| letter != 'T' && known.contains(letter)) => {
                flags.extend(letters.chars());
            }
            Some(_) => return Err(arg.clone()),
        }
    }
    Ok((flags, &[]))
}

impl Shell<'_> {
    async fn carry_out(&mut self, paths: &[String]) -> Result<()> {
        let least = match self.verb {
            "ls" | "lsr" | "du" | "dus" => 0,
            "put" | "copyFromLocal" | "moveFromLocal" | "cp" | "mv" | "getmerge" => 2,
            _ => 1,
        };
        if paths.len() < least {
            self.say(&format!("Not enough arguments: expected {least} but got {}", paths.len()));
            return Ok(());
        }
        match self.verb {
            "ls" | "lsr" => self.ls(paths).await,
            "du" | "dus" => self.du(paths).await,
            "count" => self.count(paths).await,
            "test" => self.test(paths).await,
            "cat" | "text" | "tail" => self.cat(paths).await,
            "get" | "copyToLocal" => self.get(paths).await,
            "getmerge" => self.getmerge(paths).await,
            "put" | "copyFromLocal" | "moveFromLocal" => self.put(paths).await,
            "touchz" => self.touchz(paths).await,
            "mkdir" => self.mkdir(paths).await,
            "cp" | "mv" => self.copy(paths).await,
            _ => self.rm(paths).await,
        }
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }

    /// Says what is wrong and remembers that something is.
    fn say(&mut self, what: &str) {
        say(&format!("{}: {what}", self.verb));
        self.failed = true;
    }

    /// Says what is wrong with one path.
    fn complain(&mut self, path: &str, what: &str) {
        self.say(&format!("`{path}': {what}"));
    }

    /// Reads a path of the store; a path that is none is said.
    fn place(&mut self, text: &str) -> Option<Place> {
        match Where::parse(text, &self.user) {
            Ok(Where::Store(place)) => return Some(place),
            Ok(Where::Local(_)) => self.complain(text, "is a file of this machine; this verb is for hdfs:// paths"),
            Err(why) => self.say(&why),
        }
        None
    }

    /// Finds what the paths name, wildcards resolved; those that name nothing are said.
    async fn find(&mut self, paths: &[String]) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for path in paths {
            let mut found = Vec::new();
            for text in alternatives(path) {
                let Some(place) = self.place(&text) else { return Ok(all) };
                found.extend(tree::matching(self.client, &place).await?);
            }
            if found.is_empty() && !(self.verb.starts_with("rm") && self.has('f')) {
                self.complain(path, MISSING);
            }
            all.extend(found);
        }
        Ok(all)
    }
}

/// Writes to stdout; a reader that left is no error.
fn print(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_end_at_the_first_path() {
        let args = words("-R -f -skipTrash hdfs:///a -r");
        let (set, paths) = flags(&args, "rRfT").expect("known");
        assert_eq!((set, paths), (vec!['R', 'f', 'T'], &args[3..]));
        assert_eq!(flags(&words("-x a"), "rRfT"), Err("-x".to_owned()));
        assert_eq!(flags(&words("- a"), "f").expect("stdin").1, ["-", "a"]);
        assert_eq!(flags(&words("-sh a"), "sh").expect("letters").0, ['s', 'h']);
    }
}
