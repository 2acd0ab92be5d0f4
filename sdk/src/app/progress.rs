//! What a person sees while a job runs: one bar per stage and a closing summary, on stderr only.
//!
//! Bars are drawn on a terminal alone; the summary always, unless quiet.

use std::io::{IsTerminal as _, Write as _};

use gristmill_common::api::{JobState, JobView, StageView};
pub use gristmill_common::quantity::{counted, grouped, size};
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
        if !self.quiet {
            self.warn(line);
        }
    }

    /// Says one line that a person has to know of, also when quiet: the job stands still until something is done.
    pub fn warn(&self, line: &str) {
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
            // A failure is an error, and those are said also when quiet.
            if job.failure.is_some() { self.warn(&line) } else { self.say(&line) }
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
            let hot = job.stages.iter().filter_map(|stage| stage.spread?.hot(stage.step));
            let retried: u64 = job.stages.iter().map(|stage| stage.failures + stage.losses).sum();
            let again =
                if retried == 0 { String::new() } else { format!(", {} tried again", counted(retried, "attempt")) };
            std::iter::once(line + &again).chain(hot).collect()
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
