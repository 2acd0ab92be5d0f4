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
