//! What a program says on stderr: lines for the engine (`reporter:counter:…`, `reporter:status:…`) among lines of its log.

/// Longest line that is looked at, in bytes; what is longer is log.
const LINE_BYTES: usize = 4 << 10;
const PREFIX: &[u8] = b"reporter:";

/// One thing that was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said<'a> {
    /// Add to a counter, named `group:counter`.
    Count(String, i64),
    /// What it is doing.
    Status(String),
    /// A line for the engine that means nothing.
    Unknown(&'a [u8]),
    /// A piece of the log.
    Log(&'a [u8]),
}

/// Cuts stderr into what is said.
#[derive(Default)]
pub(crate) struct Reporter {
    carry: Vec<u8>,
    /// In a line that is too long to be for the engine.
    in_long_line: bool,
}

impl Reporter {
    /// Takes a piece of stderr.
    pub(crate) fn take(&mut self, mut bytes: &[u8], said: &mut dyn FnMut(Said<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if std::mem::take(&mut self.in_long_line) {
                said(Said::Log(line));
            } else if self.carry.is_empty() {
                said(parse(line));
            } else {
                self.carry.extend_from_slice(line);
                said(parse(&self.carry));
                self.carry.clear();
            }
        }
        if self.in_long_line {
            said(Said::Log(bytes));
            return;
        }
        self.carry.extend_from_slice(bytes);
        let reporter = self.carry.iter().zip(PREFIX).all(|(left, right)| left == right);
        // A prompt or a dot is seen at once; what may be for the engine waits for its end.
        if !self.carry.is_empty() && (!reporter || self.carry.len() > LINE_BYTES) {
            self.in_long_line = true;
            self.finish(said);
        }
    }

    /// Takes the end of stderr.
    pub(crate) fn finish(&mut self, said: &mut dyn FnMut(Said<'_>)) {
        if !self.carry.is_empty() {
            let whole = !self.in_long_line;
            said(if whole { parse(&self.carry) } else { Said::Log(&self.carry) });
            self.carry.clear();
        }
    }
}

fn parse(line: &[u8]) -> Said<'_> {
    let Some(report) = line.strip_prefix(PREFIX) else { return Said::Log(line) };
    let text = String::from_utf8_lossy(report);
    if let Some(status) = text.strip_prefix("status:") {
        return Said::Status(status.trim().to_owned());
    }
    let counter = text.strip_prefix("counter:").and_then(|columns| {
        let columns: Vec<&str> = columns.trim().split(',').collect();
        let [group, counter, amount] = columns[..] else { return None };
        Some(Said::Count(format!("{group}:{counter}"), amount.parse().ok()?))
    });
    counter.unwrap_or(Said::Unknown(line))
}
