//! Runs one map attempt: reads its input unit by unit, gives it to the mapper, and ends the sink.

use std::io::Read;
use std::sync::Arc;

use gristmill_common::format::{InputFormat, Parquet};
use gristmill_common::plan::PinnedFile;
use gristmill_common::program::Kind;
use gristmill_common::{Reason, limits};
use memchr::memchr_iter;

use super::blocks::{BUFFER_BYTES, Block, BlockError, Blocks};
use super::collect::{Collector, Sink};
use super::combine_run::{CombineRun, RunCombineSink};
use super::failure;
use super::function::{Accumulate, MapFunction, Start, Text, Unit};
use super::input;
use super::lines::PartSink;
use super::parquet;
use super::partition::Partitioner;
use super::records;
use super::sort::SortSink;
use super::spill::Layout;
use super::table::CombineSink;
use crate::position::Spot;
use crate::program::{InputPiece, Inputs, MapInput, MapTask, TaskDone};
use crate::skip::Skips;

/// Generated records in one block.
const GENERATED_RECORDS: u64 = 1_024;

/// Runs a map attempt. The combiner is used if the plan says so; `text` makes the lines of a map-only step.
///
/// # Errors
/// Why the attempt failed.
pub fn map<M: MapFunction, C: Accumulate>(
    task: MapTask<'_>,
    mapper: &mut M,
    combiner: Option<C>,
    text: Text,
) -> Result<TaskDone, Reason> {
    map_with(task, mapper, combiner, text, BUFFER_BYTES)
}

/// As [`map`] with another size of buffer, which must not matter to the result.
pub(super) fn map_with<M: MapFunction, C: Accumulate>(
    task: MapTask<'_>,
    mapper: &mut M,
    combiner: Option<C>,
    text: Text,
    buffer_bytes: usize,
) -> Result<TaskDone, Reason> {
    let sink = match combiner {
        _ if task.step.reduces == 0 => Box::new(PartSink::new(&task, text)),
        combiner => sink(&task, combiner),
    };
    map_into(task, mapper, sink, buffer_bytes)
}

/// What becomes of the records of a step with a reduce stage.
pub(super) fn sink<C: Accumulate>(task: &MapTask<'_>, combiner: Option<C>) -> Box<dyn Sink> {
    match combiner {
        Some(combiner) if task.step.combine => Box::new(CombineSink::new(layout(task), Arc::new(combiner))),
        _ => Box::new(SortSink::new(layout(task))),
    }
}

/// How the records of a program that is not compiled in get from maps to reduces.
#[derive(Default)]
pub struct Shuffle {
    /// Which reduce a record goes to.
    pub partitioner: Partitioner,
    /// Combines sorted runs, if the plan says so.
    pub combine: Option<Box<dyn CombineRun>>,
}

/// As [`map`], for programs that bring their own partitions and combine whole runs.
///
/// # Errors
/// Why the attempt failed.
pub fn map_shuffled<M: MapFunction>(
    task: MapTask<'_>,
    mapper: &mut M,
    shuffle: Shuffle,
    text: Text,
) -> Result<TaskDone, Reason> {
    let sink = match shuffle {
        _ if task.step.reduces == 0 => Box::new(PartSink::new(&task, text)),
        shuffle => shuffled_sink(&task, shuffle),
    };
    map_into(task, mapper, sink, BUFFER_BYTES)
}

/// As [`sink`], for programs that bring their own partitions.
pub(super) fn shuffled_sink(task: &MapTask<'_>, shuffle: Shuffle) -> Box<dyn Sink> {
    let layout = layout(task).partitioned(shuffle.partitioner);
    match shuffle.combine {
        Some(combine) if task.step.combine => Box::new(RunCombineSink::new(layout, combine)),
        _ => Box::new(SortSink::new(layout)),
    }
}

fn layout(task: &MapTask<'_>) -> Layout {
    Layout::of(task).watched(&task.position, &task.cancel)
}

fn map_into<M: MapFunction>(
    task: MapTask<'_>,
    mapper: &mut M,
    sink: Box<dyn Sink>,
    buffer_bytes: usize,
) -> Result<TaskDone, Reason> {
    task.position.begin(task.fence, size_of_input(&task.input));
    let out = Collector::new(sink, task.position, task.cancel);
    let (format, is_raw) = (&task.step.input_format, task.step.program().kind() != Kind::Native);
    task.skips.begin();
    let mut attempt = Attempt { buffer_bytes, is_raw, ..Attempt::new(mapper, out, task.skips, format) };
    match task.input {
        MapInput::Pieces { pieces, inputs } => {
            for piece in &pieces {
                attempt.read_piece(piece, inputs)?;
            }
        }
        MapInput::Generated { first, count } => attempt.read_generated(first, count)?,
        MapInput::Part { part, text } => attempt.read_part(part, text)?,
        MapInput::Fed { .. } => return Err(failure::worker("a map that is fed was to read by itself")),
    }
    attempt.finish()
}

fn size_of_input(input: &MapInput<'_>) -> u64 {
    match input {
        MapInput::Pieces { pieces, .. } => pieces.iter().map(|piece| piece.end.saturating_sub(piece.start)).sum(),
        MapInput::Generated { count, .. } => *count,
        MapInput::Part { .. } | MapInput::Fed { .. } => 0,
    }
}

pub(super) struct Attempt<'m, M> {
    pub(super) mapper: M,
    pub(super) out: Collector,
    buffer_bytes: usize,
    records: u64,
    done: u64,
    skips: &'m Skips,
    format: &'m InputFormat,
    /// The program is not compiled in: blocks of binary records have nothing between them.
    is_raw: bool,
}

impl<'m, M: MapFunction> Attempt<'m, M> {
    pub(super) fn new(mapper: M, out: Collector, skips: &'m Skips, format: &'m InputFormat) -> Self {
        let buffer_bytes = BUFFER_BYTES;
        Self { mapper, out, buffer_bytes, records: 0, done: 0, skips, format, is_raw: false }
    }

    /// Enters a range that is this much of the task's input.
    fn enter(&mut self, spot: Spot, start: &Start<'_>, length: u64) -> Result<(), Reason> {
        let &Start { name, offset, .. } = start;
        self.out.enter(Arc::from(name));
        // A command that is killed was at some record before this one, nobody knows which.
        let spot = if self.skips.is_rough() { Spot::Nowhere } else { spot };
        self.out.position().enter_span(spot, offset, length);
        let started = self.mapper.start(start, &mut self.out);
        started.map_err(|error| failure::user(&error, Some(self.out.place())))
    }

    fn enter_piece(&mut self, piece: &InputPiece<'_>) -> Result<(), Reason> {
        let PinnedFile { url, tag, .. } = piece.file;
        let start = Start { name: url, offset: piece.offset(), tag: tag.as_deref() };
        self.enter(Spot::File(piece.index), &start, piece.end - piece.start)
    }

    fn read_piece(&mut self, piece: &InputPiece<'_>, inputs: &dyn Inputs) -> Result<(), Reason> {
        let before = self.done;
        let archive_error = if self.skips.takes_bad() { input::archive_error(piece, inputs)? } else { None };
        if let Some(why) = archive_error {
            self.skips.bad(&piece.file.url, 0, &why)?;
        } else if let InputFormat::Parquet(format) = self.format {
            self.read_parquet(format, piece, inputs)?;
        } else if self.format.is_plain_lines() {
            self.read_lines(piece, inputs)?;
        } else {
            self.read_records(piece, inputs)?;
        }
        self.done = before + (piece.end - piece.start);
        self.out.position().advance(self.done);
        Ok(())
    }

    fn read_lines(&mut self, piece: &InputPiece<'_>, inputs: &dyn Inputs) -> Result<(), Reason> {
        let Some(mut blocks) = input::open(piece, inputs, self.buffer_bytes)? else { return Ok(()) };
        self.enter_piece(piece)?;
        loop {
            match blocks.next_block() {
                Ok(Some(block)) => self.map_block(&block)?,
                Ok(None) => break,
                Err(BlockError::TooLong(offset)) if self.skips.takes_bad() => {
                    let why = format!("the line is longer than {} bytes", limits::LINE_BYTES);
                    self.skips.bad(&piece.file.url, offset, &why)?;
                    blocks.leave_out();
                }
                Err(error) => return Err(input::explain(piece.file, error)),
            }
            // A packed file's own offsets say little about how much of it was read: they mostly show life.
            self.out.position().tick();
        }
        inputs.recheck(piece.file)
    }

    fn read_records(&mut self, piece: &InputPiece<'_>, inputs: &dyn Inputs) -> Result<(), Reason> {
        let Some(mut records) = records::open(self.format, piece, inputs, self.skips, self.is_raw)? else {
            return Ok(());
        };
        self.enter_piece(piece)?;
        while let Some(batch) = records.next_batch()? {
            self.map_batch(batch)?;
            self.out.position().tick();
        }
        inputs.recheck(piece.file)
    }

    fn read_parquet(&mut self, format: &Parquet, piece: &InputPiece<'_>, inputs: &dyn Inputs) -> Result<(), Reason> {
        let Some(mut rows) = parquet::open(format, piece, inputs, self.skips)? else { return Ok(()) };
        let PinnedFile { url, tag, .. } = piece.file;
        let start = Start { name: url, offset: rows.first_row(), tag: tag.as_deref() };
        self.enter(Spot::File(piece.index), &start, piece.end - piece.start)?;
        while let Some(batch) = rows.next_batch()? {
            self.map_batch(batch)?;
            self.out.position().tick();
        }
        inputs.recheck(piece.file)
    }

    fn map_batch(&mut self, batch: &records::Batch) -> Result<(), Reason> {
        let ends = batch.records.iter().skip(1).map(|(_, next)| next.start).chain([batch.bytes.len()]);
        match M::UNIT {
            Unit::Record => {
                for (offset, record) in &batch.records {
                    self.map_one(*offset, &batch.bytes[record.clone()])?;
                }
            }
            // What native code counts from the beginning of a block is an offset in the file only where the block is as the file.
            Unit::Block if self.skips.is_careful() || !self.is_raw => {
                for ((offset, record), end) in batch.records.iter().zip(ends) {
                    self.map_one(*offset, &batch.bytes[record.start..end])?;
                }
            }
            Unit::Block => {
                self.records += batch.records.len() as u64;
                let first = batch.records.first().map_or(0, |(offset, _)| *offset);
                self.call(first, &batch.bytes)?;
            }
        }
        self.out.check()
    }

    fn read_generated(&mut self, first: u64, count: u64) -> Result<(), Reason> {
        let start = Start { name: "generated records", offset: first, tag: None };
        self.enter(Spot::Generated, &start, count)?;
        let end = first.saturating_add(count);
        let mut block = Vec::new();
        for start in (first..end).step_by(GENERATED_RECORDS as usize) {
            let stop = start.saturating_add(GENERATED_RECORDS).min(end);
            match M::UNIT {
                Unit::Record => self.map_numbers(start, stop)?,
                Unit::Block if self.skips.is_careful() => {
                    for number in start..stop {
                        block.clear();
                        push_decimal(&mut block, number);
                        block.push(b'\n');
                        self.map_one(number, &block)?;
                    }
                }
                Unit::Block => {
                    block.clear();
                    for number in start..stop {
                        push_decimal(&mut block, number);
                        block.push(b'\n');
                    }
                    self.records += stop - start;
                    self.call(start, &block)?;
                }
            }
            self.out.check()?;
            self.out.position().tick();
        }
        self.out.position().advance(count);
        Ok(())
    }

    fn map_numbers(&mut self, start: u64, stop: u64) -> Result<(), Reason> {
        let mut text = Vec::with_capacity(20);
        for number in start..stop {
            text.clear();
            push_decimal(&mut text, number);
            self.map_one(number, &text)?;
        }
        Ok(())
    }

    fn read_part(&mut self, part: u32, text: Box<dyn Read + Send + '_>) -> Result<(), Reason> {
        let name = Spot::Part(part).name();
        self.enter(Spot::Part(part), &Start { name: &name, offset: 0, tag: None }, 0)?;
        let mut blocks = Blocks::whole(text);
        while let Some(block) = blocks.next_block().map_err(|error| input::explain_part(&name, error))? {
            self.map_block(&block)?;
            self.out.position().advance(0);
        }
        Ok(())
    }

    pub(super) fn map_block(&mut self, block: &Block<'_>) -> Result<(), Reason> {
        match M::UNIT {
            Unit::Block if self.skips.is_careful() => {
                let mut start = 0;
                for end in memchr_iter(b'\n', block.bytes).map(|end| end + 1).chain([block.bytes.len()]) {
                    if start < end {
                        self.map_one(block.offset + start as u64, &block.bytes[start..end])?;
                    }
                    start = end;
                }
            }
            Unit::Block => {
                self.records += count_lines(block.bytes);
                self.call(block.offset, block.bytes)?;
            }
            Unit::Record => {
                let mut start = 0;
                for end in memchr_iter(b'\n', block.bytes) {
                    self.map_one(block.offset + start as u64, &block.bytes[start..end])?;
                    start = end + 1;
                }
                if start < block.bytes.len() {
                    self.map_one(block.offset + start as u64, &block.bytes[start..])?;
                }
            }
        }
        self.out.check()
    }

    /// Gives one record to the mapper, unless it is one to leave out.
    #[inline]
    fn map_one(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Reason> {
        if self.skips.is_careful() && self.skips.leaves_out(self.out.name(), offset) {
            return Ok(());
        }
        self.call(offset, bytes)?;
        self.records += 1;
        Ok(())
    }

    #[inline]
    fn call(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Reason> {
        self.out.at(offset);
        match self.mapper.map(bytes, &mut self.out) {
            Ok(()) => Ok(()),
            Err(error) => Err(failure::record(&error, self.out.place(), self.skips.takes_bad())),
        }
    }

    pub(super) fn finish(mut self) -> Result<TaskDone, Reason> {
        self.out.check()?;
        if self.skips.is_careful() {
            // What fails from here on is no record's fault.
            self.out.position().enter(Spot::Nowhere, 0);
        }
        let finished = self.mapper.finish(&mut self.out);
        let at = (!self.skips.is_careful()).then(|| self.out.place());
        finished.map_err(|error| failure::user(&error, at))?;
        let (summary, counters) = self.out.finish()?;
        Ok(TaskDone { summary, records_in: self.records, bytes_in: 0, counters })
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    let ends = memchr_iter(b'\n', bytes).count() as u64;
    ends + u64::from(bytes.last().is_some_and(|&last| last != b'\n'))
}

fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
