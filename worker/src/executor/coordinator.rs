//! The coordinator as an executor sees it: blocking calls under the token of a grant.
//!
//! A coordinator that is away is waited for: its outage is a pause, not a failure of the attempt. What it refuses ends the
//! attempt as the worker's failure, which is nobody's fault and is tried elsewhere.

use std::io::{self, Read};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gristmill_client::{Backoff, ClientError, Download, Endpoint, WorkerClient, retry};
use gristmill_common::reason::bounded;
use gristmill_common::wire::LogHead;
use gristmill_common::{Code, Reason, limits};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::protocol::Hello;
use crate::position::Position;
use crate::program::ReadFailed;

/// How long a coordinator that is away is waited for in the middle of an attempt.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// How often an attempt that waits for the coordinator shows that it is alive.
pub(super) const ALIVE: Duration = Duration::from_millis(100);
/// Times in a row that a body that broke off is continued before the attempt gives up. A coordinator that is away in between
/// is waited for.
pub(crate) const CONTINUATIONS: u32 = 8;

/// A blocking connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Coordinator {
    client: WorkerClient,
    runtime: Arc<Runtime>,
    position: Arc<Position>,
}

pub(crate) fn worker_failure(what: &str, error: &dyn std::fmt::Display) -> Reason {
    Reason::Worker { message: bounded(format!("cannot {what}: {error}")) }
}

impl Coordinator {
    pub(crate) fn connect(hello: &Hello, position: Arc<Position>) -> io::Result<Self> {
        let endpoint = Endpoint::new(&hello.url).map_err(io::Error::other)?.with_pin(hello.pin);
        let endpoint = if hello.plain_allowed { endpoint.allow_plain_http() } else { endpoint };
        let client = WorkerClient::new(endpoint).map_err(io::Error::other)?;
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        Ok(Self { client, runtime, position })
    }

    /// Makes a call that may be made twice, and waits for it.
    pub(crate) fn call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        what: &str,
        call: impl Fn(WorkerClient) -> F,
    ) -> Result<T, Reason> {
        self.try_call(call).map_err(|error| worker_failure(what, &error))
    }

    /// As [`Self::call`], for callers that tell errors apart.
    pub(crate) fn try_call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        call: impl Fn(WorkerClient) -> F,
    ) -> Result<T, ClientError> {
        self.wait(retry::idempotent(PATIENCE, || call(self.client.clone())))
    }

    /// Sends the log of an attempt; a coordinator that is away is not waited for as long as for what the attempt needs.
    pub(crate) fn hand_over_log(&self, token: &str, task: u32, head: &LogHead, text: &[u8]) -> Result<(), ClientError> {
        let patience = Duration::from_millis(limits::LOG_PATIENCE_MS);
        self.wait(retry::idempotent(patience, || self.client.put_log(token, task, head, text)))
    }

    /// Returns the client, for calls that somebody else waits for.
    pub(super) fn client(&self) -> WorkerClient {
        self.client.clone()
    }

    /// Runs something on this connection's runtime and shows no sign of life: for a thread beside the attempt's own.
    pub(super) fn beside<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// Waits for the next bytes of a body; empty at its end.
    pub(crate) fn chunk(&self, body: &mut Download) -> Result<Bytes, ClientError> {
        let chunk = self.wait(body.chunk());
        self.position.tick();
        chunk.map(Option::unwrap_or_default)
    }

    /// Shows that the attempt is alive.
    pub(crate) fn tick(&self) {
        self.position.tick();
    }

    /// Returns a sign of life for work whose own progress is not seen, such as a body that is being sent.
    pub(crate) fn sign_of_life(&self) -> impl Fn() + Send + Sync + use<> {
        let position = Arc::clone(&self.position);
        move || position.tick()
    }

    /// Waits a little before something is tried again.
    pub(crate) fn pause(&self, backoff: &mut Backoff) {
        let wait = backoff.draw();
        self.wait(async move { sleep(wait).await });
    }

    /// Waits for the coordinator. Meanwhile the attempt shows that it is alive, since it is not user code that is slow; not
    /// forever, so that a wait without end is noticed.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let mut what = pin!(what);
            self.position.tick();
            for _ in 0..PATIENCE.as_millis() / ALIVE.as_millis() {
                match timeout(ALIVE, &mut what).await {
                    Ok(result) => return result,
                    Err(_) => self.position.tick(),
                }
            }
            what.await
        })
    }
}

type Opener = Box<dyn Fn(u64) -> Result<Download, ClientError> + Send>;
type Explain = Box<dyn Fn(&ClientError) -> Reason + Send>;

/// A body as a reader. One that breaks off is continued where it was.
pub(crate) struct RemoteReader {
    coordinator: Coordinator,
    open: Opener,
    explain: Explain,
    body: Download,
    chunk: Bytes,
    offset: u64,
    /// Where it ends, where known.
    size: Option<u64>,
    /// Times it broke off since the last byte came.
    broken: u32,
    backoff: Backoff,
}

impl RemoteReader {
    /// Opens what `open` returns for an offset, first at `from`; `explain` says what an error makes of the attempt.
    pub(crate) fn open(
        coordinator: Coordinator,
        open: Opener,
        explain: Explain,
        from: u64,
        size: Option<u64>,
    ) -> Result<Self, Reason> {
        let body = open(from).map_err(|error| explain(&error))?;
        let size = size.or_else(|| from.checked_add(body.length()?));
        let (chunk, backoff) = (Bytes::new(), Backoff::default());
        Ok(Self { coordinator, open, explain, body, chunk, offset: from, size, broken: 0, backoff })
    }

    /// Returns where it ends, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns `false` when there is nothing to go on with: it broke off at its very end.
    fn reopen(&mut self, error: &ClientError) -> io::Result<bool> {
        self.broken += 1;
        if !error.is_transient() || self.broken > CONTINUATIONS {
            return Err(self.failed(error));
        }
        self.coordinator.pause(&mut self.backoff);
        match (self.open)(self.offset) {
            Ok(body) => self.body = body,
            Err(error) if self.size.is_none() && error.code() == Some(Code::Range) => return Ok(false),
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(true)
    }

    fn failed(&self, error: &ClientError) -> io::Error {
        ReadFailed((self.explain)(error)).into()
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.size == Some(self.offset) {
                return Ok(0);
            }
            match self.coordinator.chunk(&mut self.body) {
                Ok(chunk) if chunk.is_empty() => return Ok(0),
                Ok(chunk) => {
                    self.chunk = chunk;
                    self.broken = 0;
                    self.backoff.reset();
                }
                Err(error) => {
                    if !self.reopen(&error)? {
                        return Ok(0);
                    }
                }
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        self.offset += length as u64;
        Ok(length)
    }
}
