//! What a guest and its host hand to each other: input, output, counters. Only one of them runs at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::log::AttemptLog;
use crate::streaming::{Reporter, Said};

/// Output that is held before the guest waits for it to be taken, in bytes.
const HELD_BYTES: usize = 256 << 10;

/// Both ends.
#[derive(Clone)]
pub(super) struct Pipes(Arc<Mutex<State>>);

struct State {
    input: Vec<u8>,
    /// How much of `input` was read.
    read: usize,
    /// Bytes were put in since the last batch was taken.
    has_batch: bool,
    ended: bool,
    output: Vec<u8>,
    counts: Vec<(String, i64)>,
    reporter: Reporter,
    log: AttemptLog,
}

impl Pipes {
    pub(super) fn new(log: AttemptLog) -> Self {
        Self(Arc::new(Mutex::new(State {
            input: Vec::new(),
            read: 0,
            has_batch: false,
            ended: false,
            output: Vec::new(),
            counts: Vec::new(),
            reporter: Reporter::default(),
            log,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what the guest reads next.
    pub(super) fn put(&self, bytes: &[u8]) {
        let mut state = self.state();
        let read = std::mem::take(&mut state.read);
        state.input.drain(..read);
        state.input.extend_from_slice(bytes);
        state.has_batch = true;
    }

    /// Says that there is no more input.
    pub(super) fn end(&self) {
        self.state().ended = true;
    }

    /// Drops what the guest did not read.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.input.clear();
        state.read = 0;
    }

    /// Takes what the guest wrote.
    pub(super) fn output(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        std::mem::swap(buffer, &mut self.state().output);
    }

    /// Takes what the guest counted.
    pub(super) fn counts(&self) -> Vec<(String, i64)> {
        let mut state = self.state();
        let State { reporter, counts, log, .. } = &mut *state;
        reporter.finish(&mut |said| hear(&said, counts, log));
        std::mem::take(counts)
    }

    // What follows is the guest's end.

    /// Reads into the buffer: 0 at the end of the input. Waits for input.
    pub(super) async fn wait_for_input(&self) {
        std::future::poll_fn(|_| {
            let state = self.state();
            if state.read < state.input.len() || state.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Reads what is there.
    pub(super) fn read(&self, buffer: &mut [u8]) -> usize {
        let mut state = self.state();
        let there = &state.input[state.read..];
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        state.read += length;
        length
    }

    /// Waits for the next batch, and gives it to the function; `None` at the end of the input.
    pub(super) async fn next_batch(&self) -> Option<Vec<u8>> {
        std::future::poll_fn(|_| {
            let mut state = self.state();
            if std::mem::take(&mut state.has_batch) && !state.input.is_empty() {
                return Poll::Ready(Some(std::mem::take(&mut state.input)));
            }
            if state.ended { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Gives a batch back, so that its memory is used again.
    pub(super) fn reuse(&self, mut batch: Vec<u8>) {
        batch.clear();
        let mut state = self.state();
        if state.input.is_empty() {
            state.input = batch;
        }
    }

    /// Writes; what was written is taken before the guest goes on, once there is much of it.
    pub(super) async fn write(&self, bytes: &[u8]) {
        self.state().output.extend_from_slice(bytes);
        std::future::poll_fn(|_| if self.state().output.len() < HELD_BYTES { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// Adds to a counter.
    pub(super) fn count(&self, name: String, amount: i64) {
        push_count(&mut self.state().counts, name, amount);
    }

    /// Writes to stderr: log, and lines for the engine.
    pub(super) fn say(&self, bytes: &[u8]) {
        let mut state = self.state();
        let State { reporter, counts, log, .. } = &mut *state;
        reporter.take(bytes, &mut |said| hear(&said, counts, log));
    }
}

fn hear(said: &Said<'_>, counts: &mut Vec<(String, i64)>, log: &AttemptLog) {
    match said {
        Said::Count(name, amount) => push_count(counts, name.clone(), *amount),
        Said::Status(text) => log.status(text),
        Said::Unknown(line) | Said::Log(line) => log.write(line),
    }
}

/// The list stays short: a limit on counters ends the attempt when they are handed over.
fn push_count(counts: &mut Vec<(String, i64)>, name: String, amount: i64) {
    if let Some((_, sum)) = counts.iter_mut().find(|(known, _)| *known == name) {
        *sum = sum.saturating_add(amount);
    } else if counts.len() <= gristmill_common::limits::COUNTERS {
        counts.push((name, amount));
    }
}
