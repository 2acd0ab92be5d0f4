//! What `hadoop jar` says on stderr, in the words and the log format that scripts look for.
//!
//! mrjob takes every line apart as `TIME LEVEL LOGGER: MESSAGE`; a line that is not so belongs to the message before it,
//! and that is how the counters come, and the traceback of a failed task. So nothing is said here in any other form.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gristmill_common::api::{JobView, StageView};
use gristmill_common::{JobId, Reason, Stage};

use crate::hadoop::say;
use crate::table::harmless;

/// Says what happens to a job.
#[derive(Default)]
pub(super) struct Narrator {
    percent: Option<(u16, u16)>,
}

/// A failed attempt, as far as its user wants to know.
pub(super) struct FailedAttempt<'a> {
    pub(super) job: JobId,
    pub(super) stage: Stage,
    pub(super) task: u32,
    pub(super) fence: u64,
    pub(super) reason: &'a Reason,
    /// The end of what it wrote to stderr.
    pub(super) log: &'a str,
}

impl Narrator {
    /// Says a line that is good to know.
    pub(super) fn info(&self, logger: &str, message: &str) {
        line("INFO", logger, message);
    }

    /// Says a line that is of concern.
    pub(super) fn warn(&self, logger: &str, message: &str) {
        line("WARN", logger, message);
    }

    /// Says what ended the command.
    pub(super) fn error(&self, message: &str) {
        line("ERROR", "streaming.StreamJob", message);
        say("Streaming Command Failed!");
    }

    /// Says that a job is there.
    pub(super) fn submitted(&self, job: &JobView) {
        let numbers = job.id.hadoop_numbers();
        self.info("impl.YarnClientImpl", &format!("Submitted application application_{numbers}"));
        self.info("mapreduce.Job", &format!("The job in Gristmill: {} (gristmill job show {0})", job.id));
        self.info("mapreduce.Job", &format!("Running job: job_{numbers}"));
    }

    /// Says how far the maps and the reduces are, when that changed.
    pub(super) fn progress(&mut self, job: &JobView) {
        let percent = |stage| {
            let stages: Vec<_> = job.stages.iter().filter(|view| view.stage == stage).collect();
            let sum: u32 = stages.iter().map(|view| u32::from(view.progress_permille)).sum();
            u16::try_from(sum / 10 / u32::try_from(stages.len().max(1)).unwrap_or(1)).unwrap_or(100)
        };
        let now = (percent(Stage::Map), percent(Stage::Reduce));
        if !job.stages.is_empty() && self.percent != Some(now) {
            self.percent = Some(now);
            self.info("mapreduce.Job", &format!(" map {}% reduce {}%", now.0, now.1));
        }
    }

    /// Says that an attempt failed, and why.
    pub(super) fn failed_attempt(&self, attempt: &FailedAttempt<'_>) {
        let FailedAttempt { job, stage, task, fence, reason, log } = attempt;
        let letter = if *stage == Stage::Map { 'm' } else { 'r' };
        let id = format!("attempt_{}_{letter}_{task:06}_{fence}", job.hadoop_numbers());
        let mut message = format!("Task Id : {id}, Status : FAILED\nError: {}", harmless(&reason.to_string()));
        for line in log.lines() {
            let _ = write!(message, "\n{}", harmless(line));
        }
        self.info("mapreduce.Job", &message);
    }

    /// Says how a job ended, with its counters.
    pub(super) fn ended(&mut self, job: &JobView, is_success: bool) {
        self.progress(job);
        let name = format!("job_{}", job.id.hadoop_numbers());
        if is_success {
            self.info("mapreduce.Job", &format!("Job {name} completed successfully"));
        } else {
            let why =
                job.failure.as_ref().map_or_else(|| job.state.word().to_owned(), |failure| failure.message.clone());
            let state = if job.failure.is_some() { "FAILED" } else { "KILLED" };
            self.info("mapreduce.Job", &format!("Job {name} failed with state {state} due to: {}", harmless(&why)));
        }
        self.info("mapreduce.Job", &counters(job));
    }
}

fn line(level: &str, logger: &str, message: &str) {
    let now = jiff::Timestamp::now().to_string();
    let (day, time) = now.split_once('T').unwrap_or((&now, ""));
    let time = time.get(..8).unwrap_or("00:00:00");
    say(&format!("{day} {time} {level} {logger}: {message}"));
}

/// Writes counters as Hadoop does: how many, and under each group, indented, its own.
fn counters(job: &JobView) -> String {
    let mut groups: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    let mut add = |group: &str, name: &str, value: u64| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        groups.entry(group.to_owned()).or_default().push((name.to_owned(), value));
    };
    let of = |stage| job.stages.iter().filter(move |view| view.stage == stage).collect::<Vec<&StageView>>();
    let sum = |views: &[&StageView], what: fn(&StageView) -> u64| views.iter().map(|view| what(view)).sum::<u64>();
    for (stage, capital, small) in [(Stage::Map, "Map", "map"), (Stage::Reduce, "Reduce", "reduce")] {
        let views = of(stage);
        if views.is_empty() {
            continue;
        }
        add(
            "Job Counters",
            &format!("Launched {small} tasks"),
            sum(&views, |view| u64::from(view.tasks) + view.failures),
        );
        add("Job Counters", &format!("Failed {small} tasks"), sum(&views, |view| view.failures));
        add("Map-Reduce Framework", &format!("{capital} input records"), sum(&views, |view| view.records_in));
        add("Map-Reduce Framework", &format!("{capital} output records"), sum(&views, |view| view.records_out));
    }
    add("File Input Format Counters", "Bytes Read", job.input.bytes);
    if let Some(output) = &job.output {
        add("File Output Format Counters", "Bytes Written", output.bytes);
    }
    for (name, value) in &job.counters {
        let (group, name) = name.split_once(':').unwrap_or(("Gristmill", name));
        groups.entry(harmless(group)).or_default().push((harmless(name), *value));
    }
    let count: usize = groups.values().map(Vec::len).sum();
    let mut text = format!("Counters: {count}");
    for (group, counters) in groups {
        let _ = write!(text, "\n\t{group}");
        for (name, value) in counters {
            let _ = write!(text, "\n\t\t{name}={value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_grouped_and_counted() {
        let job: JobView = serde_json::from_value(serde_json::json!({
            "id": "019d21c3-1800-7c3a-8000-00000000002a", "name": "x", "state": "succeeded", "submitted_at": "", "elapsed_ms": 1,
            "stages": [{ "step": 0, "stage": "map", "tasks": 2, "queued": 0, "running": 0, "won": 2, "failures": 1, "losses": 0,
                "progress_permille": 1000, "records_in": 5, "records_out": 7, "output_bytes": 9 }],
            "input": { "files": 1, "bytes": 11 }, "counters": { "words:seen:twice": 3, "plain": -1 },
            "spec": { "name": "x", "inputs": ["store://x"], "steps": [{ "native": "x" }] }
        }))
        .expect("a job");
        let expected = "Counters: 7\n\tFile Input Format Counters\n\t\tBytes Read=11\n\tGristmill\n\t\tplain=-1\n\t\
            Job Counters\n\t\tLaunched map tasks=3\n\t\tFailed map tasks=1\n\t\
            Map-Reduce Framework\n\t\tMap input records=5\n\t\tMap output records=7\n\twords\n\t\tseen:twice=3";
        assert_eq!(counters(&job), expected);
    }
}
