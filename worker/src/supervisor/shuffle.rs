//! Serves this worker's map outputs to other workers, where its operator says so (`--shuffle-listen`).
//!
//! One route. A fetch is opened by the token of a reduce grant signed with this process's key, which only the coordinator
//! has besides; it opens the outputs of that grant's step. TLS with a certificate of this process, whose hash the coordinator
//! passes on. What is sent carries its checksums: whoever fetches checks every block.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use gristmill_client::Endpoint;
use gristmill_common::shuffle::{ShuffleAddress, ShuffleKey};
use gristmill_common::wire::{FetchRequest, output_name};
use gristmill_common::{Code, Fence, Problem, Stage, TokenSecret, limits};
use gristmill_listen::{Handle, Tls, outside_host, own_names};
use gristmill_runs::RunFile;

use super::clock::fresh_secret;
use super::{WorkerError, io_error};
use crate::config::ShuffleListen;

/// A listener; it ends when this is dropped.
pub(super) struct Listening {
    pub(super) address: ShuffleAddress,
    handle: Handle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Starts to serve what lies in `outputs`.
pub(super) fn start(listen: &ShuffleListen, outputs: PathBuf) -> Result<Listening, WorkerError> {
    let bound = TcpListener::bind(listen.address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = bound.map_err(|error| {
        WorkerError::Config(format!("cannot listen on {}: {error}; give another --shuffle-listen", listen.address))
    })?;
    let (name, own_address) = own_names();
    let host = outside_host(address.ip(), own_address, name);
    let url = listen.url.clone().unwrap_or_else(|| format!("https://{host}:{}", address.port()));
    check_url(&url)?;
    let tls = Tls::passing(vec![host]).map_err(|error| WorkerError::Config(error.to_string()))?;
    let key = ShuffleKey::new(fresh_secret().map_err(io_error("make a key"))?);
    let address = ShuffleAddress { url, pin: tls.pin, key };
    let served = Arc::new(Served { secret: address.key.secret(), outputs });
    let router = Router::new()
        .route("/v1/worker/fetch", post(fetch))
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .with_state(served);
    let handle = Handle::new();
    gristmill_listen::serve(listener, Some(tls), router, limits::SHUFFLE_CONNECTIONS, handle.clone())
        .map_err(io_error("serve map outputs"))?;
    tracing::info!(url = address.url, "serving map outputs to other workers");
    Ok(Listening { address, handle })
}

fn check_url(url: &str) -> Result<(), WorkerError> {
    let is_usable = Endpoint::new(url).is_ok_and(|endpoint| endpoint.url().scheme() == "https");
    if is_usable && url.len() <= limits::SHUFFLE_URL_BYTES {
        return Ok(());
    }
    Err(WorkerError::Config(format!("`{url}` is not how workers can reach this one: write https://HOST:PORT")))
}

struct Served {
    secret: TokenSecret,
    outputs: PathBuf,
}

async fn fetch(State(served): State<Arc<Served>>, headers: HeaderMap, body: Json<FetchRequest>) -> Response {
    let Json(FetchRequest { partition, outputs, from }) = body;
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(grant) = bearer.and_then(|token| served.secret.verify(token)) else {
        return refusal(StatusCode::UNAUTHORIZED, Code::Unauthorized, "no token, or one of another worker's key");
    };
    if grant.stage != Stage::Reduce || outputs.len() > limits::OUTPUTS_PER_FETCH {
        return refusal(StatusCode::BAD_REQUEST, Code::Invalid, "not a fetch of a reduce");
    }
    let count = outputs.len();
    let open = move |number: usize| {
        let &(map, fence) = outputs.get(number)?;
        let path = served.outputs.join(output_name(grant.job, grant.step, Stage::Map, map, fence));
        open(&path, fence)
    };
    Body::from_stream(gristmill_listen::frames(partition, count, from, open)).into_response()
}

/// Opens an output; `None` for one that is not there or not whole, which whoever asked then reports as lost.
fn open(path: &Path, fence: Fence) -> Option<RunFile> {
    let opened = File::open(path).map_err(Into::into).and_then(RunFile::open);
    let run = opened.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "asked for a map output"));
    run.ok().filter(|run| run.fence() == fence)
}

fn refusal(status: StatusCode, code: Code, detail: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(Problem::new(code, detail))).into_response()
}

#[cfg(test)]
mod tests {
    use gristmill_client::{ClientError, WorkerClient};
    use gristmill_common::{Generation, GrantName, JobId, TaskRange};
    use gristmill_runs::{NOT_THERE, RunHeader, RunWriter};
    use uuid::Uuid;

    use super::*;

    const HERE: Fence = Fence(9);

    fn grant(job: u128, stage: Stage) -> GrantName {
        let (job, tasks) = (JobId(Uuid::from_u128(job)), TaskRange::one(1));
        GrantName { job, step: 0, stage, tasks, first_fence: Fence(20), generation: Generation(0) }
    }

    /// Serves one output of job 1, map 4, and returns how a worker reaches it.
    fn serving(directory: &Path) -> (Listening, WorkerClient) {
        let path = directory.join(output_name(JobId(Uuid::from_u128(1)), 0, Stage::Map, 4, HERE));
        std::fs::create_dir_all(path.parent().expect("in a directory")).expect("made");
        let header = RunHeader { fence: HERE, partitions: 2, compress: false };
        let mut run = RunWriter::new(File::create(path).expect("made"), header).expect("written");
        run.push(1, b"key", b"value").expect("written");
        run.finish().expect("written");
        let address = "127.0.0.1:0".parse().expect("an address");
        let listening = start(&ShuffleListen { address, url: None }, directory.to_owned()).expect("listens");
        let endpoint = Endpoint::new(&listening.address.url).expect("a URL").with_pin(Some(listening.address.pin));
        (listening, WorkerClient::new(endpoint).expect("a client"))
    }

    async fn fetch(client: &WorkerClient, token: &str, fence: Fence) -> Result<Vec<u8>, ClientError> {
        let request = FetchRequest { partition: 1, outputs: vec![(4, fence)], from: None };
        Ok(client.fetch(token, &request).await?.whole(1 << 20).await?.to_vec())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_grants_token_opens_the_outputs_of_its_job_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let (listening, client) = serving(directory.path());
        let sign = |grant: &GrantName| listening.address.key.secret().sign(grant);
        let found = fetch(&client, &sign(&grant(1, Stage::Reduce)), HERE).await.expect("fetched");
        assert!(found.len() > 8 && found.starts_with(&(found.len() as u64 - 8).to_le_bytes()));
        let missing = NOT_THERE.to_le_bytes();
        assert_eq!(fetch(&client, &sign(&grant(1, Stage::Reduce)), Fence(8)).await.expect("answered"), missing);
        assert_eq!(fetch(&client, &sign(&grant(2, Stage::Reduce)), HERE).await.expect("answered"), missing);
        let of_a_map = fetch(&client, &sign(&grant(1, Stage::Map)), HERE).await;
        assert!(matches!(of_a_map, Err(ClientError::Problem(_))), "{of_a_map:?}");
        for token in [TokenSecret::new([1; 32]).sign(&grant(1, Stage::Reduce)), "nothing".to_owned()] {
            let refused = fetch(&client, &token, HERE).await;
            assert!(matches!(refused, Err(ClientError::Unauthorized { .. })), "{refused:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_certificate_is_not_spoken_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let (listening, _) = serving(directory.path());
        let other = gristmill_common::Digest::of(b"another");
        let endpoint = Endpoint::new(&listening.address.url).expect("a URL").with_pin(Some(other));
        let token = listening.address.key.secret().sign(&grant(1, Stage::Reduce));
        let client = WorkerClient::new(endpoint).expect("a client");
        assert!(matches!(fetch(&client, &token, HERE).await, Err(ClientError::BadCertificate { .. })));
    }

    #[tokio::test]
    async fn an_address_that_is_no_https_url_is_refused_at_the_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let address = "127.0.0.1:0".parse().expect("an address");
        for url in ["http://mill:1", "mill:1", ""] {
            let listen = ShuffleListen { address, url: Some(url.to_owned()) };
            assert!(start(&listen, directory.path().to_owned()).is_err(), "{url}");
        }
    }
}
