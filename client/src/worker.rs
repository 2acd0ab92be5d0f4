//! What a worker asks a coordinator: the poll under the worker token, everything else under the token of a grant.
//!
//! An executor holds a client without worker token: what it can do is what its grants allow.

use std::time::Duration;

use gristmill_common::wire::{
    FetchRequest, LogHead, OutputsAnswer, PlanAnswer, PollRequest, PollResponse, PutOutput, SkipsAnswer, SplitsAnswer,
};
use gristmill_common::{Digest, limits};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Method};
use serde::de::DeserializeOwned;

use crate::download::Download;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::http::Http;

/// A worker's connection to its coordinator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerClient {
    http: Http,
}

impl WorkerClient {
    /// Makes a client; nothing is connected yet.
    ///
    /// # Errors
    /// When the endpoint cannot be used.
    pub fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        // A poll is held for HOLD_MS; twice as long again is silence.
        Ok(Self { http: Http::new(endpoint, Duration::from_millis(3 * limits::HOLD_MS))? })
    }

    /// Returns whom it talks to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.http.endpoint()
    }

    /// Polls, with the endpoint's own token. May be held by the coordinator for [`limits::HOLD_MS`].
    ///
    /// # Errors
    /// [`ClientError`]; after an unreachable one, the same poll may be sent again.
    pub async fn poll(&self, poll: &PollRequest) -> Result<PollResponse, ClientError> {
        let token = self.http.own_token().ok_or_else(|| self.http.no_token())?;
        let request = self.http.call(Method::POST, ["v1", "worker", "poll"], Some(token))?;
        self.http.json(request.json(poll)).await
    }

    async fn get<T: DeserializeOwned>(&self, token: &str, what: &str) -> Result<T, ClientError> {
        self.http.json(self.http.call(Method::GET, ["v1", "worker", what], Some(token))?).await
    }

    /// Fetches what all tasks of the grant's job share.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn plan(&self, token: &str) -> Result<PlanAnswer, ClientError> {
        self.get(token, "plan").await
    }

    /// Fetches the inputs of the grant's map tasks.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn splits(&self, token: &str) -> Result<SplitsAnswer, ClientError> {
        self.get(token, "splits").await
    }

    /// Fetches what the grant's attempts have to know of records that failed before.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn skips(&self, token: &str) -> Result<SkipsAnswer, ClientError> {
        self.get(token, "skips").await
    }

    /// Fetches where the map outputs of the grant's step are; `direct`: also which workers serve them.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn outputs(&self, token: &str, direct: bool) -> Result<OutputsAnswer, ClientError> {
        let request = self.http.call(Method::GET, ["v1", "worker", "outputs"], Some(token))?;
        self.http.json(if direct { request.query(&[("direct", true)]) } else { request }).await
    }

    /// Reads input file number `file` of the plan, which lies in the store, from byte `from` on.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with `stale` when the file is not what was planned.
    pub async fn input(&self, token: &str, file: u32, from: u64) -> Result<Download, ClientError> {
        let request = self.http.call(Method::GET, ["v1", "worker", "input", &file.to_string()], Some(token))?;
        self.http.download(request, (from > 0).then_some((from, None))).await
    }

    /// Reads the text of part `part` of the step before, from byte `from` on.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn part(&self, token: &str, part: u32, from: u64) -> Result<Download, ClientError> {
        let request = self.http.call(Method::GET, ["v1", "worker", "part", &part.to_string()], Some(token))?;
        self.http.download(request, (from > 0).then_some((from, None))).await
    }

    /// Fetches one partition of several map outputs from the store, or from the worker that serves them; framed as [`FetchRequest`] says.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn fetch(&self, token: &str, fetch: &FetchRequest) -> Result<Download, ClientError> {
        let request = self.http.call(Method::POST, ["v1", "worker", "fetch"], Some(token))?.json(fetch);
        self.http.download(request, None).await
    }

    /// Fetches a bundle that the grant's job names, from byte `from` on.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn bundle(&self, token: &str, sha256: Digest, from: u64) -> Result<Download, ClientError> {
        let request = self.http.call(Method::GET, ["v1", "worker", "bundle", &sha256.to_string()], Some(token))?;
        self.http.download(request, (from > 0).then_some((from, None))).await
    }

    /// Hands over the log of task `index` of the grant, before the attempt's report.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with `storage_full` when the job's share is used up.
    pub async fn put_log(&self, token: &str, index: u32, head: &LogHead, text: &[u8]) -> Result<(), ClientError> {
        let mut body = serde_json::to_vec(head).map_err(|error| self.http.malformed(error.to_string()))?;
        body.push(b'\n');
        body.extend_from_slice(text);
        let request = self.http.call(Method::PUT, ["v1", "worker", "log", &index.to_string()], Some(token))?;
        self.http.send(request.body(body)).await.map(drop)
    }

    /// Puts the file of task `index` of the grant into the store; `about` is empty for a run file.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with `storage_full` when there is no room, with `not_found` when the file was not laid into
    /// the inbox of this coordinator's store.
    pub async fn put_output(
        &self,
        token: &str,
        index: u32,
        about: &PutOutput,
        body: impl Into<Body>,
        bytes: u64,
    ) -> Result<(), ClientError> {
        let request = self.http.upload(["v1", "worker", "output", &index.to_string()], Some(token))?.query(about);
        let request = request.header(CONTENT_LENGTH, bytes).body(body);
        self.http.send(request).await.map(drop)
    }
}
