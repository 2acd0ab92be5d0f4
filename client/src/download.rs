//! The body of an answer that may be large: read piece by piece, never held whole.

use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::error::ClientError;

/// A body that is being received.
#[derive(Debug)]
pub struct Download {
    address: String,
    response: reqwest::Response,
}

impl Download {
    pub(crate) fn new(address: String, response: reqwest::Response) -> Self {
        Self { address, response }
    }

    /// Returns the number of bytes that will come, if the coordinator said.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns the value of a header, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Receives the next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the connection breaks before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.response.chunk().await.map_err(|error| ClientError::from_http(&self.address, &error))
    }

    /// Receives the next bytes of a body that is not over.
    ///
    /// # Errors
    /// As [`Self::chunk`], and [`ClientError::Malformed`] when nothing more comes.
    pub async fn more(&mut self) -> Result<Bytes, ClientError> {
        let chunk = self.chunk().await?;
        let ended = || ClientError::Malformed { url: self.address.clone(), cause: "it ends early".to_owned() };
        chunk.ok_or_else(ended)
    }

    /// Receives everything, which must be at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Self::chunk`], and [`ClientError::Malformed`] when more comes.
    pub async fn whole(mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                let cause = format!("more than {limit} bytes came");
                return Err(ClientError::Malformed { url: self.address, cause });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Turns it into a stream of chunks.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static {
        stream::try_unfold(self, |mut body| async move { Ok(body.chunk().await?.map(|chunk| (chunk, body))) })
    }
}
