//! The data plane over files in memory, with functions over bytes.

mod fused;
mod inputs;
mod maps;
mod packed;
mod parquet;
mod records;
mod reduces;
mod skips;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use gristmill_common::plan::{Compression, PinnedFile, PlannedStep};
use gristmill_common::{Fence, Reason, Stage, TaskName};
use gristmill_runs::{RunFile, Source, part_text, verify_run};

use super::*;
use crate::log::AttemptLog;
use crate::position::Position;
use crate::program::{InputPiece, Inputs, MapInput, MapTask, ReduceTask, Section, TaskDone};
use crate::skip::Skips;

/// Files in memory. They are handed out a few bytes at a time.
#[derive(Default)]
struct Files(Vec<(PinnedFile, Vec<u8>)>);

impl Files {
    fn of(contents: &[&[u8]]) -> Self {
        contents.iter().fold(Self::default(), |files, content| files.and(content, Compression::None))
    }

    fn and(mut self, content: &[u8], compression: Compression) -> Self {
        let url = format!("file:///in/{}", self.0.len());
        let pinned = PinnedFile { url, bytes: content.len() as u64, version: "1".into(), compression, tag: None };
        self.0.push((pinned, content.to_vec()));
        self
    }

    fn piece(&self, index: usize, start: u64, end: u64) -> InputPiece<'_> {
        InputPiece { index: index as u32, file: &self.0[index].0, start, end, unpacked: None }
    }

    fn whole(&self) -> Vec<InputPiece<'_>> {
        (0..self.0.len()).map(|index| self.piece(index, 0, self.0[index].0.bytes)).collect()
    }
}

impl Inputs for Files {
    fn open(&self, file: &PinnedFile, from: u64) -> Result<Box<dyn Read + Send>, Reason> {
        let (_, content) = self.0.iter().find(|(pinned, _)| pinned.url == file.url).expect("a known file");
        let content = content.get(from as usize..).unwrap_or_default().to_vec();
        Ok(Box::new(Drip(std::io::Cursor::new(content))))
    }
}

struct Drip(std::io::Cursor<Vec<u8>>);

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(7_000);
        self.0.read(&mut buffer[..length])
    }
}

pub(super) fn step(reduces: u32) -> PlannedStep {
    PlannedStep { sort_budget_bytes: 1 << 20, ..PlannedStep::native("test", 1, reduces) }
}

/// A directory for the files of one attempt.
struct Bench {
    dir: tempfile::TempDir,
    output: PathBuf,
    position: Arc<Position>,
    cancel: Arc<AtomicBool>,
    buffer_bytes: usize,
    skips: Skips,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (position, cancel) = (Arc::new(Position::in_memory()), Arc::new(AtomicBool::new(false)));
        let output = dir.path().join("output");
        Self { dir, output, position, cancel, buffer_bytes: 64, skips: Skips::none() }
    }

    /// An attempt of the first map.
    fn map_task<'a>(&'a self, step: &'a PlannedStep, input: MapInput<'a>) -> MapTask<'a> {
        MapTask {
            job: gristmill_common::JobId(uuid::Uuid::nil()),
            name: TaskName { step: 0, stage: Stage::Map, index: 0 },
            fence: Fence(7),
            step,
            input,
            output: &self.output,
            scratch: self.dir.path(),
            packs: true,
            position: Arc::clone(&self.position),
            log: AttemptLog::default(),
            cancel: Arc::clone(&self.cancel),
            skips: &self.skips,
        }
    }

    /// An attempt of the first reduce.
    fn reduce_task<'a>(&'a self, step: &'a PlannedStep, sections: Vec<Section>) -> ReduceTask<'a> {
        ReduceTask {
            job: gristmill_common::JobId(uuid::Uuid::nil()),
            name: TaskName { step: 0, stage: Stage::Reduce, index: 0 },
            fence: Fence(9),
            step,
            sections,
            output: &self.output,
            next: None,
            scratch: self.dir.path(),
            position: Arc::clone(&self.position),
            log: AttemptLog::default(),
            cancel: Arc::clone(&self.cancel),
            skips: &self.skips,
        }
    }

    fn map<M: MapFunction, C: Accumulate>(
        &self,
        step: &PlannedStep,
        input: MapInput<'_>,
        mapper: &mut M,
        combiner: Option<C>,
    ) -> Result<TaskDone, Reason> {
        self.map_with(&self.skips, step, input, mapper, combiner)
    }

    fn map_with<M: MapFunction, C: Accumulate>(
        &self,
        skips: &Skips,
        step: &PlannedStep,
        input: MapInput<'_>,
        mapper: &mut M,
        combiner: Option<C>,
    ) -> Result<TaskDone, Reason> {
        let task = MapTask { skips, ..self.map_task(step, input) };
        map::map_with(task, mapper, combiner, write_tabbed, self.buffer_bytes)
    }

    fn reduce<R: ReduceFunction, C: Accumulate>(
        &self,
        step: &PlannedStep,
        partition: u32,
        sections: Vec<Section>,
        reducer: &mut R,
        combiner: Option<&C>,
    ) -> Result<TaskDone, Reason> {
        let name = TaskName { step: 0, stage: Stage::Reduce, index: partition };
        let task = ReduceTask { name, ..self.reduce_task(step, sections) };
        reduce(task, reducer, combiner)
    }

    /// Opens and verifies the output, and sees that nothing else was left behind.
    fn run(&self) -> RunFile {
        let names: Vec<_> =
            std::fs::read_dir(self.dir.path()).expect("listed").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, ["output"], "nothing but the output is left");
        let run = RunFile::open(std::fs::File::open(&self.output).expect("an output")).expect("a run");
        verify_run(&run).expect("a sound run");
        run
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.dir.path()).expect("listed").next().is_none()
    }
}

fn write_tabbed(key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(key);
    out.push(b'\t');
    out.extend_from_slice(value);
    Ok(())
}

/// (partition, key, value) of all records.
fn records_of(run: &RunFile) -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    for partition in 0..run.partitions() {
        let mut reader = run.reader(partition);
        while reader.advance().expect("sound") {
            records.push((partition, reader.key().to_vec(), reader.value().to_vec()));
        }
    }
    records
}

fn text_of(run: &RunFile) -> String {
    let mut text = Vec::new();
    let mut reader = run.reader(0);
    while reader.advance().expect("sound") {
        let (head, tail) = part_text(reader.key(), reader.value()).expect("text");
        text.extend_from_slice(head);
        text.extend_from_slice(tail);
    }
    String::from_utf8(text).expect("UTF-8")
}

/// Emits each word of a record, with the value that stands behind a `=` or with the record's offset.
#[derive(Default)]
struct Words {
    starts: Vec<(String, u64)>,
}

impl MapFunction for Words {
    const UNIT: Unit = Unit::Record;

    fn start(&mut self, start: &Start<'_>, _: &mut Collector) -> Result<()> {
        self.starts.push((start.name.to_owned(), start.offset));
        Ok(())
    }

    fn map(&mut self, record: &[u8], out: &mut Collector) -> Result<()> {
        assert!(!record.starts_with(b"panic"), "told to panic");
        anyhow::ensure!(!record.starts_with(b"fail"), "told to fail");
        for word in record.split(|&byte| byte == b' ').filter(|word| !word.is_empty()) {
            let mut halves = word.splitn(2, |&byte| byte == b'=');
            let key = halves.next().unwrap_or_default();
            let value = halves.next().map_or_else(|| out.offset().to_string().into_bytes(), <[u8]>::to_vec);
            out.emit(|bytes| bytes.extend_from_slice(key), |bytes| bytes.extend_from_slice(&value));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Collector) -> Result<()> {
        out.count("finished", 1);
        Ok(())
    }
}

/// The same for whole blocks.
struct Blockwise;

impl MapFunction for Blockwise {
    const UNIT: Unit = Unit::Block;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, block: &[u8], out: &mut Collector) -> Result<()> {
        let offset = out.offset();
        let mut at = 0;
        for line in block.split_inclusive(|&byte| byte == b'\n') {
            out.at(offset + at);
            Words::default().map(line.strip_suffix(b"\n").unwrap_or(line), out)?;
            at += line.len() as u64;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

/// Joins values with `+`: shows order and grouping.
struct Join;

impl Accumulate for Join {
    type Acc = Vec<u8>;
    const FIXED_BYTES: Option<u64> = None;

    fn zero(&self) -> Vec<u8> {
        Vec::new()
    }

    fn add(&self, acc: &mut Vec<u8>, value: &[u8]) -> Result<()> {
        if !acc.is_empty() {
            acc.push(b'+');
        }
        acc.extend_from_slice(value);
        Ok(())
    }

    fn merge(&self, acc: &mut Vec<u8>, later: Vec<u8>) {
        acc.push(b'+');
        acc.extend_from_slice(&later);
    }

    fn store(&self, acc: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(acc);
    }

    fn load(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }

    fn finish(&self, acc: Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc);
    }
}

/// Adds floats, whose sum depends on the order and the grouping of additions.
struct FloatSum;

impl Accumulate for FloatSum {
    type Acc = f64;
    const FIXED_BYTES: Option<u64> = Some(8);

    fn zero(&self) -> f64 {
        0.0
    }

    fn add(&self, acc: &mut f64, value: &[u8]) -> Result<()> {
        *acc += std::str::from_utf8(value)?.parse::<f64>()?;
        Ok(())
    }

    fn merge(&self, acc: &mut f64, later: f64) {
        *acc += later;
    }

    fn store(&self, acc: &f64, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.to_le_bytes());
    }

    fn load(&self, bytes: &[u8]) -> Result<f64> {
        Ok(f64::from_le_bytes(bytes.try_into()?))
    }

    fn finish(&self, acc: f64, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{acc:e}").as_bytes());
    }
}
