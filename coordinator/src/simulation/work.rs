//! What tasks compute: hashes of what they read. The sequential run of the same functions is the oracle of every output.

use gristmill_common::wire::{Done, Location, Output};
use gristmill_common::{Digest, WorkerId};

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

/// The parts of the last step, by a run of one task after the other.
pub(super) fn sequential(job: &JobPlan, plan: Digest) -> Vec<u64> {
    let mut inputs = vec![input_value(plan); job.maps as usize];
    for (step, &reduces) in (0_u16..).zip(&job.reduces) {
        let maps: Vec<u64> =
            (0_u32..).zip(&inputs).map(|(map, input)| map_value(job.no_op, step, map, *input)).collect();
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

pub(super) fn done(value: u64, worker: WorkerId, is_part: bool) -> Done {
    let at = match place_of(value) {
        Place::Nothing => Location::Nothing,
        Place::Inline => Location::Inline(value.to_string()),
        Place::File if is_part => Location::Store,
        Place::File => Location::Worker(worker),
    };
    let records = u64::from(value != NOTHING);
    let output = Output { records, bytes: records * 100, text_bytes: 0, digest: format!("{value:016x}"), at };
    Done { output, records_in: 1, took_ms: 1, counters: std::iter::once(("tasks".to_owned(), 1)).collect() }
}
