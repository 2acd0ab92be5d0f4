//! `join`: the lines of two inputs that have a key in common, as `join` and SQL have it; nothing has to be sorted before.
//!
//! Output: key, the other fields of the left line, the other fields of the right line, sorted by key within a part; lines of
//! one key in the order of the left input, then of the right. Inputs are told apart by their tags. A key's right lines come
//! first and are kept, its left lines pass by: memory is bounded by the right lines of one key.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gristmill_common::format::InputFormat;
use gristmill_common::spec::{JOIN, LEFT, RIGHT, StepSpec};
use gristmill_common::{Reason, limits, quantity};
use gristmill_worker::program::ReadFailed;

use super::columns::separator;
use super::flags::{Flags, read};
use crate::codec::Grouped;
use crate::typed::{Emit, Job, Lines, Mapper, Reducer, Start, Values};

/// Which lines come out.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    /// Pairs of lines with the same key
    Inner,
    /// Pairs, and left lines without a right one (join -a 1)
    Left,
    /// Pairs, and right lines without a left one (join -a 2)
    Right,
    /// Pairs, and lines of either side without another (join -a 1 -a 2)
    Full,
    /// Left lines that have a right one, each once: their key, then their other fields
    Semi,
    /// Left lines that have none (join -v 1), in the same form
    Anti,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Right => "right",
            Self::Full => "full",
            Self::Semi => "semi",
            Self::Anti => "anti",
        }
    }

    /// Whether pairs are printed, and so right lines kept.
    fn is_of_pairs(self) -> bool {
        !matches!(self, Self::Semi | Self::Anti)
    }
}

#[derive(Args, Debug)]
pub(super) struct JoinFlags {
    /// The right input: files, directories, globs in quotes, URLs, or `-` for standard input
    #[arg(long = "with", value_name = "RIGHT", id = "join_with", num_args = 1.., required = true)]
    with: Vec<String>,

    #[command(flatten)]
    rule: RuleFlags,
}

/// What the program is told.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
struct RuleFlags {
    /// Fields of a left line that are its key: `2`, or `1,3`, counted from 1
    #[arg(short = '1', long = "left-key", value_name = "FIELDS", id = "join_left", default_value = "1")]
    left: String,

    /// Fields of a right line that are its key, as many
    #[arg(short = '2', long = "right-key", value_name = "FIELDS", id = "join_right", default_value = "1")]
    right: String,

    /// Between fields; `\t` is a tab [default: a tab]
    #[arg(short = 't', long = "field-separator", short_alias = 'd', value_name = "SEP", id = "join_separator")]
    separator: Option<String>,

    /// Which lines come out
    #[arg(long = "type", value_name = "TYPE", id = "join_type", default_value = "inner")]
    kind: Type,

    /// How many fields left and right lines have: those that a line without another lacks are then filled in
    #[arg(long = "columns", value_name = "LEFT,RIGHT", id = "join_columns", value_parser = columns)]
    columns: Option<(usize, usize)>,

    /// What is filled in with --columns [default: nothing between the separators]
    #[arg(short = 'e', long = "empty", value_name = "TEXT", id = "join_empty", requires = "join_columns")]
    empty: Option<String>,

    /// Most bytes of one key's right lines that are kept in memory
    #[arg(long = "buffer", value_name = "BYTES", id = "join_buffer", value_parser = quantity::bytes)]
    buffer: Option<u64>,
}

fn columns(text: &str) -> Result<(usize, usize), String> {
    let both = text.split_once(',').and_then(|(left, right)| Some((left.parse().ok()?, right.parse().ok()?)));
    both.ok_or_else(|| "two numbers are expected, as in 3,2".to_owned())
}

impl RuleFlags {
    fn args(&self) -> Vec<String> {
        let mut args = vec![format!("--left-key={}", self.left), format!("--right-key={}", self.right)];
        args.extend(self.separator.iter().map(|separator| format!("--field-separator={separator}")));
        args.push(format!("--type={}", self.kind.word()));
        args.extend(self.columns.iter().map(|(left, right)| format!("--columns={left},{right}")));
        args.extend(self.empty.iter().map(|empty| format!("--empty={empty}")));
        args.extend(self.buffer.iter().map(|bytes| format!("--buffer={bytes}")));
        args
    }

    fn rule(&self) -> Result<Rule> {
        let separator = separator(self.separator.as_deref());
        ensure!(!separator.is_empty(), "an empty separator is between no fields");
        let keys = [key(&self.left)?, key(&self.right)?];
        ensure!(
            keys[0].len() == keys[1].len(),
            "the key has {} fields on the left and {} on the right: give -1 and -2 as many",
            keys[0].len(),
            keys[1].len()
        );
        if let Some((left, right)) = self.columns {
            for (columns, key) in [(left, &keys[0]), (right, &keys[1])] {
                let last = key.iter().max().map_or(0, |last| last + 1);
                ensure!(columns >= last, "--columns says {columns} fields, and field {last} is of the key");
            }
        }
        Ok(Rule { keys, separator, columns: self.columns.map(|(left, right)| [left, right]) })
    }
}

/// Reads fields of a key; they are counted from 0 then.
fn key(text: &str) -> Result<Vec<usize>> {
    let field = |text: &str| text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let fields: Option<Vec<usize>> = text.split(',').map(field).collect();
    let fields = fields.with_context(|| format!("`{text}` is no key: 2 and 1,3 are, counted from 1"))?;
    let once = fields.iter().enumerate().all(|(at, field)| !fields[..at].contains(field));
    ensure!(once, "`{text}` has a field twice");
    Ok(fields)
}

impl Flags for JoinFlags {
    const NAME: &'static str = JOIN;
    const ABOUT: &'static str = "Join two inputs by a key: the lines of both that have it in common";
    // Behind --with every word is of the right input.
    const USAGE: Option<&'static str> = Some("[OPTIONS] <LEFT>... --with <RIGHT>...");
    const EXAMPLES: &'static str = "\
Examples:
  gristmill run join orders.tsv --with people.tsv -1 2 -2 1 -o named.tsv
                                                           each order with its person: order's field 2 is person's field 1
  gristmill run join -t , 'orders/*.csv' --with people.csv --type left --columns 3,2 -e NULL
                                                           orders without a person too, with NULL in its place
  gristmill run join -t , all.csv --with seen.csv --type anti
                                                           what is not in seen.csv yet

A line comes out as its key, the other left fields, the other right fields (as join does; the inputs need not be sorted).
Keys compare as bytes; a line that lacks the field has an empty key. Without --columns, a line without another is its key
and its own fields. The right lines of one key are kept in memory, up to --buffer (64 MiB): the input with fewer lines for
each key goes behind --with. In a job spec: inputs [{\"url\": …, \"tag\": \"left\"}, {\"url\": …, \"tag\": \"right\"}] and
{\"native\": \"join\", \"args\": [\"--left-key=2\", \"--type=left\"]}.";

    fn steps(&self, _: &InputFormat) -> Result<Vec<StepSpec>, String> {
        self.rule.rule().map_err(|error| error.to_string())?;
        Ok(vec![StepSpec { args: self.rule.args(), ..StepSpec::native(JOIN) }])
    }

    fn right(&self) -> &[String] {
        &self.with
    }
}

/// Which side a line is of; right lines sort first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn order(self) -> u16 {
        match self {
            Self::Right => 0,
            Self::Left => 1,
        }
    }

    /// Index into what there is for each.
    fn index(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Right => 1,
        }
    }
}

/// How lines are taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    /// Fields of the key: left, right.
    keys: [Vec<usize>; 2],
    separator: Vec<u8>,
    columns: Option<[usize; 2]>,
}

/// Makes keyed records of lines.
struct Sides {
    rule: Rule,
    side: Side,
    key: Grouped<Vec<u8>, u16>,
    /// The fields that are not of the key, each behind a separator.
    rest: Vec<u8>,
    /// Where each field of a line starts and ends.
    bounds: Vec<(usize, usize)>,
}

impl Sides {
    fn new(args: &[String]) -> Result<Self> {
        let rule = read::<RuleFlags>(args)?.rule()?;
        Ok(Self { rule, side: Side::Left, key: Grouped::default(), rest: Vec::new(), bounds: Vec::new() })
    }

    fn find_bounds(&mut self, line: &[u8]) {
        let Self { rule, bounds, .. } = self;
        bounds.clear();
        let mut start = 0;
        let mut push = |end: usize| {
            bounds.push((start, end));
            start = end + rule.separator.len();
        };
        match rule.separator.as_slice() {
            [byte] => memchr::memchr_iter(*byte, line).for_each(&mut push),
            separator => memchr::memmem::find_iter(line, separator).for_each(&mut push),
        }
        push(line.len());
    }

    fn take_apart(&mut self, line: &[u8]) -> Result<()> {
        self.find_bounds(line);
        let (bounds, fields) = (&self.bounds, &self.rule.keys[self.side.index()]);
        if let Some(columns) = self.rule.columns {
            let (columns, here) = (columns[self.side.index()], bounds.len());
            if columns != here {
                let message = format!("the line has {here} fields, --columns says {columns}");
                return Err(ReadFailed(Reason::BadRecord { message, at: None }).into());
            }
        }
        let Grouped(key, side) = &mut self.key;
        key.clear();
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                key.extend_from_slice(&self.rule.separator);
            }
            let (start, end) = bounds.get(*field).copied().unwrap_or_default();
            key.extend_from_slice(&line[start..end]);
        }
        *side = self.side.order();
        self.rest.clear();
        for (index, &(start, end)) in bounds.iter().enumerate().filter(|(index, _)| !fields.contains(index)) {
            debug_assert!(index < bounds.len());
            self.rest.extend_from_slice(&self.rule.separator);
            self.rest.extend_from_slice(&line[start..end]);
        }
        Ok(())
    }
}

impl Mapper for Sides {
    type Key = Grouped<Vec<u8>, u16>;
    type Value = [u8];

    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        self.side = match start.tag {
            Some(LEFT) => Side::Left,
            Some(RIGHT) => Side::Right,
            Some(tag) => bail!("a join reads inputs tagged `{LEFT}` and `{RIGHT}`: {} has the tag `{tag}`", start.name),
            None => bail!("a join reads inputs tagged `{LEFT}` and `{RIGHT}`: {} has no tag", start.name),
        };
        Ok(())
    }

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, Self::Key, [u8]>) -> Result<()> {
        self.take_apart(line)?;
        out.emit(&self.key, &self.rest);
        Ok(())
    }
}

/// Pairs the lines of each key.
struct Pairs {
    kind: Type,
    buffer_bytes: usize,
    /// What an unpaired line lacks, behind it and before it.
    missing_right: Vec<u8>,
    missing_left: Vec<u8>,
    right: Kept,
    line: Vec<u8>,
}

/// Lines of one key.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Kept {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

impl Pairs {
    fn new(args: &[String]) -> Result<Self> {
        let flags = read::<RuleFlags>(args)?;
        let rule = flags.rule()?;
        let empty = flags.empty.as_deref().unwrap_or_default();
        let missing = |side: Side| {
            let columns = rule.columns.map_or(0, |columns| columns[side.index()] - rule.keys[side.index()].len());
            [rule.separator.as_slice(), empty.as_bytes()].concat().repeat(columns)
        };
        let (missing_left, missing_right) = (missing(Side::Left), missing(Side::Right));
        let buffer_bytes = usize::try_from(flags.buffer.unwrap_or(limits::JOIN_BUFFER_BYTES)).unwrap_or(usize::MAX);
        let (kind, right, line) = (flags.kind, Kept::default(), Vec::new());
        Ok(Self { kind, buffer_bytes, missing_right, missing_left, right, line })
    }

    fn keep(&mut self, key: &[u8], line: &[u8]) -> Result<()> {
        self.right.push(line);
        if self.right.size() > self.buffer_bytes {
            let (lines, most) = (self.right.ends.len(), self.buffer_bytes);
            let key = String::from_utf8_lossy(&key[..key.len().min(100)]);
            bail!(
                "the right lines of the key `{key}` need more than {most} bytes of memory, {lines} of them so far: put the \
                 input with fewer lines for each key behind --with, or raise --buffer"
            );
        }
        Ok(())
    }
}

fn print(line: &mut Vec<u8>, parts: [&[u8]; 3], out: &mut Lines<'_>) {
    line.clear();
    parts.into_iter().for_each(|part| line.extend_from_slice(part));
    out.line(line.as_slice());
}

impl Reducer for Pairs {
    type Key = Grouped<Vec<u8>, u16>;
    type Value = [u8];

    fn reduce(&mut self, key: Cow<'_, [u8]>, values: &mut Values<'_, [u8]>, out: &mut Lines<'_>) -> Result<()> {
        self.right.clear();
        let (mut has_left, mut has_right) = (false, false);
        while let Some((side, rest)) = values.next_ordered::<u16>() {
            if side == Side::Right.order() {
                has_right = true;
                if self.kind.is_of_pairs() {
                    self.keep(&key, rest)?;
                }
                continue;
            }
            has_left = true;
            match (self.kind, has_right) {
                // Nothing of this key comes out.
                (Type::Inner | Type::Right | Type::Semi, false) | (Type::Anti, true) => break,
                (Type::Left | Type::Full | Type::Anti, false) => {
                    let missing: &[u8] = if self.kind == Type::Anti { &[] } else { &self.missing_right };
                    print(&mut self.line, [&key, rest, missing], out);
                }
                (Type::Semi, true) => print(&mut self.line, [&key, rest, &[]], out),
                (Type::Inner | Type::Left | Type::Right | Type::Full, true) => {
                    for right in self.right.lines() {
                        print(&mut self.line, [&key, rest, right], out);
                    }
                }
            }
        }
        if !has_left && matches!(self.kind, Type::Right | Type::Full) {
            for right in self.right.lines() {
                print(&mut self.line, [&key, &self.missing_left, right], out);
            }
        }
        Ok(())
    }
}

/// Makes the job.
#[must_use]
pub fn join() -> Job {
    Job::try_map(Sides::new).try_reduce(Pairs::new).into()
}

#[cfg(test)]
mod tests;
