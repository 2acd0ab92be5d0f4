//! Sections that are still arriving. A thread writes them into scratch files, as far ahead of the merge that reads them as the
//! network is faster; memory is bounded by a chunk of each answer.
//!
//! Sections come in turns, so the first records of all are there soon; what a merge reads of one section is then about as
//! far on as what it reads of another, and it seldom waits for more than the network is behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use futures_util::future::join_all;
use gristmill_client::Backoff;
use gristmill_common::{Reason, limits};
use gristmill_runs::Turns;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::coordinator::{ALIVE, Coordinator, worker_failure};
use super::fetch::{Answer, Fetch};
use super::sections::LazyFile;
use crate::program::{ReadFailed, Section};

#[cfg(test)]
mod tests;

/// Answers that have begun, for the sections of one partition.
pub(super) struct Arrivals<'a> {
    coordinator: &'a Coordinator,
    scratch: &'a Path,
    /// Not received yet.
    waiting: Vec<Receiver>,
    /// Scratch files so far.
    files: usize,
}

/// A thread that receives. It ends with this.
pub(crate) struct Transfers {
    arriving: Vec<Arc<Arriving>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(coordinator: &'a Coordinator, scratch: &'a Path) -> Self {
        Self { coordinator, scratch, waiting: Vec::new(), files: 0 }
    }

    /// Takes an answer whose lengths have come, and returns its sections.
    pub(super) fn take(&mut self, fetch: Fetch, answer: Answer, lengths: Vec<u64>) -> Result<Vec<Section>, Reason> {
        if self.waiting.len() == limits::ANSWERS_AT_ONCE {
            self.receive_all()?;
        }
        let path = self.scratch.join(format!("fetched-{}", self.files));
        self.files += 1;
        let file = File::create(&path).map_err(|error| worker_failure("write fetched map outputs", &error))?;
        let arriving = Arc::new(Arriving::new(self.coordinator, path, lengths));
        let sections = arriving.sections(&fetch);
        self.waiting.push(Receiver { fetch, answer, file, arriving });
        Ok(sections)
    }

    /// Receives everything so far before it returns.
    fn receive_all(&mut self) -> Result<(), Reason> {
        let waiting = std::mem::take(&mut self.waiting);
        let transfers = Transfers::start(self.coordinator, waiting)?;
        transfers.arriving.iter().try_for_each(|arriving| arriving.wait_for_all())
    }

    /// Starts to receive what was taken.
    pub(super) fn start(self) -> Result<Option<Transfers>, Reason> {
        if self.waiting.is_empty() { Ok(None) } else { Transfers::start(self.coordinator, self.waiting).map(Some) }
    }
}

impl Transfers {
    fn start(coordinator: &Coordinator, receivers: Vec<Receiver>) -> Result<Self, Reason> {
        let arriving = receivers.iter().map(|receiver| Arc::clone(&receiver.arriving)).collect();
        let (stop, stopped) = oneshot::channel();
        let coordinator = coordinator.clone();
        let receive = move || {
            let all = join_all(receivers.into_iter().map(Receiver::run));
            coordinator.beside(async {
                tokio::select! { _ = stopped => (), _ = all => () }
                // Connections whose answers nobody wants any more close now: nobody may run them for long after this.
                yield_now().await;
            });
        };
        let thread = Builder::new().name("fetch".to_owned()).spawn(receive);
        let thread = thread.map_err(|error| worker_failure("start a thread that fetches", &error))?;
        Ok(Self { arriving, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Whoever comes next writes into the same scratch directory.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that fetches panicked");
        }
    }
}

/// The sections of one answer: what has come, and whether the rest will.
struct Arriving {
    path: PathBuf,
    /// Shows that whoever waits is alive.
    alive: Box<dyn Fn() + Send + Sync>,
    lengths: Vec<u64>,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of each section.
    came: Vec<u64>,
    failed: Option<Reason>,
}

impl Arriving {
    fn new(coordinator: &Coordinator, path: PathBuf, lengths: Vec<u64>) -> Self {
        let state = State { came: vec![0; lengths.len()], failed: None };
        Self {
            path,
            alive: Box::new(coordinator.sign_of_life()),
            lengths,
            state: Mutex::new(state),
            more: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each section begins in the file: they lie one behind the other.
    fn places(&self) -> Vec<u64> {
        let starts =
            self.lengths.iter().scan(0_u64, |at, &length| Some(std::mem::replace(at, at.saturating_add(length))));
        starts.collect()
    }

    fn sections(self: &Arc<Self>, fetch: &Fetch) -> Vec<Section> {
        let outputs = fetch.request.outputs.iter().zip(self.places()).zip(&self.lengths).enumerate();
        let present = outputs.filter(|&(_, (_, &len))| len > 0);
        let section = |(number, ((&(map, fence), at), &len))| {
            let file = LazyFile::scratch(&self.path, at, len);
            let bytes = Box::new(Reader { arriving: Arc::clone(self), number, at: 0, here: 0, file });
            Section { map, fence, len, bytes }
        };
        present.map(section).collect()
    }

    fn came(&self, number: usize, bytes: u64) {
        self.state().came[number] = bytes;
        self.more.notify_all();
    }

    fn fail(&self, reason: Reason) {
        self.state().failed.get_or_insert(reason);
        self.more.notify_all();
    }

    /// Waits until more than `at` bytes of a section are there, and returns how many.
    fn wait(&self, number: usize, at: u64) -> Result<u64, Reason> {
        let mut state = self.state();
        loop {
            if state.came[number] > at {
                return Ok(state.came[number]);
            }
            if let Some(reason) = &state.failed {
                return Err(reason.clone());
            }
            // The network is slow, not user code.
            (self.alive)();
            state = self.more.wait_timeout(state, ALIVE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_all(&self) -> Result<(), Reason> {
        let any = self.lengths.iter().enumerate().filter(|&(_, &length)| length > 0);
        for (number, length) in any {
            self.wait(number, length - 1)?;
        }
        Ok(())
    }
}

/// Writes one answer into its file.
struct Receiver {
    fetch: Fetch,
    answer: Answer,
    file: File,
    arriving: Arc<Arriving>,
}

impl Drop for Receiver {
    /// Tells readers that nothing comes any more, however it ended, or whether it ever began; not seen where everything came.
    fn drop(&mut self) {
        self.arriving.fail(worker_failure("fetch map outputs", &"the transfer was ended"));
    }
}

impl Receiver {
    async fn run(mut self) {
        if let Err(reason) = self.receive().await {
            self.arriving.fail(reason);
        }
    }

    async fn receive(&mut self) -> Result<(), Reason> {
        let places = self.arriving.places();
        let (mut taken, mut backoff) = (0, Backoff::default());
        for piece in Turns::new(self.arriving.lengths.clone()) {
            let (mut at, end) = (piece.at, piece.at + piece.len);
            while at < end {
                match self.answer.some(end - at).await {
                    Ok(bytes) => {
                        let written = self.file.write_all_at(&bytes, places[piece.number] + at);
                        written.map_err(|error| worker_failure("write fetched map outputs", &error))?;
                        at += bytes.len() as u64;
                        taken += bytes.len() as u64;
                        self.arriving.came(piece.number, at);
                        backoff.reset();
                    }
                    Err(error) => {
                        let here = (taken, self.arriving.lengths.as_slice());
                        self.answer = self.fetch.go_on(error, &mut backoff, here, piece.number).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A section that is read while it arrives.
struct Reader {
    arriving: Arc<Arriving>,
    number: usize,
    at: u64,
    /// Bytes that are known to be there.
    here: u64,
    file: LazyFile,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.arriving.lengths[self.number];
        if self.at == self.here && self.here < length && !buffer.is_empty() {
            self.here = self.arriving.wait(self.number, self.at).map_err(ReadFailed)?;
        }
        // At the end the file is asked once more, which closes it.
        let room = usize::try_from(self.here - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..room])?;
        self.at += read as u64;
        Ok(read)
    }
}
