//! `grep PATTERN`: finds the lines that a regular expression matches.
//!
//! Output: `file URL TAB byte offset of the line TAB line`, sorted by file and offset when the step has a reduce stage, in
//! the order of the input when it is map-only. The expression sees one line at a time, without its line feed; a carriage
//! return belongs to the line. Lines need not be UTF-8.

use anyhow::{Context, Result, bail};
use memchr::{memchr, memrchr};
use regex::bytes::{Regex, RegexBuilder};

use crate::typed::{BlockMapper, Emit, Job, Start};

struct Grep {
    /// Matches within one line.
    line: Regex,
    /// Finds candidates in a whole block; absent where that could overlook a line.
    block: Option<Regex>,
    /// File and offset, kept to save an allocation per hit.
    key: (String, u64),
}

impl Grep {
    fn new(args: &[String]) -> Result<Self> {
        let [pattern] = args else {
            bail!("one argument is expected, a regular expression; {} were given", args.len());
        };
        let build = |multi_line: bool| {
            RegexBuilder::new(pattern).multi_line(multi_line).unicode(true).build().context("not a regular expression")
        };
        let block = if sees_the_ends(pattern) { None } else { Some(build(true)?) };
        Ok(Self { line: build(false)?, block, key: (String::new(), 0) })
    }

    fn check(&mut self, line: &[u8], offset: u64, out: &mut Emit<'_, (String, u64), [u8]>) {
        if self.line.is_match(line) {
            self.key.1 = offset;
            out.emit(&self.key, line);
        }
    }
}

/// Says whether the expression may tell the end of a line from the end of the text: `^` and `$` do not once they match at
/// lines (multi-line mode), `\A` and `\z` do, and so may flags that change the mode inside.
fn sees_the_ends(pattern: &str) -> bool {
    let flags = pattern.split("(?").skip(1).map(|rest| rest.split([':', ')', '<', 'P']).next().unwrap_or(rest));
    pattern.contains(r"\A") || pattern.contains(r"\z") || flags.into_iter().any(|flags| flags.contains(['m', 'R']))
}

impl BlockMapper for Grep {
    type Key = (String, u64);
    type Value = [u8];

    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        start.name.clone_into(&mut self.key.0);
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Emit<'_, (String, u64), [u8]>) -> Result<()> {
        let offset = out.offset();
        let mut at = 0;
        while at < block.len() {
            let hit = match &self.block {
                Some(regex) => match regex.find(&block[at..]) {
                    Some(found) => at + found.start(),
                    None => break,
                },
                None => at,
            };
            let start = memrchr(b'\n', &block[at..hit]).map_or(at, |before| at + before + 1);
            let end = memchr(b'\n', &block[hit..]).map_or(block.len(), |end| hit + end);
            // A match behind the last line feed is on no line.
            if start < block.len() {
                self.check(&block[start..end], offset + start as u64, out);
            }
            at = end + 1;
        }
        Ok(())
    }
}

/// Makes the job.
#[must_use]
pub fn grep() -> Job {
    Job::try_map_blocks(Grep::new).into()
}

#[cfg(test)]
mod tests {
    use gristmill_worker::program::Program;

    use super::*;
    use crate::typed::tests::run;

    const TEXT: &str = "one fish\ntwo fish\r\n\nred  fish\nblue\nfish";

    /// What line by line matching finds: offsets of lines.
    fn model(pattern: &str) -> Vec<String> {
        let regex = Regex::new(pattern).expect("a regular expression");
        let mut offset = 0;
        let mut found = Vec::new();
        for line in TEXT.split_inclusive('\n') {
            let text = line.strip_suffix('\n').unwrap_or(line);
            if regex.is_match(text.as_bytes()) {
                found.push(format!("file:///a\t{offset}\t{text}"));
            }
            offset += line.len();
        }
        found
    }

    #[test]
    fn blocks_find_what_lines_find() {
        let patterns = [
            "fish",
            "^fish$",
            "^",
            "$",
            "^$",
            "",
            "x*",
            "fish$",
            r"fish\r$",
            r"\s+",
            r"\sfish",
            r"e\s",
            r"[^a]fish",
            r"\Aone",
            r"h\z",
            r"(?i)RED",
            "(?-m)^two",
            r"(?s)o.*e",
            "(?m)^blue$",
            r"\bfish\b",
            "nothing",
            r"d\s+\S+\nblue",
            r"\n",
            "(?P<all>.+)",
        ];
        for pattern in patterns {
            let parts = run(&grep(), &[pattern], &[("file:///a", TEXT)], |step| step.reduces = 0).expect("done");
            let found: Vec<_> = parts[0].split_terminator('\n').map(str::to_owned).collect();
            assert_eq!(found, model(pattern), "{pattern}");
            let parts = run(&grep(), &[pattern], &[("file:///a", TEXT)], |step| step.reduces = 1).expect("done");
            let found: Vec<_> = parts[0].split_terminator('\n').map(str::to_owned).collect();
            assert_eq!(found, model(pattern), "{pattern}, reduced");
        }
    }

    #[test]
    fn a_bad_pattern_is_said_before_any_task_runs() {
        let check = |args: &[&str]| grep().check(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(check(&["fi.h"]), Ok(()));
        assert!(check(&["("]).expect_err("unclosed").starts_with("not a regular expression"));
        assert!(check(&[]).expect_err("no pattern").contains("one argument"));
        assert!(check(&["a", "b"]).expect_err("two").contains("2 were given"));
    }
}
