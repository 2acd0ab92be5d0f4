//! One connection pool to one coordinator, and the only place where a request meets a token.

use std::time::Duration;

use gristmill_common::{Code, Problem, limits};
use reqwest::header::{ACCEPT, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;

use crate::download::Download;
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::ClientError;
use crate::pin;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A pool of connections to one coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    endpoint: Endpoint,
    address: String,
    /// Notices a peer that stops sending.
    calls: reqwest::Client,
    /// Has no read timeout: it would count the time that sending the body takes. A dead peer is noticed by TCP.
    uploads: reqwest::Client,
}

impl Http {
    /// `silence`: how long the coordinator may send nothing while an answer is awaited.
    pub(crate) fn new(endpoint: Endpoint, silence: Duration) -> Result<Self, ClientError> {
        pin::install_provider();
        let address = endpoint.address();
        let build =
            |builder: reqwest::ClientBuilder| builder.build().map_err(|error| ClientError::from_http(&address, &error));
        let calls = build(builder(&endpoint)?.read_timeout(silence))?;
        let uploads = build(builder(&endpoint)?)?;
        Ok(Self { endpoint, address, calls, uploads })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the endpoint's own token.
    pub(crate) fn own_token(&self) -> Option<&str> {
        self.endpoint.token.as_deref()
    }

    /// Starts a request.
    pub(crate) fn call<'a>(
        &self,
        method: Method,
        segments: impl IntoIterator<Item = &'a str>,
        token: Option<&str>,
    ) -> Result<RequestBuilder, ClientError> {
        self.request(&self.calls, method, segments, token)
    }

    /// Starts a request that sends a body which may take long.
    pub(crate) fn upload<'a>(
        &self,
        segments: impl IntoIterator<Item = &'a str>,
        token: Option<&str>,
    ) -> Result<RequestBuilder, ClientError> {
        self.request(&self.uploads, Method::PUT, segments, token)
    }

    fn request<'a>(
        &self,
        client: &reqwest::Client,
        method: Method,
        segments: impl IntoIterator<Item = &'a str>,
        token: Option<&str>,
    ) -> Result<RequestBuilder, ClientError> {
        let request = client.request(method, self.endpoint.route(segments));
        let Some(token) = token else { return Ok(request) };
        self.endpoint.check_bearer()?;
        Ok(request.bearer_auth(token))
    }

    /// Sends a request and returns its answer if it is a success.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| ClientError::from_http(&self.address, &error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Sends a HEAD request, and says whether what it names is there.
    pub(crate) async fn is_there(&self, request: RequestBuilder) -> Result<bool, ClientError> {
        let response = request.send().await.map_err(|error| ClientError::from_http(&self.address, &error))?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(response).await),
        }
    }

    /// Sends a request and reads its answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.header(ACCEPT, "application/json")).await?;
        let bytes = Download::new(self.address.clone(), response).whole(limits::ANSWER_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(error.to_string()))
    }

    /// Sends a request for bytes, perhaps for a range `from ..` or `from .. to` of them.
    pub(crate) async fn download(
        &self,
        request: RequestBuilder,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Download, ClientError> {
        let request = match range {
            None => request,
            Some((from, Some(to))) if to <= from => {
                return Err(self.malformed(format!("the range {from}..{to} is empty")));
            }
            Some((from, Some(to))) => request.header(RANGE, format!("bytes={from}-{}", to - 1)),
            Some((from, None)) => request.header(RANGE, format!("bytes={from}-")),
        };
        let response = self.send(request).await?;
        if range.is_some_and(|(from, _)| from > 0) && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(self.malformed("a range was asked for and the whole came".to_owned()));
        }
        Ok(Download::new(self.address.clone(), response))
    }

    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let body = Download::new(self.address.clone(), response).whole(limits::BODY_BYTES).await.unwrap_or_default();
        let problem = serde_json::from_slice::<Problem>(&body);
        if status == StatusCode::UNAUTHORIZED {
            let detail = problem.map_or_else(|_| "401 unauthorized".to_owned(), |problem| problem.detail);
            return ClientError::Unauthorized { url: self.address.clone(), detail };
        }
        match problem {
            Ok(problem) => ClientError::Problem(problem),
            // Something in between answered: a proxy, a load balancer.
            Err(_) if matches!(status.as_u16(), 429 | 502 | 503 | 504) => {
                ClientError::Problem(Problem::new(Code::Unavailable, format!("{} answered {status}", self.address)))
            }
            Err(_) if status == StatusCode::PAYLOAD_TOO_LARGE => {
                ClientError::Problem(Problem::new(Code::TooLarge, format!("{} answered {status}", self.address)))
            }
            Err(_) => self.malformed(format!("status {status} without a problem description")),
        }
    }

    pub(crate) fn malformed(&self, cause: String) -> ClientError {
        ClientError::Malformed { url: self.address.clone(), cause }
    }

    pub(crate) fn no_token(&self) -> ClientError {
        let detail = "no token was given".to_owned();
        ClientError::Unauthorized { url: self.address.clone(), detail }
    }
}

fn builder(endpoint: &Endpoint) -> Result<reqwest::ClientBuilder, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("gristmill/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .connect_timeout(CONNECT)
        // A redirect could carry the token elsewhere, and no coordinator sends one.
        .redirect(redirect::Policy::none());
    if endpoint.url().scheme() == "http" {
        // A proxy would see the token in clear text.
        builder = builder.no_proxy();
    }
    let own_config = match endpoint.pin {
        Some(pin) => Some(pin::tls_config(pin)),
        // Nobody's certificate is asked for: reading the system's hundreds takes longer than a small job.
        None if endpoint.url().scheme() == "http" => Some(pin::trusting_nobody()),
        None => None,
    };
    if let Some(config) = own_config {
        let config = config.map_err(|error| EndpointError::Malformed {
            text: endpoint.address(),
            why: format!("no TLS for it: {error}"),
        })?;
        builder = builder.tls_backend_preconfigured(config);
    }
    Ok(builder)
}
