//! Requests for sections over HTTP, to the coordinator's store or to the worker that holds them.
//!
//! The coordinator is waited for; another worker is not: what it does not give soon comes by way of the coordinator. An answer
//! that breaks off is continued where it was.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use gristmill_client::{Backoff, ClientError, Download, Endpoint, WorkerClient, retry};
use gristmill_common::shuffle::Holder;
use gristmill_common::wire::FetchRequest;
use gristmill_common::{Fence, Reason, TaskName, WorkerId, limits};
use gristmill_runs::NOT_THERE;
use tokio::time::{sleep, timeout};

use super::coordinator::{CONTINUATIONS, Coordinator, PATIENCE, worker_failure};
use super::sections::{Feeding, lost, made_by};

/// Times in a row that a transfer from another worker is tried again.
const PEER_TRIES: u32 = 2;

/// What is fetched by one request: one partition of some map outputs.
pub(super) struct Fetch {
    pub(super) feeding: Feeding,
    pub(super) request: FetchRequest,
    pub(super) source: Source,
}

/// Who is asked.
pub(super) struct Source {
    client: WorkerClient,
    token: String,
    /// Address of a worker; `None` for the coordinator's store.
    holder: Option<String>,
}

/// Why an answer did not come, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no answer in {} s", limits::DIRECT_ANSWER_MS / 1_000)]
    Slow,
}

impl Broken {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_transient())
    }
}

impl Source {
    /// The coordinator's store.
    pub(super) fn store(coordinator: &Coordinator, token: &str) -> Self {
        Self { client: coordinator.client(), token: token.to_owned(), holder: None }
    }

    fn tries(&self) -> u32 {
        if self.holder.is_some() { PEER_TRIES } else { CONTINUATIONS }
    }

    fn missing(&self) -> &'static str {
        if self.holder.is_some() { "its worker does not have it" } else { "the coordinator's store does not have it" }
    }

    async fn download(&self, request: &FetchRequest) -> Result<Download, Broken> {
        let call = || self.client.fetch(&self.token, request);
        if self.holder.is_none() {
            return Ok(retry::idempotent(PATIENCE, call).await?);
        }
        let patience = Duration::from_millis(limits::DIRECT_ANSWER_MS);
        Ok(timeout(patience, call()).await.map_err(|_| Broken::Slow)??)
    }

    /// Asks once; returns the answer and the length of each section.
    async fn ask(&self, request: &FetchRequest) -> Result<(Answer, Vec<u64>), Broken> {
        let mut answer = Answer { body: self.download(request).await?, ahead: BytesMut::new() };
        let bytes = request.outputs.len() * size_of::<u64>();
        while answer.ahead.len() < bytes {
            let more = answer.body.more().await?;
            answer.ahead.extend_from_slice(&more);
        }
        let lengths = request.outputs.iter().map(|_| answer.ahead.get_u64_le()).collect();
        Ok((answer, lengths))
    }
}

impl Fetch {
    /// Asks until an answer begins; returns the length of each section too.
    pub(super) async fn open(&self) -> Result<(Answer, Vec<u64>), Broken> {
        let mut backoff = Backoff::default();
        match self.source.ask(&self.request).await {
            Ok(opened) => Ok(opened),
            Err(error) => self.again(error, &mut backoff, 0).await,
        }
    }

    /// Asks again for what comes behind `from` bytes of pieces, after a failure that may pass.
    async fn again(&self, mut error: Broken, backoff: &mut Backoff, from: u64) -> Result<(Answer, Vec<u64>), Broken> {
        let request = FetchRequest { from: Some(from), ..self.request.clone() };
        while error.is_transient() && backoff.tries() < self.source.tries() {
            tracing::warn!(%error, from, "a fetch of map outputs broke off; going on with it");
            sleep(backoff.draw()).await;
            match self.source.ask(&request).await {
                Ok(opened) => return Ok(opened),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    /// Goes on behind `from` bytes of the pieces of sections of these lengths; `number` is the section that broke off.
    pub(super) async fn go_on(
        &self,
        error: Broken,
        backoff: &mut Backoff,
        (from, lengths): (u64, &[u64]),
        number: usize,
    ) -> Result<Answer, Reason> {
        let (answer, now) = self.again(error, backoff, from).await.map_err(|error| self.gave_up(&error, number))?;
        self.check(&now)?;
        if now == lengths {
            return Ok(answer);
        }
        Err(worker_failure("fetch map outputs", &"they have other lengths than before"))
    }

    /// Fails with the first section that is not there, and when the lengths make no sense.
    pub(super) fn check(&self, lengths: &[u64]) -> Result<(), Reason> {
        if let Some(missing) = lengths.iter().position(|&length| length == NOT_THERE) {
            let (map, fence) = self.output(missing);
            return Err(lost(map, fence, &self.source.missing()));
        }
        let all = lengths.iter().try_fold(0_u64, |all, &length| all.checked_add(length));
        if all.is_some_and(|all| all <= limits::SECTIONS_BYTES) {
            return Ok(());
        }
        Err(worker_failure("fetch map outputs", &"the answer announces more bytes than there can be"))
    }

    /// What a worker does not give is relayed from now on.
    fn gave_up(&self, error: &Broken, number: usize) -> Reason {
        let Some(url) = &self.source.holder else { return worker_failure("fetch map outputs", error) };
        tracing::warn!(url, %error, "cannot fetch from a worker");
        let (map, fence) = self.output(number);
        Reason::Unreachable { map, fence }
    }

    fn output(&self, number: usize) -> (TaskName, Fence) {
        let (index, fence) = self.request.outputs[number];
        (made_by(self.feeding, index), fence)
    }
}

/// An answer of which not everything has come.
pub(super) struct Answer {
    body: Download,
    ahead: BytesMut,
}

impl Answer {
    /// Receives up to `most` bytes, at least one.
    pub(super) async fn some(&mut self, most: u64) -> Result<Bytes, Broken> {
        if self.ahead.is_empty() {
            self.ahead = self.body.more().await?.into();
        }
        let here = usize::try_from(most).unwrap_or(usize::MAX).min(self.ahead.len());
        Ok(self.ahead.split_to(here).freeze())
    }
}

/// Connections to workers that serve their outputs.
#[derive(Default)]
pub(crate) struct Peers(BTreeMap<WorkerId, (Holder, WorkerClient)>);

impl Peers {
    /// Returns how a worker is asked for what it holds.
    pub(super) fn source(&mut self, worker: WorkerId, holder: &Holder) -> Result<Source, ClientError> {
        let client = self.client(worker, holder)?;
        Ok(Source { client, token: holder.token.clone(), holder: Some(holder.url.clone()) })
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
