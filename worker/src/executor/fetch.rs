//! Transfers of sections over HTTP, from the coordinator's store or from the worker that holds them.
//!
//! Each request fills one scratch file, so memory is bounded by a chunk. The coordinator is waited for; another worker is not:
//! what it does not give soon comes by way of the coordinator.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use gristmill_client::{Backoff, ClientError, Download, Endpoint, WorkerClient};
use gristmill_common::shuffle::Holder;
use gristmill_common::wire::FetchRequest;
use gristmill_common::{Fence, Reason, Stage, TaskName, WorkerId, limits};
use gristmill_runs::NOT_THERE;

use super::coordinator::{CONTINUATIONS, Coordinator, worker_failure};
use super::sections::{LazyFile, lost};
use crate::program::Section;

/// Times in a row that a transfer from another worker is begun anew.
const PEER_TRIES: u32 = 2;

/// Fetches one partition for one task.
pub(super) struct Fetch<'a> {
    coordinator: &'a Coordinator,
    scratch: &'a Path,
    /// The step and the stage whose outputs are fetched.
    feeding: (u16, Stage),
    partition: u32,
    /// Scratch files so far.
    files: usize,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(coordinator: &'a Coordinator, scratch: &'a Path, feeding: (u16, Stage), partition: u32) -> Self {
        Self { coordinator, scratch, feeding, partition, files: 0 }
    }

    fn next_path(&mut self) -> PathBuf {
        self.files += 1;
        self.scratch.join(format!("fetched-{}", self.files - 1))
    }

    fn request(&self, outputs: &[(u32, Fence)]) -> FetchRequest {
        FetchRequest { partition: self.partition, outputs: outputs.to_vec() }
    }

    /// Fetches from the coordinator's store. A transfer that breaks off begins anew.
    pub(super) fn stored(&mut self, token: &str, outputs: &[(u32, Fence)]) -> Result<Vec<Section>, Reason> {
        let path = self.next_path();
        let request = self.request(outputs);
        let mut backoff = Backoff::default();
        loop {
            let body = self.coordinator.call("fetch map outputs", |client| {
                let (token, request) = (token.to_owned(), request.clone());
                async move { client.fetch(&token, &request).await }
            })?;
            match self.receive(body, outputs, &path, "the coordinator's store does not have it") {
                Ok(sections) => return Ok(sections),
                Err(FetchError::Failed(reason)) => return Err(reason),
                Err(FetchError::Broke(error)) if error.is_transient() && backoff.tries() < CONTINUATIONS => {
                    tracing::warn!(%error, "a fetch of map outputs broke off; fetching again");
                    self.coordinator.pause(&mut backoff);
                }
                Err(FetchError::Broke(error)) => return Err(worker_failure("fetch map outputs", &error)),
            }
        }
    }

    /// Writes an answer into a scratch file.
    fn receive(
        &self,
        mut body: Download,
        outputs: &[(u32, Fence)],
        path: &Path,
        missing: &str,
    ) -> Result<Vec<Section>, FetchError> {
        let mut file = File::create(path).map_err(|error| worker_failure("write fetched map outputs", &error))?;
        let mut frames = Frames { coordinator: self.coordinator, body: &mut body, ahead: BytesMut::new() };
        let mut sections = Vec::with_capacity(outputs.len());
        let mut at = 0;
        for &(map, fence) in outputs {
            let len = frames.length()?;
            if len == NOT_THERE {
                let (step, stage) = self.feeding;
                return Err(lost(TaskName { step, stage, index: map }, fence, &missing).into());
            }
            frames.copy(len, &mut file)?;
            if len > 0 {
                sections.push(Section { map, fence, len, bytes: Box::new(LazyFile::scratch(path, at, len)) });
            }
            at += len;
        }
        Ok(sections)
    }
}

/// Connections to workers that serve their outputs.
#[derive(Default)]
pub(crate) struct Peers(BTreeMap<WorkerId, (Holder, WorkerClient)>);

impl Peers {
    /// Fetches from the worker that holds the outputs; `None` when it cannot be had from there.
    pub(super) fn fetch(
        &mut self,
        fetch: &mut Fetch<'_>,
        (worker, holder): (WorkerId, &Holder),
        outputs: &[(u32, Fence)],
    ) -> Result<Option<Vec<Section>>, Reason> {
        let client = match self.client(worker, holder) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(url = holder.url, %error, "cannot fetch from a worker");
                return Ok(None);
            }
        };
        let path = fetch.next_path();
        let request = fetch.request(outputs);
        let patience = Duration::from_millis(limits::DIRECT_ANSWER_MS);
        let mut backoff = Backoff::default();
        loop {
            let answer = fetch.coordinator.within(patience, client.fetch(&holder.token, &request));
            let Some(answer) = answer else {
                tracing::warn!(
                    url = holder.url,
                    "a worker does not answer; its outputs come by way of the coordinator"
                );
                return Ok(None);
            };
            let received = answer
                .map_err(FetchError::Broke)
                .and_then(|body| fetch.receive(body, outputs, &path, "its worker does not have it"));
            match received {
                Ok(sections) => return Ok(Some(sections)),
                Err(FetchError::Failed(reason)) => return Err(reason),
                Err(FetchError::Broke(error)) if error.is_transient() && backoff.tries() < PEER_TRIES => {
                    fetch.coordinator.pause(&mut backoff);
                }
                Err(FetchError::Broke(error)) => {
                    tracing::warn!(url = holder.url, %error, "cannot fetch from a worker");
                    return Ok(None);
                }
            }
        }
    }

    fn client(&mut self, worker: WorkerId, holder: &Holder) -> Result<WorkerClient, ClientError> {
        let known = self.0.get(&worker).filter(|(known, _)| (&known.url, known.pin) == (&holder.url, holder.pin));
        if let Some((_, client)) = known {
            return Ok(client.clone());
        }
        let client = WorkerClient::new(Endpoint::new(&holder.url)?.with_pin(Some(holder.pin)))?;
        self.0.insert(worker, (holder.clone(), client.clone()));
        Ok(client)
    }
}

/// Why a fetch brought nothing.
enum FetchError {
    /// The transfer broke off, or was refused.
    Broke(ClientError),
    /// It would end so again.
    Failed(Reason),
}

impl From<Reason> for FetchError {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

/// The answer to a fetch: lengths and that many bytes, in turns.
struct Frames<'a> {
    coordinator: &'a Coordinator,
    body: &'a mut Download,
    ahead: BytesMut,
}

impl Frames<'_> {
    fn more(&mut self) -> Result<(), FetchError> {
        let chunk = self.coordinator.chunk(self.body).map_err(FetchError::Broke)?;
        if chunk.is_empty() {
            return Err(worker_failure("fetch map outputs", &"the answer ends early").into());
        }
        self.ahead.extend_from_slice(&chunk);
        Ok(())
    }

    fn length(&mut self) -> Result<u64, FetchError> {
        while self.ahead.len() < 8 {
            self.more()?;
        }
        Ok(self.ahead.get_u64_le())
    }

    fn copy(&mut self, mut left: u64, to: &mut File) -> Result<(), FetchError> {
        while left > 0 {
            if self.ahead.is_empty() {
                self.more()?;
            }
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.ahead.len());
            let written = to.write_all(&self.ahead.split_to(here));
            written.map_err(|error| worker_failure("write fetched map outputs", &error))?;
            left -= here as u64;
        }
        Ok(())
    }
}
