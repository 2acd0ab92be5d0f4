//! `--format`: how lists and objects are printed on stdout.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

/// How to print.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// How to print: a table for people, JSON (a stable contract), JSON lines, or ids alone
    #[arg(long, value_enum, default_value_t = Kind::Table, global = true)]
    format: Kind,
}

/// The formats.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Columns.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document on each line.
    Jsonl,
    /// Ids alone, one on each line.
    Quiet,
}

impl Format {
    /// Whether a person reads it, and not a program.
    pub(crate) fn is_for_people(self) -> bool {
        self.format == Kind::Table
    }

    /// Prints a list: each item as a row of the table, in JSON, or by its id.
    pub(crate) fn list<T: Serialize>(
        self,
        items: &[T],
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        id: impl Fn(&T) -> String,
    ) -> Result<()> {
        match self.format {
            Kind::Table => say(&crate::table::render(header, items.iter().map(row))),
            Kind::Json => say(&serde_json::to_string_pretty(items)?),
            Kind::Jsonl => {
                for item in items {
                    say(&serde_json::to_string(item)?);
                }
            }
            Kind::Quiet => items.iter().for_each(|item| say(&id(item))),
        }
        Ok(())
    }

    /// Prints one object: as text for people, in JSON, or by its id.
    pub(crate) fn one<T: Serialize>(self, item: &T, text: impl Fn(&T) -> String, id: &str) -> Result<()> {
        match self.format {
            Kind::Table => say(&text(item)),
            Kind::Json => say(&serde_json::to_string_pretty(item)?),
            Kind::Jsonl => say(&serde_json::to_string(item)?),
            Kind::Quiet => say(id),
        }
        Ok(())
    }
}

/// Prints a line of results on stdout; a closed pipe ends the output, not the program.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
}
