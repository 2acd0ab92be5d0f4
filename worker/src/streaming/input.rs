//! What a mapper reads on stdin: blocks of lines as they are in the input, or rewritten where they must be.

use std::borrow::Cow;

use gristmill_common::program::{InputForm, Streaming};
use memchr::{memchr, memchr_iter, memchr2_iter};

/// How records become lines of a mapper's stdin.
pub(super) struct Form {
    form: InputForm,
    separator: Vec<u8>,
    /// Records come as the program is given them.
    pub(super) is_raw: bool,
}

impl Form {
    pub(super) fn of(streaming: &Streaming) -> Self {
        Self { form: streaming.input, separator: streaming.map_input_separator.clone().into_bytes(), is_raw: false }
    }

    /// Returns the lines of a block, each with a line feed. `offset` is that of the block's first byte, or the number of
    /// its first generated record. Text with line feeds only is not copied.
    pub(super) fn rewrite<'b>(&self, block: &'b [u8], offset: u64, numbered: bool) -> Cow<'b, [u8]> {
        if self.is_raw {
            return Cow::Borrowed(block);
        }
        let plain = block.last() == Some(&b'\n') && memchr(b'\r', block).is_none();
        match self.form {
            InputForm::Line if plain => Cow::Borrowed(block),
            InputForm::Line => {
                let mut out = Vec::with_capacity(block.len() + 1);
                each_line(block, |_, line| {
                    out.extend_from_slice(line);
                    out.push(b'\n');
                });
                Cow::Owned(out)
            }
            InputForm::OffsetLine => Cow::Owned(self.with_offsets(block, offset, numbered)),
            InputForm::KeyValue => Cow::Owned(self.with_keys(block)),
        }
    }

    fn with_offsets(&self, block: &[u8], offset: u64, numbered: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() * 2);
        let mut number = offset;
        each_line(block, |at, line| {
            let key = if numbered { number } else { offset + at as u64 };
            number += 1;
            out.extend_from_slice(key.to_string().as_bytes());
            out.extend_from_slice(&self.separator);
            out.extend_from_slice(line);
            out.push(b'\n');
        });
        out
    }

    /// A line without a tab is a key whose value is empty, and gains a separator.
    fn with_keys(&self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() + block.len() / 4);
        each_line(block, |_, line| {
            let key_end = memchr(b'\t', line).unwrap_or(line.len());
            out.extend_from_slice(&line[..key_end]);
            out.extend_from_slice(&self.separator);
            out.extend_from_slice(line.get(key_end + 1..).unwrap_or_default());
            out.push(b'\n');
        });
        out
    }
}

/// Calls the function with place and text of each line: they end at LF, CRLF, a lone CR, and the end of the block. Blocks end
/// behind a line feed or at the end of a file, so that no CRLF is cut.
fn each_line(block: &[u8], mut line: impl FnMut(usize, &[u8])) {
    let mut start = 0;
    let ends: &mut dyn Iterator<Item = usize> = if memchr(b'\r', block).is_some() {
        &mut memchr2_iter(b'\r', b'\n', block)
    } else {
        &mut memchr_iter(b'\n', block)
    };
    for end in ends {
        if end < start {
            // The line feed of a CRLF that was taken.
            continue;
        }
        line(start, &block[start..end]);
        let crlf = block[end] == b'\r' && block.get(end + 1) == Some(&b'\n');
        start = end + 1 + usize::from(crlf);
    }
    if start < block.len() {
        line(start, &block[start..]);
    }
}
