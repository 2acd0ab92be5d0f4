//! Map attempts over text in memory: what the splitter costs, what the table of a combiner, what the sort.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use criterion::{Criterion, Throughput};
use gristmill_common::plan::{PinnedFile, PlannedStep};
use gristmill_common::{Fence, JobId, Reason, Stage, TaskName};
use gristmill_worker::data::{self, Accumulate, Collector, MapFunction, NoCombiner, Start, Unit};
use gristmill_worker::log::AttemptLog;
use gristmill_worker::position::Position;
use gristmill_worker::program::{InputPiece, Inputs, MapInput, MapTask};
use gristmill_worker::skip::Skips;
use serde_json::json;
use uuid::Uuid;

/// Bytes of text that a map attempt reads.
const TEXT_BYTES: usize = 16 << 20;
/// Distinct words of it, for a table that fits a cache and one that does not.
const WORDS: [u64; 2] = [10_000, 1_000_000];

/// A xorshift generator: the same numbers for the same seed, everywhere.
pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Lines of ten words, of so many distinct ones.
fn text(words: u64) -> Vec<u8> {
    let mut random = random(words);
    let mut text = Vec::with_capacity(TEXT_BYTES + 64);
    while text.len() < TEXT_BYTES {
        for at in 0..10 {
            text.extend_from_slice(format!("w{:x}", random() % words).as_bytes());
            text.push(if at == 9 { b'\n' } else { b' ' });
        }
    }
    text
}

struct Memory<'a>(&'a [u8]);

impl Inputs for Memory<'_> {
    fn open(&self, _: &PinnedFile, from: u64) -> Result<Box<dyn Read + Send>, Reason> {
        let rest = self.0.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(Box::new(Cursor::new(rest.to_vec())))
    }
}

/// Takes lines and does nothing.
struct Nothing;

/// Emits every word with a one.
struct Words;

impl MapFunction for Nothing {
    const UNIT: Unit = Unit::Record;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, line: &[u8], _: &mut Collector) -> Result<()> {
        std::hint::black_box(line);
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

impl MapFunction for Words {
    const UNIT: Unit = Unit::Record;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, line: &[u8], out: &mut Collector) -> Result<()> {
        for word in line.split(|&byte| byte == b' ') {
            out.emit(|key| key.extend_from_slice(word), |value| value.extend_from_slice(&1_u64.to_be_bytes()));
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

struct Sum;

impl Accumulate for Sum {
    type Acc = u64;
    const FIXED_BYTES: Option<u64> = Some(8);

    fn zero(&self) -> u64 {
        0
    }

    fn add(&self, acc: &mut u64, value: &[u8]) -> Result<()> {
        *acc += self.load(value)?;
        Ok(())
    }

    fn merge(&self, acc: &mut u64, later: u64) {
        *acc += later;
    }

    fn store(&self, acc: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.to_be_bytes());
    }

    fn load(&self, bytes: &[u8]) -> Result<u64> {
        Ok(u64::from_be_bytes(bytes.try_into()?))
    }

    fn finish(&self, acc: u64, out: &mut Vec<u8>) {
        self.store(&acc, out);
    }
}

fn attempt<M: MapFunction, C: Accumulate>(text: &[u8], scratch: &Path, mut mapper: M, combiner: Option<C>) {
    let step = PlannedStep { sort_budget_bytes: 256 << 20, ..PlannedStep::native("bench", 1, 4) };
    let bytes = text.len() as u64;
    let file: PinnedFile =
        serde_json::from_value(json!({ "url": "file:///text", "bytes": bytes, "version": "1" })).expect("a file");
    let task = MapTask {
        job: JobId(Uuid::nil()),
        name: TaskName { step: 0, stage: Stage::Map, index: 0 },
        fence: Fence(1),
        step: &step,
        input: MapInput::Pieces {
            pieces: vec![InputPiece { index: 0, file: &file, start: 0, end: bytes, unpacked: None }],
            inputs: &Memory(text),
        },
        output: &scratch.join("output"),
        scratch,
        packs: true,
        position: Arc::new(Position::in_memory()),
        log: AttemptLog::default(),
        cancel: Arc::new(AtomicBool::new(false)),
        skips: &Skips::none(),
    };
    data::map(task, &mut mapper, combiner, |_, _, _| Ok(())).expect("it maps");
}

/// Cuts text into lines.
pub(crate) fn splitter(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a directory");
    let text = text(WORDS[0]);
    let mut group = criterion.benchmark_group("map");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("splitter", |bencher| {
        bencher.iter(|| attempt(&text, scratch.path(), Nothing, None::<NoCombiner>));
    });
    group.finish();
}

/// Adds words up in the combiner's table.
pub(crate) fn table(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut group = criterion.benchmark_group("map");
    for words in WORDS {
        let text = text(words);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("table/{words} words"), |bencher| {
            bencher.iter(|| attempt(&text, scratch.path(), Words, Some(Sum)));
        });
    }
    group.finish();
}

/// Sorts words without a combiner.
pub(crate) fn sort(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a directory");
    let text = text(WORDS[1]);
    let mut group = criterion.benchmark_group("map");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.sample_size(20);
    group.bench_function("sort", |bencher| {
        bencher.iter(|| attempt(&text, scratch.path(), Words, None::<NoCombiner>));
    });
    group.finish();
}
