//! The end of an attempt's log, in a file of its executor's scratch directory: where the supervisor finds it when it had to
//! kill the executor, whose memory held the log.
//!
//! A ring: a number of bytes that were written in all, then the last of them, each at its place modulo the ring's size. An attempt
//! that writes nothing costs nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use gristmill_common::limits;

use crate::log::AttemptLog;

const FILE: &str = "said";
/// Bytes before the ring.
const HEADER_BYTES: u64 = 8;
const RING_BYTES: u64 = limits::LOG_HALF_BYTES as u64;

/// The writing end.
#[derive(Debug)]
pub(crate) struct Echo {
    file: File,
    written: Mutex<u64>,
}

impl Echo {
    pub(crate) fn create(scratch: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(scratch.join(FILE))?, written: Mutex::new(0) })
    }

    /// Begins with another attempt.
    pub(crate) fn begin(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *written) > 0 {
            let _ = self.file.write_all_at(&0_u64.to_le_bytes(), 0);
        }
    }

    /// Adds bytes. What cannot be written is missing in the log of an attempt that is killed, no more.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let all = *written + bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(RING_BYTES as usize)..];
        let at = (all - last.len() as u64) % RING_BYTES;
        let (until_end, rest) = last.split_at(last.len().min((RING_BYTES - at) as usize));
        let put = |bytes, at| self.file.write_all_at(bytes, HEADER_BYTES + at);
        let _ = put(until_end, at).and_then(|()| put(rest, 0));
        let _ = self.file.write_all_at(&all.to_le_bytes(), 0);
        *written = all;
    }
}

/// Adds to a log what the attempt of an executor that is gone wrote last.
pub(crate) fn left_behind(scratch: &Path, log: &AttemptLog) {
    let read = || -> io::Result<(u64, Vec<u8>)> {
        let file = File::open(scratch.join(FILE))?;
        let mut all = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut all, 0)?;
        let all = u64::from_le_bytes(all);
        let mut ring = vec![0; RING_BYTES.min(all) as usize];
        file.read_exact_at(&mut ring, HEADER_BYTES)?;
        if all > RING_BYTES {
            ring.rotate_left((all % RING_BYTES) as usize);
        }
        Ok((all, ring))
    };
    if let Ok((all, last)) = read() {
        log.absorb(&[], all - last.len() as u64, &last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(scratch: &Path) -> Vec<u8> {
        let log = AttemptLog::default();
        left_behind(scratch, &log);
        log.text()
    }

    #[test]
    fn the_last_bytes_are_left_whatever_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(left(dir.path()), b"");
        let echo = Echo::create(dir.path()).expect("made");
        assert_eq!(left(dir.path()), b"");
        echo.write(b"one\n");
        echo.write(b"two\n");
        assert_eq!(left(dir.path()), b"one\ntwo\n");
        echo.begin();
        assert_eq!(left(dir.path()), b"", "another attempt");
        let all: Vec<u8> = (0..5 * RING_BYTES / 2).map(|n| (n % 251) as u8).collect();
        for piece in all.chunks(10_007) {
            echo.write(piece);
        }
        let (text, ring) = (left(dir.path()), RING_BYTES as usize);
        assert!(text.ends_with(&all[all.len() - ring..]));
        assert!(String::from_utf8_lossy(&text).contains(&format!("{} bytes are missing", all.len() - ring)));
        echo.begin();
        echo.write(&all);
        assert!(left(dir.path()).ends_with(&all[all.len() - ring..]), "more than the ring at once");
    }
}
