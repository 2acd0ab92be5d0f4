//! The hash table of a step with a combiner: each key once, its accumulator in place.
//!
//! Keys of up to 16 bytes lie in the slot itself, longer ones in an arena. The order of slots never shows: a table is
//! drained in (partition, key) order. When it is drained depends on the plan's logical budget alone.

use std::sync::Arc;

use gristmill_common::{Reason, limits};
use gristmill_runs::{RunSummary, key_prefix};
use xxhash_rust::xxh3::xxh3_64;

use super::collect::{Batch, Sink, Span, Stretch};
use super::failure;
use super::function::Accumulate;
use super::output::RunOutput;
use super::partition::partition_of;
use super::spill::{Layout, Spills};

/// Longest key that a slot holds itself.
const SHORT_BYTES: usize = 16;
/// Keys looked up together: as many misses as a processor keeps in flight, several times over.
const PROBES_AT_A_TIME: usize = 64;
/// Slots of a fresh table.
const FIRST_SLOTS: usize = 1 << 12;

/// A key as it is looked up: its bytes when short, else hash and place.
#[derive(Clone, Copy)]
struct Probe {
    /// First 8 bytes, or the hash of a long key.
    a: u64,
    /// The next 8, or 0 for a long key.
    b: u64,
    /// Length and 1, so that 0 is an empty slot.
    tag: u32,
    hash: u64,
}

/// Aligned so that no slot of a small accumulator lies in two cache lines.
#[repr(align(32))]
struct Slot<A> {
    a: u64,
    /// The second 8 bytes, or where a long key is in the arena.
    b: u64,
    tag: u32,
    acc: A,
}

/// Multiplies to 128 bits and folds; short keys need no better hash, since the table only has to spread them.
#[inline]
fn mix(a: u64, b: u64, tag: u32) -> u64 {
    let product = u128::from(a ^ 0x9E37_79B9_7F4A_7C15) * u128::from((b ^ u64::from(tag)) ^ 0xD6E8_FEB8_6659_FD93);
    let folded = product as u64 ^ (product >> 64) as u64;
    folded ^ (folded >> 32)
}

impl Probe {
    /// Quickest when `bytes` reaches 16 bytes beyond the key's start.
    #[inline(always)]
    fn of(bytes: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        let tag = length as u32 + 1;
        if length > SHORT_BYTES {
            let hash = xxh3_64(&bytes[start..end]);
            return Self { a: hash, b: 0, tag, hash };
        }
        let kept = match bytes[start..].first_chunk::<SHORT_BYTES>() {
            // A shift by all 128 bits is not defined: an empty key has no bytes at all.
            Some(_) if length == 0 => 0,
            Some(window) => u128::from_le_bytes(*window) & (u128::MAX >> (128 - 8 * length)),
            None => last_bytes(&bytes[start..end]),
        };
        let (a, b) = (kept as u64, (kept >> 64) as u64);
        Self { a, b, tag, hash: mix(a, b, tag) }
    }
}

/// A key near the end of its text.
#[cold]
fn last_bytes(key: &[u8]) -> u128 {
    let mut window = [0; SHORT_BYTES];
    window[..key.len()].copy_from_slice(key);
    u128::from_le_bytes(window)
}

struct Table<A> {
    slots: Vec<Slot<A>>,
    used: usize,
    /// Keys longer than a slot holds.
    arena: Vec<u8>,
}

impl<A> Table<A> {
    fn new(slots: usize, zero: impl Fn() -> A) -> Self {
        let slots = (0..slots).map(|_| Slot { a: 0, b: 0, tag: 0, acc: zero() }).collect();
        Self { slots, used: 0, arena: Vec::new() }
    }

    /// Returns the index of the key's slot, or of the empty slot where it belongs.
    #[inline(always)]
    fn find(&self, probe: Probe, key: &[u8]) -> (usize, bool) {
        let mask = self.slots.len() - 1;
        let mut index = probe.hash as usize & mask;
        loop {
            let slot = &self.slots[index];
            if slot.tag == probe.tag && slot.a == probe.a && (slot.b == probe.b || key.len() > SHORT_BYTES) {
                let same = key.len() <= SHORT_BYTES || self.long_key(slot) == key;
                if same {
                    return (index, true);
                }
            }
            if slot.tag == 0 {
                return (index, false);
            }
            index = (index + 1) & mask;
        }
    }

    fn long_key(&self, slot: &Slot<A>) -> &[u8] {
        let start = slot.b as usize;
        &self.arena[start..start + slot.tag as usize - 1]
    }

    fn insert(&mut self, index: usize, probe: Probe, key: &[u8], acc: A) {
        let b = if key.len() > SHORT_BYTES {
            self.arena.extend_from_slice(key);
            (self.arena.len() - key.len()) as u64
        } else {
            probe.b
        };
        self.slots[index] = Slot { a: probe.a, b, tag: probe.tag, acc };
        self.used += 1;
    }

    /// Asks for the memory of all these slots at once, so that the misses of a table larger than the cache overlap.
    #[inline]
    fn touch(&self, probes: &[Probe]) {
        let mask = self.slots.len() - 1;
        let tags = probes.iter().fold(0, |tags, probe| tags ^ self.slots[probe.hash as usize & mask].tag);
        std::hint::black_box(tags);
    }

    /// Makes the table twice as large when it is half full.
    fn grow(&mut self, zero: impl Fn() -> A) {
        if self.used * 2 <= self.slots.len() {
            return;
        }
        let larger = Self::new(self.slots.len() * 2, zero).slots;
        let mask = larger.len() - 1;
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot.tag == 0 {
                continue;
            }
            let long = slot.tag as usize - 1 > SHORT_BYTES;
            let mut index = if long { slot.a } else { mix(slot.a, slot.b, slot.tag) } as usize & mask;
            while self.slots[index].tag != 0 {
                index = (index + 1) & mask;
            }
            self.slots[index] = slot;
        }
    }

    /// Gives the key of a slot to the function.
    fn with_key<T>(&self, slot: &Slot<A>, use_key: impl FnOnce(&[u8]) -> T) -> T {
        let length = slot.tag as usize - 1;
        if length > SHORT_BYTES {
            return use_key(self.long_key(slot));
        }
        let bytes = (u128::from(slot.b) << 64 | u128::from(slot.a)).to_le_bytes();
        use_key(&bytes[..length])
    }

    /// Returns the filled slots in (partition, key) order.
    fn sorted(&self, partitions: u32) -> Vec<(u32, u64, u32)> {
        let mut order = Vec::with_capacity(self.used);
        for (index, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.tag != 0) {
            let (partition, prefix) = self.with_key(slot, |key| (partition_of(key, partitions), key_prefix(key)));
            order.push((partition, prefix, index as u32));
        }
        order.sort_unstable_by(|x, y| {
            (x.0, x.1).cmp(&(y.0, y.1)).then_with(|| {
                let [left, right] = [x, y].map(|entry| &self.slots[entry.2 as usize]);
                self.with_key(left, |left| self.with_key(right, |right| left.cmp(right)))
            })
        });
        order
    }

    /// Writes all keys in order and starts anew.
    fn drain<C: Accumulate<Acc = A>>(
        &mut self,
        combiner: &C,
        partitions: u32,
        run: &mut RunOutput,
    ) -> Result<(), Reason> {
        let mut value = Vec::new();
        for sorted in self.sorted(partitions).chunks(PROBES_AT_A_TIME) {
            // As when they are looked up: neighbours in the order lie anywhere in the table.
            let tags = sorted.iter().fold(0, |tags, &(_, _, index)| tags ^ self.slots[index as usize].tag);
            std::hint::black_box(tags);
            for &(partition, _, index) in sorted {
                let slot = &self.slots[index as usize];
                value.clear();
                combiner.store(&slot.acc, &mut value);
                self.with_key(slot, |key| run.push(partition, key, &value))?;
            }
        }
        *self = Self::new(FIRST_SLOTS, || combiner.zero());
        Ok(())
    }
}

/// The sink.
pub(super) struct CombineSink<C: Accumulate> {
    layout: Layout,
    combiner: Arc<C>,
    table: Table<C::Acc>,
    used_bytes: u64,
    spills: Spills,
    probes: Vec<Probe>,
}

impl<C: Accumulate> CombineSink<C> {
    pub(super) fn new(layout: Layout, combiner: Arc<C>) -> Self {
        let spills = Spills::new(layout.clone());
        let table = Table::new(FIRST_SLOTS, || combiner.zero());
        Self { layout, combiner, table, used_bytes: 0, spills, probes: Vec::new() }
    }

    #[inline]
    fn add(&mut self, probe: Probe, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let (index, found) = self.table.find(probe, key);
        if found {
            let acc = &mut self.table.slots[index].acc;
            self.combiner.add(acc, value).map_err(|error| failure::user(&error, None))?;
            if C::FIXED_BYTES.is_none() {
                self.used_bytes += value.len() as u64;
                if self.used_bytes > self.layout.budget_bytes {
                    return self.spill();
                }
            }
            return Ok(());
        }
        self.add_key(index, probe, key, value)
    }

    #[inline(never)]
    fn add_key(&mut self, mut index: usize, probe: Probe, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let acc_bytes = C::FIXED_BYTES.unwrap_or(value.len() as u64);
        let cost = key.len() as u64 + acc_bytes + limits::RECORD_OVERHEAD_BYTES;
        if self.used_bytes + cost > self.layout.budget_bytes && self.used_bytes > 0 {
            self.spill()?;
            index = self.table.find(probe, key).0;
        }
        let mut acc = self.combiner.zero();
        self.combiner.add(&mut acc, value).map_err(|error| failure::user(&error, None))?;
        self.used_bytes += cost;
        self.table.insert(index, probe, key, acc);
        self.table.grow(|| self.combiner.zero());
        Ok(())
    }

    fn spill(&mut self) -> Result<(), Reason> {
        self.spills.add(|run| self.table.drain(&*self.combiner, self.layout.partitions, run))?;
        self.used_bytes = 0;
        Ok(())
    }
}

impl<C: Accumulate> Sink for CombineSink<C> {
    fn take(&mut self, batch: &Batch) -> Result<(), Reason> {
        let mut probes = std::mem::take(&mut self.probes);
        let mut start = 0;
        for spans in batch.spans.chunks(PROBES_AT_A_TIME) {
            probes.clear();
            let mut next = start;
            probes.extend(spans.iter().map(|span| {
                let probe = Probe::of(&batch.bytes, next, span.key_end as usize);
                next = span.end as usize;
                probe
            }));
            self.table.touch(&probes);
            for (&Span { key_end, end }, &probe) in spans.iter().zip(&probes) {
                let (key_end, end) = (key_end as usize, end as usize);
                self.add(probe, &batch.bytes[start..key_end], &batch.bytes[key_end..end])?;
                start = end;
            }
        }
        self.probes = probes;
        Ok(())
    }

    fn take_stretches(&mut self, text: &[u8], keys: &[Stretch], value: &[u8]) -> Result<(), Reason> {
        let mut probes = std::mem::take(&mut self.probes);
        for keys in keys.chunks(PROBES_AT_A_TIME) {
            probes.clear();
            probes.extend(keys.iter().map(|key| Probe::of(text, key.start as usize, key.end as usize)));
            self.table.touch(&probes);
            for (key, &probe) in keys.iter().zip(&probes) {
                self.add(probe, &text[key.start as usize..key.end as usize], value)?;
            }
        }
        self.probes = probes;
        Ok(())
    }

    fn spilled_bytes(&self) -> u64 {
        self.spills.spilled_bytes()
    }

    fn finish(&mut self) -> Result<RunSummary, Reason> {
        if self.spills.is_empty() {
            let mut output = self.layout.final_run();
            self.table.drain(&*self.combiner, self.layout.partitions, &mut output)?;
            return output.finish();
        }
        self.spill()?;
        self.spills.merge(Some(&*self.combiner))
    }
}
