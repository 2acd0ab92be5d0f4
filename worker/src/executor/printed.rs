//! What native user code prints: caught in a file of the executor's scratch directory, attempt by attempt.
//!
//! A file and not a pipe: what was printed is there when `write` returns, so that no byte of one attempt is taken for
//! another's, and what an executor printed before it died can still be read. Its middle is given back to the disk as it
//! grows; head and tail stay. All of it goes on to the worker's own log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill_common::limits;
use rustix::fs::FallocateFlags;

use crate::log::AttemptLog;

/// The file, and next to it how much of it is in the worker's log already.
const FILE: &str = "printed";
const SEEN_FILE: &str = "printed.seen";
/// How often what was printed goes on to the worker's log while an attempt runs.
const FORWARD_EVERY: Duration = Duration::from_millis(200);
/// Bytes between two holes that are punched.
const PUNCH_BYTES: u64 = 1 << 20;
/// Holes begin and end at pages.
const PAGE_BYTES: u64 = 4 << 10;
const HALF_BYTES: u64 = limits::LOG_HALF_BYTES as u64;

/// The standard streams of an executor process.
#[derive(Clone)]
pub(crate) struct Printed(Arc<Mutex<Caught>>);

struct Caught {
    file: File,
    /// The worker's log.
    outside: File,
    seen_file: File,
    seen: u64,
    /// Where the hole ends.
    hole_end: u64,
}

impl Printed {
    /// Takes stdout and stderr away from this process; both become the file.
    pub(crate) fn take_stdio(scratch: &Path) -> io::Result<Self> {
        let outside = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let printed = Self::catch(scratch, outside)?;
        {
            let caught = printed.0.lock().unwrap_or_else(PoisonError::into_inner);
            rustix::stdio::dup2_stdout(&caught.file)?;
            rustix::stdio::dup2_stderr(&caught.file)?;
        }
        let forwarded = printed.clone();
        std::thread::Builder::new().name("printed".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(FORWARD_EVERY);
                let mut caught = forwarded.0.lock().unwrap_or_else(PoisonError::into_inner);
                // What cannot be passed on is still in the attempt's log.
                let _ = caught.forward();
            }
        })?;
        Ok(printed)
    }

    fn catch(scratch: &Path, outside: File) -> io::Result<Self> {
        let open = |name, append| {
            let mut options = OpenOptions::new();
            options.create_new(true).read(true).mode(0o600);
            if append {
                options.append(true)
            } else {
                options.write(true)
            };
            options.open(scratch.join(name))
        };
        let (file, seen_file) = (open(FILE, true)?, open(SEEN_FILE, false)?);
        Ok(Self(Arc::new(Mutex::new(Caught { file, outside, seen_file, seen: 0, hole_end: HALF_BYTES }))))
    }

    /// Moves what the attempt printed into its log. Called after each one: a look at the file's size when there is nothing.
    pub(crate) fn drain(&self, log: &AttemptLog) {
        let mut caught = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = caught.drain(log) {
            log.note(&format!("what was printed cannot be read: {error}"));
        }
    }
}

impl Caught {
    fn drain(&mut self, log: &AttemptLog) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if size == 0 {
            return Ok(());
        }
        let _ = self.forward();
        read_ends(&self.file, size, log)?;
        self.file.set_len(0)?;
        (self.seen, self.hole_end) = (0, HALF_BYTES);
        self.seen_file.write_all_at(&0_u64.to_le_bytes(), 0)
    }

    /// Copies what is new to the worker's log, and gives the middle of a long text back to the disk.
    fn forward(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if size <= self.seen {
            return Ok(());
        }
        let from = self.seen;
        // Noted first: after a crash in between a few bytes are missing in the worker's log, none is there twice.
        self.seen = size;
        self.seen_file.write_all_at(&size.to_le_bytes(), 0)?;
        copy(&self.file, from, size, &mut self.outside)?;
        let end = size.saturating_sub(HALF_BYTES) / PAGE_BYTES * PAGE_BYTES;
        if end >= self.hole_end + PUNCH_BYTES {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where the file system cannot do that, the file stays as large as it is.
            let _ = rustix::fs::fallocate(&self.file, flags, self.hole_end, end - self.hole_end);
            self.hole_end = end;
        }
        Ok(())
    }
}

/// Reads what an executor that is gone printed last, and passes on what it could not.
pub(crate) fn left_behind(scratch: &Path) -> AttemptLog {
    let log = AttemptLog::default();
    let read = || -> io::Result<()> {
        let file = File::open(scratch.join(FILE))?;
        let size = file.metadata()?.len();
        let mut seen = [0; 8];
        let _ = File::open(scratch.join(SEEN_FILE)).and_then(|file| file.read_exact_at(&mut seen, 0));
        let from = u64::from_le_bytes(seen).max(size.saturating_sub(2 * HALF_BYTES)).min(size);
        let _ = copy(&file, from, size, &mut io::stderr());
        read_ends(&file, size, &log)
    };
    // There is none if it died before it began.
    let _ = read();
    crate::echo::left_behind(scratch, &log);
    log
}

fn read_ends(file: &File, size: u64, log: &AttemptLog) -> io::Result<()> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let head_end = size.min(HALF_BYTES);
    copy(file, 0, head_end, &mut head)?;
    let tail_start = size.saturating_sub(HALF_BYTES).max(head_end);
    copy(file, tail_start, size, &mut tail)?;
    log.absorb(&head, tail_start - head_end, &tail);
    Ok(())
}

fn copy(file: &File, from: u64, to: u64, into: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let most = usize::try_from(to - at).unwrap_or(usize::MAX).min(chunk.len());
        match file.read_at(&mut chunk[..most], at)? {
            0 => break,
            read => {
                into.write_all(&chunk[..read])?;
                at += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn printed(dir: &Path) -> (Printed, File) {
        let outside = File::create(dir.join("outside")).expect("made");
        let printed = Printed::catch(dir, outside).expect("caught");
        let stderr = printed.0.lock().expect("no panic").file.try_clone().expect("cloned");
        (printed, stderr)
    }

    #[test]
    fn each_attempt_gets_what_was_printed_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (printed, mut stderr) = printed(dir.path());
        for text in ["one\n", "", "two\n"] {
            stderr.write_all(text.as_bytes()).expect("printed");
            let log = AttemptLog::default();
            printed.drain(&log);
            assert_eq!(log.text(), text.as_bytes());
        }
        assert_eq!(std::fs::read(dir.path().join("outside")).expect("there"), b"one\ntwo\n");
    }

    #[test]
    fn a_flood_keeps_its_ends_and_takes_no_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let (printed, mut stderr) = printed(dir.path());
        for number in 0..64 {
            stderr.write_all(&vec![b'a' + number % 26; 256 << 10]).expect("printed");
            printed.0.lock().expect("no panic").forward().expect("forwarded");
        }
        let facts = stderr.metadata().expect("facts");
        assert_eq!(facts.len(), 16 << 20);
        assert!(facts.blocks() * 512 < 8 << 20, "{} blocks are taken", facts.blocks());
        let log = left_behind(dir.path());
        let text = log.text();
        assert!(text.starts_with(b"aaa") && text.ends_with(b"lll"));
        let missing = (16 << 20) - 2 * limits::LOG_HALF_BYTES;
        assert!(String::from_utf8_lossy(&text).contains(&format!("{missing} bytes are missing")));
    }

    #[test]
    fn what_was_printed_before_a_death_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_printed, mut stderr) = printed(dir.path());
        stderr.write_all(b"last words\n").expect("printed");
        assert_eq!(left_behind(dir.path()).text(), b"last words\n");
        assert!(left_behind(&dir.path().join("nowhere")).is_empty());
    }
}
