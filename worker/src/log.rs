//! What one attempt writes to its log: the first bytes and the last ones are kept, what is between is counted.
//!
//! Clones share one log, so that the threads that read a program's pipes write to it. An attempt that writes nothing costs
//! nothing: memory is taken by the first byte.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_common::limits;

use crate::echo::Echo;
use crate::position::Position;

/// The log of one attempt.
#[derive(Clone, Default)]
pub struct AttemptLog {
    kept: Arc<Mutex<Kept>>,
    /// Where what user code says that it does is seen while it does it.
    position: Option<Arc<Position>>,
    /// Where its end is found when this process is killed.
    echo: Option<Arc<Echo>>,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes that are neither in `head` nor in `tail`.
    missing: u64,
}

impl AttemptLog {
    pub(crate) fn of(position: &Arc<Position>, echo: Option<&Arc<Echo>>) -> Self {
        if let Some(echo) = echo {
            echo.begin();
        }
        Self { position: Some(Arc::clone(position)), echo: echo.cloned(), ..Self::default() }
    }

    /// Takes what user code says that it does: a line of the log, and seen while the attempt runs.
    pub fn status(&self, text: &str) {
        if let Some(position) = &self.position {
            position.say(text);
        }
        self.note(&format!("status: {text}"));
    }

    /// Adds bytes. Never fails and never blocks for long: a program must not wait for its log.
    pub fn write(&self, bytes: &[u8]) {
        self.kept().write(bytes);
        if let Some(echo) = &self.echo {
            echo.write(bytes);
        }
    }

    /// Adds a line of our own between what the program writes.
    pub fn note(&self, text: &str) {
        let mid_line = {
            let kept = self.kept();
            kept.tail.back().or(kept.head.last()).is_some_and(|last| *last != b'\n')
        };
        self.write(format!("{}[gristmill] {text}\n", if mid_line { "\n" } else { "" }).as_bytes());
    }

    /// Says whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept().head.is_empty()
    }

    /// Returns what was kept; a line in the middle says how many bytes are missing.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.kept().text()
    }

    /// Adds what another keeper of head and tail had: `missing` bytes were between them.
    pub fn absorb(&self, head: &[u8], missing: u64, tail: &[u8]) {
        let mut kept = self.kept();
        kept.write(head);
        if missing > 0 {
            kept.lose_tail();
            kept.missing += missing;
        }
        kept.write(tail);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Bytes of a log: whatever a panicking writer left is as good as any.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn write(&mut self, mut bytes: &[u8]) {
        if self.missing == 0 && self.tail.is_empty() {
            let room = limits::LOG_HALF_BYTES.saturating_sub(self.head.len()).min(bytes.len());
            let (first, rest) = bytes.split_at(room);
            self.head.extend_from_slice(first);
            bytes = rest;
        }
        let skipped = bytes.len().saturating_sub(limits::LOG_HALF_BYTES);
        let last = &bytes[skipped..];
        let pushed_out = (self.tail.len() + last.len()).saturating_sub(limits::LOG_HALF_BYTES);
        self.tail.drain(..pushed_out);
        self.tail.extend(last);
        self.missing += (skipped + pushed_out) as u64;
    }

    fn lose_tail(&mut self) {
        self.missing += self.tail.len() as u64;
        self.tail.clear();
    }

    fn text(&self) -> Vec<u8> {
        let mut text = self.head.clone();
        if self.missing > 0 {
            let mid_line = text.last().is_some_and(|last| *last != b'\n');
            let newline = if mid_line { "\n" } else { "" };
            text.extend_from_slice(format!("{newline}[… {} bytes are missing here …]\n", self.missing).as_bytes());
        }
        let (front, back) = self.tail.as_slices();
        text.extend_from_slice(front);
        text.extend_from_slice(back);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: usize = limits::LOG_HALF_BYTES;

    #[test]
    fn a_short_log_is_whole_and_a_note_has_a_line_of_its_own() {
        let log = AttemptLog::default();
        assert!(log.is_empty());
        log.write(b"one\ntw");
        log.clone().write(b"o");
        log.note("killed");
        assert_eq!(log.text(), b"one\ntwo\n[gristmill] killed\n");
    }

    #[test]
    fn a_status_is_a_line_of_the_log_and_seen_at_once() {
        let position = Arc::new(Position::in_memory());
        let log = AttemptLog::of(&position, None);
        log.status("half way");
        assert_eq!(position.said().as_deref(), Some("half way"));
        assert_eq!(log.text(), b"[gristmill] status: half way\n");
    }

    #[test]
    fn what_is_lost_between_head_and_tail_of_another_keeper_is_counted() {
        let log = AttemptLog::default();
        log.absorb(b"head\n", 7, b"tail\n");
        assert_eq!(String::from_utf8_lossy(&log.text()), "head\n[… 7 bytes are missing here …]\ntail\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn first_and_last_bytes_are_kept_whatever_the_chunks(sizes in prop::collection::vec(0..3 * HALF / 2, 0..8)) {
            let log = AttemptLog::default();
            let all: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
            let mut rest = all.as_slice();
            for size in &sizes {
                let (chunk, after) = rest.split_at(*size);
                log.write(chunk);
                rest = after;
            }
            let text = log.text();
            if all.len() <= 2 * HALF {
                prop_assert_eq!(text, all);
            } else {
                prop_assert_eq!(&text[..HALF], &all[..HALF]);
                prop_assert_eq!(&text[text.len() - HALF..], &all[all.len() - HALF..]);
                let between = String::from_utf8_lossy(&text[HALF..text.len() - HALF]).into_owned();
                prop_assert_eq!(between.trim(), format!("[… {} bytes are missing here …]", all.len() - 2 * HALF));
            }
        }
    }
}
