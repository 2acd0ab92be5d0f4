//! The body of an answer to a fetch.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, stream};
use gristmill_runs::{RunFile, SectionFrames};

/// Streams one partition of `count` run files as [`SectionFrames`] frames it.
///
/// One step of reading at a time, on a thread that may block: a slow reader holds no thread.
pub fn frames<F>(partition: u32, count: usize, open: F) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    F: FnMut(usize) -> Option<RunFile> + Send + 'static,
{
    stream::try_unfold(SectionFrames::new(partition, count, open), |mut frames| async move {
        let read = tokio::task::spawn_blocking(move || frames.next_chunk().map(|chunk| (chunk, frames)));
        let (chunk, frames) = read.await.map_err(io::Error::other)??;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), frames)))
    })
}
