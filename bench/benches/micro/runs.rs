//! The block codec and the merge.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use gristmill_common::Fence;
use gristmill_runs::{Merge, RunFile, RunHeader, RunWriter, Source as _, verify_run};

use crate::plane::random;

/// Records of a run.
const RECORDS: u64 = 100_000;
/// Runs that are merged.
const RUNS: u64 = 16;

/// A run of `records` sorted records of ten and ninety bytes.
fn run(records: u64, seed: u64, compress: bool) -> Vec<u8> {
    let mut random = random(seed);
    let mut keys: Vec<[u8; 10]> = (0..records)
        .map(|_| {
            let bytes = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
            std::array::from_fn(|at| b'a' + bytes[at] % 26)
        })
        .collect();
    keys.sort_unstable();
    let mut bytes = Vec::new();
    let header = RunHeader { fence: Fence(1), partitions: 1, compress };
    let mut writer = RunWriter::new(&mut bytes, header).expect("memory takes it");
    for key in &keys {
        writer.push(0, key, &[b'v'; 90]).expect("memory takes it");
    }
    writer.finish().expect("memory takes it");
    bytes
}

/// Writes and reads the blocks of a run, plain and packed.
pub(crate) fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blocks");
    group.throughput(Throughput::Bytes(RECORDS * 100));
    for (name, compress) in [("plain", false), ("lz4", true)] {
        group.bench_function(format!("write/{name}"), |bencher| bencher.iter(|| black_box(run(RECORDS, 1, compress))));
        let file = RunFile::from_bytes(run(RECORDS, 1, compress)).expect("a run");
        group.bench_function(format!("verify/{name}"), |bencher| {
            bencher.iter(|| verify_run(black_box(&file)).expect("whole"));
        });
    }
    group.finish();
}

/// Merges runs whose keys interleave.
pub(crate) fn merge(criterion: &mut Criterion) {
    let files: Vec<RunFile> =
        (0..RUNS).map(|seed| RunFile::from_bytes(run(RECORDS / RUNS, seed, false)).expect("a run")).collect();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(RECORDS / RUNS * RUNS));
    group.bench_function(format!("{RUNS} runs"), |bencher| {
        let readers = || files.iter().map(|file| file.reader(0)).collect::<Vec<_>>();
        bencher.iter_batched(
            || Merge::new(readers()),
            |mut merge| {
                let mut bytes = 0;
                while merge.advance().expect("whole") {
                    bytes += merge.key().len() + merge.value().len();
                }
                black_box(bytes)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
