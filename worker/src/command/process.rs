//! One running program, seen through its pipes.
//!
//! Its stdin is written, its stdout and stderr are read by the thread that calls, in large pieces and without waiting for one
//! while another can move: neither side can block for ever on a full pipe. No thread is started for a program: for a short one
//! that takes a good part of its time.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_common::Reason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::Shared;
use super::ending::{self, Rules};
use super::spawner::{Ended, News, Spawner, Start};
use super::stderr::Stderr;
use crate::log::AttemptLog;
use crate::position::Position;
use crate::streaming::{Peer, Take};

/// What a pipe holds: the most that any user may ask for. Two processes take turns on it, the larger the fewer.
const PIPE_BYTES: usize = 1 << 20;
/// Pipes through which less goes at a time stay as they are: making one larger takes a while.
const SMALL_BYTES: usize = 16 << 10;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// A program that moved this much is busy: then it is not worth while to wake up for each of its small writes.
const BUSY_BYTES: u64 = 1 << 20;
/// A turn that moved less than this is followed by a nap.
const NAP_BELOW_BYTES: usize = 128 << 10;
/// Far shorter than a program takes for a full pipe.
const NAP: Duration = Duration::from_micros(500);
/// How often a wait looks whether the result is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Who watches an attempt.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) position: Arc<Position>,
    pub(super) cancel: Arc<AtomicBool>,
    pub(super) log: AttemptLog,
}

impl Watch {
    pub(super) fn new(position: &Arc<Position>, cancel: &Arc<AtomicBool>, log: &AttemptLog) -> Self {
        Self { position: Arc::clone(position), cancel: Arc::clone(cancel), log: log.clone() }
    }
}

/// One running program.
pub(super) struct Process {
    shared: Arc<Shared>,
    spawner: Option<Spawner>,
    ended: Option<Ended>,
    /// It has ended, and what it left behind has not.
    is_ending: bool,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Stderr,
    buffer: Vec<u8>,
    /// Which of the pipes were made large: stdin, those that are read.
    large: [bool; 2],
    watch: Watch,
    rules: Rules,
    directory: PathBuf,
    moved: u64,
    printed: u64,
    /// It closed its stdin, or ended, before all was written.
    unread: bool,
    /// Gets what it prints too.
    copy: Option<File>,
}

impl Process {
    /// Has it started, and does not wait until it is: a program that cannot be started fails what is done with it later.
    pub(super) fn start(shared: &Arc<Shared>, start: Start, rules: Rules, watch: &Watch) -> Result<Self, Reason> {
        let pipes = pipe().and_then(|stdin| Ok((stdin, pipe()?, pipe()?)));
        let failed = |error| ending::lost("make pipes", &error);
        let ((stdin_end, stdin), (stdout, stdout_end), (stderr, stderr_end)) = pipes.map_err(failed)?;
        for end in [&stdin, &stdout, &stderr] {
            fcntl_setfl(end, OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        }
        let directory = start.directory.clone();
        let mut spawner = shared.pool.start(start, [stdin_end, stdout_end, stderr_end])?;
        Ok(Self {
            shared: Arc::clone(shared),
            buffer: std::mem::take(&mut spawner.buffer),
            spawner: Some(spawner),
            ended: None,
            is_ending: false,
            stdin: Some(File::from(stdin)),
            stdout: Some(File::from(stdout)),
            stderr: Stderr::new(File::from(stderr), watch.log.clone()),
            large: [false; 2],
            watch: watch.clone(),
            rules,
            directory,
            moved: 0,
            printed: 0,
            unread: false,
            copy: None,
        })
    }

    /// As this, and what it prints goes into a file too.
    pub(super) fn printing_to(mut self, copy: File) -> Self {
        self.copy = Some(copy);
        self
    }

    /// Writes what goes into the pipe; 0 when it is full.
    fn write(&mut self, rest: &mut &[u8]) -> Result<usize, Reason> {
        let Some(stdin) = &mut self.stdin else { return Ok(0) };
        if rest.len() > SMALL_BYTES && !std::mem::replace(&mut self.large[0], true) {
            enlarge(stdin);
        }
        match stdin.write(rest) {
            Ok(length) => {
                *rest = &rest[length..];
                Ok(length)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.stdin = None;
                self.unread = true;
                Ok(0)
            }
            Err(error) => Err(ending::lost("write to the program", &error)),
        }
    }

    /// Reads all that was printed, and some of what it said on stderr.
    fn read(&mut self, take: &mut Take<'_>) -> Result<usize, Reason> {
        self.buffer.resize(READ_BYTES, 0);
        let mut all = self.stderr.read(&mut self.buffer);
        while let Some(stdout) = &mut self.stdout {
            match stdout.read(&mut self.buffer) {
                Ok(0) => self.stdout = None,
                Ok(length) => {
                    all += length;
                    self.printed += length as u64;
                    if self.printed > self.rules.output_bytes {
                        return Err(self.rules.too_much_output());
                    }
                    if let Some(copy) = &mut self.copy {
                        let copied = copy.write_all(&self.buffer[..length]);
                        copied.map_err(|error| ending::lost("copy what the program prints", &error))?;
                    }
                    take(&self.buffer[..length])?;
                    if length < READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(ending::lost("read from the program", &error)),
            }
        }
        if all > SMALL_BYTES && !std::mem::replace(&mut self.large[1], true) {
            self.stdout.iter().chain(self.stderr.pipe()).for_each(enlarge);
        }
        Ok(all)
    }

    /// Waits until something can move, or a while.
    fn wait(&mut self) -> Result<(), Reason> {
        let mut fds = Vec::with_capacity(4);
        fds.extend(self.stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        fds.extend(self.stdout.iter().chain(self.stderr.pipe()).map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let pipes = fds.len();
        // A socket from which the end was read shows nothing any more.
        let spawner = self.spawner.as_ref().filter(|_| self.ended.is_none());
        fds.extend(spawner.map(|spawner| PollFd::from_borrowed_fd(spawner.socket(), PollFlags::IN)));
        let _ = poll(&mut fds, Some(&LOOK));
        let is_news = fds.get(pipes).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        if is_news {
            self.take_news()?;
        }
        if self.is_ending {
            // It is not the program that is slow: what it left behind has its seconds to end.
            self.watch.position.tick();
        }
        self.check()
    }

    fn check(&self) -> Result<(), Reason> {
        if self.watch.cancel.load(Ordering::Relaxed) {
            return Err(Reason::Worker { message: "the attempt was cancelled".to_owned() });
        }
        Ok(())
    }

    fn take_news(&mut self) -> Result<(), Reason> {
        let Some(spawner) = &mut self.spawner else { return Ok(()) };
        match spawner.heard() {
            Ok(News::Started) => Ok(()),
            Ok(News::Refused(errno)) => {
                self.ended = Some(Ended::default());
                Err(self.rules.refused(errno, &self.directory))
            }
            Ok(News::Ending) => {
                self.is_ending = true;
                Ok(())
            }
            Ok(News::Ended(ended)) => {
                self.ended = Some(ended);
                Ok(())
            }
            Err(error) => {
                self.spawner = None;
                let message = format!("the process that watches over `{}` ended: {error}", self.rules.name);
                Err(Reason::Crashed { message, at: None })
            }
        }
    }

    fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        self.watch.position.tick();
    }

    /// Gives the spawner back and hears the last of stderr.
    fn close(&mut self) {
        self.stdin = None;
        self.stdout = None;
        if self.buffer.is_empty() {
            self.buffer.resize(READ_BYTES, 0);
        }
        let mut most = PIPE_BYTES;
        loop {
            match self.stderr.read(&mut self.buffer) {
                // Whatever else holds it open is not the program.
                0 => break,
                length => most = most.saturating_sub(length),
            }
            if most == 0 {
                break;
            }
        }
        self.stderr.close();
        if let Some(mut spawner) = self.spawner.take() {
            spawner.buffer = std::mem::take(&mut self.buffer);
            self.shared.pool.put_back(spawner);
        }
    }

    fn judge(&self, ended: Ended) -> Result<(), Reason> {
        self.rules.judge(ended, self.unread, &|| self.stderr.last_line())
    }
}

impl Peer for Process {
    fn feed(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<(), Reason> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let bytes = self.write(&mut rest)? + self.read(take)?;
            if self.stdin.is_none() {
                // Nobody reads the rest. Whether that is a failure, its end will say; one that has failed already says so.
                self.unread = true;
                return match self.ended {
                    Some(ended) => self.judge(ended),
                    None => self.check(),
                };
            }
            if bytes > 0 {
                self.moved(bytes);
            }
            if rest.is_empty() {
                break;
            }
            if bytes == 0 {
                self.wait()?;
            } else if bytes < NAP_BELOW_BYTES && self.moved > BUSY_BYTES {
                std::thread::sleep(NAP);
            }
        }
        Ok(())
    }

    fn finish(&mut self, take: &mut Take<'_>) -> Result<(), Reason> {
        self.stdin = None;
        loop {
            let bytes = self.read(take)?;
            if bytes > 0 {
                self.moved(bytes);
                if bytes < NAP_BELOW_BYTES && self.moved > BUSY_BYTES {
                    std::thread::sleep(NAP);
                }
                self.check()?;
                continue;
            }
            // All that wrote has ended: what was not there now will not come.
            if self.ended.is_some() {
                break;
            }
            self.wait()?;
        }
        // What was printed between the last look and the end.
        while self.stdout.is_some() && self.read(take)? > 0 {}
        let ended = self.ended.unwrap_or_default();
        self.close();
        self.judge(ended)
    }

    fn counters(&mut self) -> Vec<(String, i64)> {
        self.stderr.counters()
    }
}

impl Drop for Process {
    /// An attempt that failed leaves nothing behind. One that is not wanted is asked first; what broke a limit is not.
    fn drop(&mut self) {
        self.stdin = None;
        self.stdout = None;
        if let Some(spawner) = &mut self.spawner
            && self.ended.is_none()
        {
            let gently = self.watch.cancel.load(Ordering::Relaxed);
            if spawner.end(gently).and_then(|()| spawner.ended()).is_err() {
                self.spawner = None;
            }
        }
        self.close();
    }
}

/// A pipe: the end that is read, the end that is written.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// A user may have used up what large pipes may have; smaller ones are slower, that is all.
fn enlarge(pipe: &File) {
    let _ = fcntl_setpipe_size(pipe, PIPE_BYTES);
}
