//! What a person sees while a job runs: one bar per stage and a closing summary, on stderr only.
//!
//! Bars are drawn on a terminal alone; the summary always, unless quiet.

use std::io::{IsTerminal as _, Write as _};

use gristmill_common::api::{JobState, JobView, StageView};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shows a job's progress.
pub struct Progress {
    bars: Option<Bars>,
    quiet: bool,
    /// Whether the job can be asked for after this command.
    has_server: bool,
}

struct Bars {
    all: MultiProgress,
    stages: Vec<ProgressBar>,
}

impl Progress {
    /// Makes a display that says nothing if `quiet`, and draws bars if stderr is a terminal.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let draws = !quiet && std::io::stderr().is_terminal();
        Self { bars: draws.then(|| Bars { all: MultiProgress::new(), stages: Vec::new() }), quiet, has_server: true }
    }

    /// Leaves out advice that needs a coordinator that goes on.
    #[must_use]
    pub fn without_server(self) -> Self {
        Self { has_server: false, ..self }
    }

    /// Says one line, above the bars.
    pub fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        match &self.bars {
            Some(bars) => drop(bars.all.println(line)),
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// Draws where the job is.
    pub fn show(&mut self, job: &JobView) {
        let Some(bars) = &mut self.bars else { return };
        for (index, stage) in job.stages.iter().enumerate() {
            if bars.stages.len() == index {
                let bar = ProgressBar::new(1000).with_style(style());
                bars.stages.push(bars.all.add(bar));
            }
            let bar = &bars.stages[index];
            bar.set_prefix(format!("{:<8}", stage_name(stage, job.stages.len() > 2)));
            bar.set_position(u64::from(stage.progress_permille));
            bar.set_message(stage_message(stage));
        }
    }

    /// Takes the bars away and says how the job ended.
    pub fn close(&mut self, job: &JobView) {
        if let Some(bars) = self.bars.take() {
            for bar in &bars.stages {
                bar.finish_and_clear();
            }
        }
        for line in summary(job, self.has_server) {
            self.say(&line);
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix} {bar:30} {percent:>3}% {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn stage_name(stage: &StageView, many_steps: bool) -> String {
    if many_steps { format!("{}.{}", stage.step, stage.stage) } else { stage.stage.to_string() }
}

fn stage_message(stage: &StageView) -> String {
    let mut message = format!("{}/{} tasks, {} running", stage.won, stage.tasks, stage.running);
    if stage.failures > 0 {
        message.push_str(&format!(", {} failed", stage.failures));
    }
    if stage.losses > 0 {
        message.push_str(&format!(", {} lost", stage.losses));
    }
    message
}

fn summary(job: &JobView, has_server: bool) -> Vec<String> {
    let seconds = job.elapsed_ms as f64 / 1000.0;
    match (&job.state, &job.output, &job.failure) {
        (JobState::Succeeded, Some(output), _) => {
            let read = job.stages.first().map_or(0, |stage| stage.records_in);
            let (input, made) = (size(job.input.bytes), size(output.bytes));
            let line = format!(
                "{}: {} ({input}) in, {} ({made}) out, {seconds:.2} s",
                job.name,
                counted(read, "record"),
                counted(output.records, "record"),
            );
            let retried: u64 = job.stages.iter().map(|stage| stage.failures + stage.losses).sum();
            if retried == 0 { vec![line] } else { vec![format!("{line}, {} tried again", counted(retried, "attempt"))] }
        }
        (JobState::Failed, _, Some(failure)) => {
            let mut lines = vec![format!("{}: failed after {seconds:.2} s: {}", job.name, failure.message)];
            let about = failure.task.map_or(String::new(), |task| format!(" --task {task}"));
            lines.extend(has_server.then(|| format!("next: gristmill job explain {}{about}", job.id)));
            lines
        }
        (state, ..) => vec![format!("{}: {} after {seconds:.2} s", job.name, state.word())],
    }
}

/// Writes bytes for people, in binary units.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Writes how many there are: `1 file`, `48,587 records`.
#[must_use]
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Writes a number with its thousands apart: `48,587`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([grouped(7), grouped(48587), grouped(1_000_000)], ["7", "48,587", "1,000,000"]);
        assert_eq!([size(12), size(1536), size(5 << 30)], ["12 B", "1.5 KiB", "5.0 GiB"]);
    }
}
