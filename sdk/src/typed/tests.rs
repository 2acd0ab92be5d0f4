//! Typed stages as whole programs: maps and reduces over files in memory, without a worker around them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use gristmill_common::plan::{Compression, PartForm, PinnedFile, PlannedStep};
use gristmill_common::{Fence, Reason, Stage, TaskName};
use gristmill_runs::{RunFile, Source, part_text};
use gristmill_worker::log::AttemptLog;
use gristmill_worker::position::Position;
use gristmill_worker::program::{InputPiece, Inputs, MapInput, MapTask, Program, ReduceTask, Section};
use gristmill_worker::skip::Skips;

use super::*;
use crate::codec::Grouped;

/// Texts or tags, by the names of files.
type Named<'a> = &'a [(&'a str, &'a str)];

struct Texts<'a>(&'a [(&'a str, &'a str)]);

impl Inputs for Texts<'_> {
    fn open(&self, file: &PinnedFile, from: u64) -> Result<Box<dyn Read + Send>, Reason> {
        let (_, text) = self.0.iter().find(|(name, _)| file.url == *name).expect("a known file");
        Ok(Box::new(std::io::Cursor::new(text.as_bytes()[from as usize..].to_vec())))
    }
}

/// Runs a job with one map for each file, and returns the text of each part.
pub(crate) fn run(
    job: &dyn Program,
    args: &[&str],
    files: &[(&str, &str)],
    change: impl FnOnce(&mut PlannedStep),
) -> Result<Vec<String>, Reason> {
    run_tagged(job, args, files, &[], change)
}

/// As [`run`], with tags for some of the files.
pub(crate) fn run_tagged(
    job: &dyn Program,
    args: &[&str],
    files: &[(&str, &str)],
    tags: &[(&str, &str)],
    change: impl FnOnce(&mut PlannedStep),
) -> Result<Vec<String>, Reason> {
    run_mixed(job, job, args, files, tags, change)
}

fn run_mixed(
    job: &dyn Program,
    reducing: &dyn Program,
    args: &[&str],
    files: &[(&str, &str)],
    tags: &[(&str, &str)],
    change: impl FnOnce(&mut PlannedStep),
) -> Result<Vec<String>, Reason> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let mut step = PlannedStep { args: args.clone(), maps: files.len() as u32, ..step(2) };
    change(&mut step);
    let runs = run_step(job, reducing, &args, (files, tags), &step);
    step.part_form = PartForm::File;
    let finished = run_step(job, reducing, &args, (files, tags), &step);
    assert_eq!(runs, finished, "a finished part is the text of a run");
    runs
}

fn step(reduces: u32) -> PlannedStep {
    PlannedStep { sort_budget_bytes: 1 << 20, fan_in: 2, ..PlannedStep::native("test", 1, reduces) }
}

fn run_step(
    job: &dyn Program,
    reducing: &dyn Program,
    args: &[String],
    (files, tags): (Named<'_>, Named<'_>),
    step: &PlannedStep,
) -> Result<Vec<String>, Reason> {
    let dir = tempfile::tempdir().expect("a directory");
    let output = |stage: Stage, index: usize| dir.path().join(format!("{stage}-{index}"));
    let name = |stage, index: usize| TaskName { step: 0, stage, index: index as u32 };
    let (position, cancel) = (Arc::new(Position::in_memory()), Arc::new(AtomicBool::new(false)));
    let skips = Skips::none();
    for (index, (url, text)) in files.iter().enumerate() {
        let bytes = text.len() as u64;
        let tag = tags.iter().find(|(name, _)| name == url).map(|(_, tag)| (*tag).to_owned());
        let (version, compression) = ("1".into(), Compression::None);
        let file = PinnedFile { url: (*url).into(), bytes, version, compression, tag };
        let pieces = vec![InputPiece { index: index as u32, file: &file, start: 0, end: bytes, unpacked: None }];
        job.map(
            args,
            MapTask {
                job: gristmill_common::JobId(uuid::Uuid::nil()),
                name: name(Stage::Map, index),
                fence: Fence(index as u64),
                step,
                input: MapInput::Pieces { pieces, inputs: &Texts(files) },
                output: &output(Stage::Map, index),
                scratch: dir.path(),
                packs: true,
                position: Arc::clone(&position),
                log: AttemptLog::default(),
                cancel: Arc::clone(&cancel),
                skips: &skips,
            },
        )?;
    }
    let text_of = |path: std::path::PathBuf| match step.part_form {
        PartForm::Run => text_of(&path),
        PartForm::File => std::fs::read_to_string(path).unwrap_or_default(),
    };
    if step.reduces == 0 {
        return Ok((0..files.len()).map(|index| text_of(output(Stage::Map, index))).collect());
    }
    for partition in 0..step.reduces as usize {
        let runs = (0..files.len())
            .filter_map(|map| Some((map, RunFile::open(File::open(output(Stage::Map, map)).ok()?).ok()?)));
        let sections = runs.map(|(map, run)| {
            let bytes = run.section_bytes(partition as u32);
            Section { map: map as u32, fence: run.fence(), len: bytes.len(), bytes: Box::new(bytes) }
        });
        reducing.reduce(
            args,
            ReduceTask {
                job: gristmill_common::JobId(uuid::Uuid::nil()),
                name: name(Stage::Reduce, partition),
                fence: Fence(1_000),
                step,
                sections: sections.collect(),
                output: &output(Stage::Reduce, partition),
                next: None,
                scratch: dir.path(),
                position: Arc::clone(&position),
                log: AttemptLog::default(),
                cancel: Arc::clone(&cancel),
                skips: &skips,
            },
        )?;
    }
    Ok((0..step.reduces as usize).map(|partition| text_of(output(Stage::Reduce, partition))).collect())
}

fn text_of(path: &std::path::Path) -> String {
    let mut text = Vec::new();
    let Ok(file) = File::open(path) else { return String::new() };
    let mut reader = RunFile::open(file).expect("a run").reader(0);
    while reader.advance().expect("sound") {
        let (head, tail) = part_text(reader.key(), reader.value()).expect("text");
        text.extend([head, tail].concat());
    }
    String::from_utf8(text).expect("UTF-8")
}

fn sorted_lines(parts: &[String]) -> Vec<&str> {
    let mut lines: Vec<_> = parts.iter().flat_map(|part| part.lines()).collect();
    lines.sort_unstable();
    lines
}

/// Emits ((name, length), number) for lines of `name number`.
struct Measures;

impl Mapper for Measures {
    type Key = (String, i64);
    type Value = f64;

    fn map(&mut self, record: &[u8], out: &mut Emit<'_, (String, i64), f64>) -> Result<()> {
        let line = std::str::from_utf8(record)?;
        let (name, number) = line.split_once(' ').ok_or_else(|| anyhow::anyhow!("no number in `{line}`"))?;
        out.count("lines", 1);
        out.emit(&(name.to_owned(), -(name.len() as i64)), &number.parse()?);
        Ok(())
    }
}

struct Mean;

impl Combiner<f64> for Mean {
    type Acc = (f64, u64);
    type Output = f64;

    fn zero(&self) -> (f64, u64) {
        (0.0, 0)
    }

    fn add(&self, acc: &mut (f64, u64), value: f64) {
        self.merge(acc, (value, 1));
    }

    fn merge(&self, acc: &mut (f64, u64), later: (f64, u64)) {
        *acc = (acc.0 + later.0, acc.1 + later.1);
    }

    fn finish(&self, acc: (f64, u64)) -> f64 {
        acc.0 / acc.1 as f64
    }
}

const FILES: [(&str, &str); 3] = [("file:///a", "x 1\nyy 5\nx 3\n"), ("file:///b", ""), ("file:///c", "yy -5\nx 2")];

#[test]
fn keys_values_and_accumulators_of_several_fields_travel() {
    let job: Job = Job::map(|_| Measures).combine(Mean).into();
    for combine in [true, false] {
        let parts = run(&job, &[], &FILES, |step| step.combine = combine).expect("done");
        assert_eq!(sorted_lines(&parts), ["x\t-1\t2", "yy\t-2\t0"]);
    }
}

#[test]
fn without_a_combiner_each_value_is_printed_in_input_order() {
    let job: Job = Job::map(|_| Measures).into();
    let parts = run(&job, &[], &FILES, |step| step.reduces = 1).expect("done");
    assert_eq!(parts, ["x\t-1\t1\nx\t-1\t3\nx\t-1\t2\nyy\t-2\t5\nyy\t-2\t-5\n"]);
    let parts = run(&job, &[], &FILES, |step| step.reduces = 0).expect("done");
    assert_eq!(parts, ["x\t-1\t1\nyy\t-2\t5\nx\t-1\t3\n", "", "yy\t-2\t-5\nx\t-1\t2\n"]);
}

/// Writes the sum of the first values up to a count from the arguments.
struct First(usize);

impl Reducer for First {
    type Key = (String, i64);
    type Value = f64;

    fn reduce(
        &mut self,
        (name, _): (std::borrow::Cow<'_, str>, i64),
        values: &mut Values<'_, f64>,
        out: &mut Lines<'_>,
    ) -> Result<()> {
        let sum: f64 = values.take(self.0).sum();
        out.line(format!("{name}: {sum}"));
        Ok(())
    }

    fn finish(&mut self, out: &mut Lines<'_>) -> Result<()> {
        out.line("end");
        Ok(())
    }
}

#[test]
fn a_reducer_is_made_of_the_arguments_and_checked_before() {
    let job: Job = Job::map(|_| Measures)
        .reduce(|args| First(args[0].parse().expect("checked")))
        .check(|args| {
            anyhow::ensure!(args.len() == 1 && args[0].parse::<usize>().is_ok(), "a count is expected");
            Ok(())
        })
        .into();
    assert_eq!(job.check(&["x".to_owned()]), Err("a count is expected".to_owned()));
    assert_eq!(job.check(&["2".to_owned()]), Ok(()));
    let parts = run(&job, &["2"], &FILES, |step| step.reduces = 1).expect("done");
    assert_eq!(parts, ["x: 4\nyy: 0\nend\n"]);
}

#[test]
fn an_error_of_a_mapper_names_file_and_offset() {
    let job: Job = Job::map(|_| Measures).into();
    let files = [("file:///a", "x 1\n"), ("file:///b", "x 1\nx one\n")];
    let reason = run(&job, &[], &files, |_| {}).expect_err("not a number");
    assert_eq!(reason.to_string(), "user error: invalid float literal at file:///b:4");
}

#[test]
fn records_of_another_build_are_refused_not_misread() {
    struct Words;
    impl Mapper for Words {
        type Key = str;
        type Value = str;
        fn map(&mut self, _: &[u8], out: &mut Emit<'_, str, str>) -> Result<()> {
            out.emit("word", "text");
            Ok(())
        }
    }
    // Words have no two fields: the reduce of this build cannot read what the map of that one wrote.
    let (old, new) = (Job::from(Job::map(|_| Words)), Job::from(Job::map(|_| Measures)));
    let reason = run_mixed(&old, &new, &[], &FILES, &[], |_| {}).expect_err("another encoding");
    assert!(reason.to_string().contains("another build"), "{reason}");
}

/// Groups records of `name number` by the name, in the order of the number.
struct Series;

impl Mapper for Series {
    type Key = Grouped<String, u64>;
    type Value = str;

    fn map(&mut self, record: &[u8], out: &mut Emit<'_, Grouped<String, u64>, str>) -> Result<()> {
        let (name, number) = std::str::from_utf8(record)?.split_once(' ').unwrap_or_default();
        out.emit(&Grouped(name.to_owned(), number.parse()?), "");
        Ok(())
    }
}

#[test]
fn a_map_that_is_fed_sends_the_records_of_a_group_where_one_that_reads_a_part_sends_them() {
    let lines: String = (0..200).map(|number| format!("{} {number}\n", ["a", "b", "c"][number % 3])).collect();
    let job = Job::from(Job::map(|_| Series));
    let (step, skips) = (step(8), Skips::none());
    let output = |input: MapInput<'_>| {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("output");
        let fed = matches!(input, MapInput::Fed { .. });
        let task = MapTask {
            job: gristmill_common::JobId(uuid::Uuid::nil()),
            name: TaskName { step: 1, stage: Stage::Map, index: 4 },
            fence: Fence(9),
            step: &step,
            input,
            output: &path,
            scratch: dir.path(),
            packs: true,
            position: Arc::new(Position::in_memory()),
            log: AttemptLog::default(),
            cancel: Arc::default(),
            skips: &skips,
        };
        if fed {
            let mut feed = job.map_fed(&[], task).expect("started");
            feed.feed(lines.as_bytes()).expect("fed");
            feed.finish().expect("done");
        } else {
            job.map(&[], task).expect("done");
        }
        std::fs::read(path).expect("a map output")
    };
    let apart = output(MapInput::Part { part: 4, text: Box::new(lines.as_bytes()) });
    assert!(apart == output(MapInput::Fed { part: 4 }), "the bytes are the same");
}

#[test]
fn word_count_counts() {
    let parts = run(&crate::jobs::word_count(), &[], &[("a", "to be or\tnot to\x0bbe"), ("b", "be\r\n\r\nto")], |_| {});
    let parts = parts.expect("done");
    let counts: BTreeMap<_, _> = sorted_lines(&parts).into_iter().filter_map(|line| line.split_once('\t')).collect();
    assert_eq!(counts, BTreeMap::from([("be", "3"), ("not", "1"), ("or", "1"), ("to", "3")]));
}
