//! What tasks compute: hashes of what they read. The sequential run of the same functions is the oracle of every output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::wire::{Done, Location, Output};
use gristmill_common::{Digest, Fence, WorkerId};
use gristmill_runs::{PartWriter, RunFile, RunHeader, RunSummary, RunWriter, Source as _};

use super::options::JobPlan;
use super::random::mix;

/// The value of an output without records.
pub(super) const NOTHING: u64 = 0;

fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x51ed_270b, |sum, part| mix(sum ^ part).wrapping_mul(0x2545_f491_4f6c_dd1d))
}

/// Some outputs have no records.
fn output_of(value: u64) -> u64 {
    if value.is_multiple_of(6) { NOTHING } else { value }
}

pub(super) fn map_value(no_op: bool, step: u16, map: u32, input: u64) -> u64 {
    if no_op { NOTHING } else { output_of(hash(&[1, u64::from(step), u64::from(map), input])) }
}

pub(super) fn reduce_value(step: u16, reduce: u32, maps: &[u64]) -> u64 {
    let mut parts = vec![2, u64::from(step), u64::from(reduce)];
    parts.extend(maps);
    output_of(hash(&parts))
}

/// What a map of the first step reads.
pub(super) fn input_value(plan: Digest) -> u64 {
    u64::from_le_bytes(plan.0[..8].try_into().unwrap())
}

/// What a map of the first step reads when it leaves these records out.
pub(super) fn input_without(plan: Digest, left_out: &[u64]) -> u64 {
    if left_out.is_empty() { input_value(plan) } else { hash(&[&[input_value(plan)], left_out].concat()) }
}

/// What a map that is not deterministic makes this time.
pub(super) fn straying(value: u64, fence: Fence) -> u64 {
    hash(&[value, fence.0 % 3]) | 1
}

/// The parts of the last step, by a run of one task after the other. `first` is what the first map of a step made, when that
/// cannot be known before. What is fused computes the same.
pub(super) fn sequential(job: &JobPlan, plan: Digest, first: Option<(u16, u64)>) -> Vec<u64> {
    let mut inputs = vec![input_value(plan); job.maps as usize];
    if let Some((map, records, _)) = &job.bad {
        inputs[*map as usize] = input_without(plan, records);
    }
    for (step, &reduces) in (0_u16..).zip(&job.reduces) {
        let mut maps: Vec<u64> =
            (0_u32..).zip(&inputs).map(|(map, input)| map_value(job.no_op, step, map, *input)).collect();
        if let Some((_, first)) = first.filter(|(of, _)| *of == step) {
            maps[0] = first;
        }
        inputs = if reduces == 0 { maps } else { (0..reduces).map(|r| reduce_value(step, r, &maps)).collect() };
    }
    inputs
}

/// Where an output of this value goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Nothing,
    Inline,
    File,
}

pub(super) fn place_of(value: u64) -> Place {
    match value {
        NOTHING => Place::Nothing,
        value if value % 5 < 2 => Place::Inline,
        _ => Place::File,
    }
}

/// An output that travels in its report: a run file with the value as its only key.
fn run_of(value: u64, fence: Fence, is_part: bool) -> (Vec<u8>, RunSummary) {
    let (mut bytes, key) = (Vec::new(), value.to_le_bytes());
    let summary = if is_part {
        let mut writer = PartWriter::new(&mut bytes, fence, false).unwrap();
        writer.push(&key, b"").unwrap();
        writer.finish().unwrap()
    } else {
        let header = RunHeader { fence, partitions: 1, compress: false };
        let mut writer = RunWriter::new(&mut bytes, header).unwrap();
        writer.push(0, &key, b"").unwrap();
        writer.finish().unwrap()
    };
    (bytes, summary)
}

/// What `run_of` wrote.
pub(super) fn value_of(text: &str) -> u64 {
    let run = RunFile::from_bytes(STANDARD.decode(text).unwrap()).unwrap();
    let mut reader = run.reader(0);
    assert!(reader.advance().unwrap());
    u64::from_le_bytes(reader.key().try_into().unwrap())
}

/// `is_kept`: a part, or what a reduce leaves that runs maps too, which goes to the store.
pub(super) fn done(value: u64, fence: Fence, worker: WorkerId, is_part: bool, is_kept: bool) -> Done {
    let mut summary = RunSummary { records: u64::from(value != NOTHING), digest: value, ..RunSummary::default() };
    summary.bytes = summary.records * 100;
    let at = match place_of(value) {
        Place::Nothing => Location::Nothing,
        Place::Inline => {
            let (bytes, of_run) = run_of(value, fence, is_part);
            summary = of_run;
            Location::Inline(STANDARD.encode(bytes))
        }
        Place::File if is_kept => Location::Store,
        Place::File => Location::Worker(worker),
    };
    let RunSummary { records, bytes, text_bytes, digest } = summary;
    let output = Output { records, bytes, text_bytes, digest: format!("{digest:016x}"), at, ..Output::default() };
    Done {
        output,
        records_in: 1,
        took_ms: 1,
        counters: std::iter::once(("tasks".to_owned(), 1)).collect(),
        ..Done::default()
    }
}
