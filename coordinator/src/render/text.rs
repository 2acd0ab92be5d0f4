//! The text of parts, made piece by piece; remembers where it is between pieces.

use std::ops::Range;
use std::vec;

use gristmill_runs::{Merge, RunError, SectionBytes, SectionReader, Source as _, part_text};

use super::narrow;
use super::source::{PartSource, RenderError};
use crate::store::Store;

/// Text that is being rendered.
pub(crate) struct Text {
    order: Order,
    window: Window,
}

enum Order {
    Concatenated { store: Store, rest: vec::IntoIter<PartSource>, current: Option<Current> },
    Merged { merge: Merge<SectionReader<SectionBytes>>, indices: Vec<u32> },
}

/// The part that is being read.
struct Current {
    index: u32,
    reader: SectionReader<SectionBytes>,
    /// Bytes of text that it must still have.
    left: u64,
}

/// What of the text is wanted.
struct Window {
    skip: u64,
    left: u64,
    /// Whether the end of the text is wanted, and so that nothing comes after it.
    to_end: bool,
}

impl Window {
    fn new(range: &Range<u64>, skipped: u64, total: u64) -> Self {
        Self { skip: range.start - skipped, left: range.end - range.start, to_end: range.end == total }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let rest = &bytes[skipped as usize..];
        let taken = self.left.min(rest.len() as u64);
        self.left -= taken;
        out.extend_from_slice(&rest[..taken as usize]);
    }
}

impl Text {
    /// Renders one part after the other. Parts in front of the range are not opened.
    pub(crate) fn concatenated(store: Store, mut parts: Vec<PartSource>, range: Range<u64>) -> Self {
        let total = parts.iter().map(|part| part.output.text_bytes).sum();
        let mut skipped = 0;
        let mut whole = 0;
        for part in &parts {
            if skipped + part.output.text_bytes > range.start {
                break;
            }
            skipped += part.output.text_bytes;
            whole += 1;
        }
        parts.drain(..whole);
        let window = Window::new(&range, skipped, total);
        Self { order: Order::Concatenated { store, rest: parts.into_iter(), current: None }, window }
    }

    /// Renders all parts merged by key. Opens them.
    pub(crate) fn merged(store: Store, parts: &[PartSource], range: Range<u64>) -> Result<Self, RenderError> {
        let total = parts.iter().map(|part| part.output.text_bytes).sum();
        let runs = narrow::open(&store, parts)?;
        let indices = runs.iter().map(|(index, _)| *index).collect();
        let merge = Merge::new(runs.iter().map(|(_, run)| run.reader(0)).collect());
        Ok(Self { order: Order::Merged { merge, indices }, window: Window::new(&range, 0, total) })
    }

    /// Appends text to `out` until it has `enough` bytes; `false` when all of the range is there.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> Result<bool, RenderError> {
        while out.len() < enough {
            if self.window.left == 0 && !self.window.to_end {
                return Ok(false);
            }
            let more = match &mut self.order {
                Order::Concatenated { store, rest, current } => {
                    next_of_parts(store, rest, current, &mut self.window, out)?
                }
                Order::Merged { merge, indices } => next_of_merge(merge, indices, &mut self.window, out)?,
            };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn next_of_parts(
    store: &Store,
    rest: &mut vec::IntoIter<PartSource>,
    current: &mut Option<Current>,
    window: &mut Window,
    out: &mut Vec<u8>,
) -> Result<bool, RenderError> {
    let Some(part) = current else {
        let Some(next) = rest.next() else { return at_end(window, 0) };
        if let Some(run) = next.open(store)? {
            *current = Some(Current { index: next.index, reader: run.reader(0), left: next.output.text_bytes });
        }
        return Ok(true);
    };
    let failed = |error: RunError| RenderError::run(part.index, &error);
    if !part.reader.advance().map_err(failed)? {
        if part.left > 0 {
            return Err(wrong_length(part.index));
        }
        *current = None;
        return Ok(true);
    }
    let (head, tail) = part_text(part.reader.key(), part.reader.value()).map_err(failed)?;
    let bytes = (head.len() + tail.len()) as u64;
    part.left = part.left.checked_sub(bytes).ok_or_else(|| wrong_length(part.index))?;
    window.take(head, out);
    window.take(tail, out);
    Ok(true)
}

fn next_of_merge(
    merge: &mut Merge<SectionReader<SectionBytes>>,
    indices: &[u32],
    window: &mut Window,
    out: &mut Vec<u8>,
) -> Result<bool, RenderError> {
    let index = |merge: &Merge<_>| indices.get(merge.source_index()).copied().unwrap_or_default();
    let more = merge.advance().map_err(|error| RenderError::run(index(merge), &error))?;
    if !more {
        return at_end(window, indices.first().copied().unwrap_or_default());
    }
    let failed = |error| RenderError::run(index(merge), &error);
    let (head, tail) = part_text(merge.key(), merge.value()).map_err(failed)?;
    if window.left == 0 && head.len() + tail.len() > 0 {
        return Err(wrong_length(index(merge)));
    }
    window.take(head, out);
    window.take(tail, out);
    Ok(true)
}

fn at_end(window: &Window, index: u32) -> Result<bool, RenderError> {
    if window.left > 0 { Err(wrong_length(index)) } else { Ok(false) }
}

fn wrong_length(index: u32) -> RenderError {
    RenderError::Part { index, why: "its text is not as long as was reported".to_owned() }
}
