//! What a workload gave: medians and ratios as a table, and everything as JSON.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use comfy_table::Table;
use gristmill_common::Digest;
use serde::Serialize;

use crate::measure::Taken;

/// A workload's rows.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) workload: String,
    pub(crate) input: String,
    pub(crate) rows: Vec<Row>,
}

/// One contender's rounds.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) taken: Vec<Taken>,
    pub(crate) output: Option<Digest>,
    /// What is said beside the times, such as tasks per second.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), taken: Vec::new(), output: None, note: String::new() }
    }

    /// Keeps what it made, which must be the same in every round.
    pub(crate) fn see(&mut self, output: Digest) -> Result<()> {
        ensure!(self.output.is_none_or(|before| before == output), "{} made two different outputs", self.name);
        self.output = Some(output);
        Ok(())
    }

    fn median(&self, of: impl Fn(&Taken) -> f64) -> f64 {
        let mut values: Vec<f64> = self.taken.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => values[n / 2],
            n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
        }
    }

    /// Median seconds.
    pub(crate) fn wall(&self) -> f64 {
        self.median(|taken| taken.wall_s)
    }
}

impl Report {
    /// Names two contenders whose outputs differ.
    pub(crate) fn disagreement(&self) -> Option<(&str, &str)> {
        let first = self.rows.iter().find(|row| row.output.is_some())?;
        let other = self.rows.iter().find(|row| row.output.is_some() && row.output != first.output)?;
        Some((&first.name, &other.name))
    }

    /// Prints the table, fastest first, with ratios to the yardstick or else to the first row.
    #[expect(clippy::print_stdout, reason = "the table is the result")]
    pub(crate) fn print(&self) {
        let yardstick = self.rows.iter().find(|row| row.name == "yardstick").or(self.rows.first()).map(Row::wall);
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header([&self.workload, "wall s (median, min-max)", "CPU s", "peak MiB", "ratio", "note"]);
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.wall().total_cmp(&b.wall()));
        for row in rows {
            let walls = row.taken.iter().map(|taken| taken.wall_s);
            let (least, most) =
                walls.fold((f64::MAX, 0.0_f64), |(least, most), wall| (least.min(wall), most.max(wall)));
            table.add_row([
                row.name.clone(),
                format!("{:.3} ({least:.3}-{most:.3})", row.wall()),
                format!("{:.2}", row.median(|taken| taken.cpu_s)),
                format!("{:.0}", row.median(|taken| taken.peak_bytes as f64) / f64::from(1 << 20)),
                format!("{:.2}", row.wall() / yardstick.unwrap_or(f64::NAN)),
                row.note.clone(),
            ]);
        }
        println!("\n{} on {}\n\n{table}", self.workload, self.input);
    }

    /// Adds the report to a file as one line of JSON.
    pub(crate) fn append(&self, path: &Path) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(file.write_all(&line)?)
    }
}
