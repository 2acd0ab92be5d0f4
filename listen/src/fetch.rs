//! The body of an answer to a fetch.

use std::io;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, stream};
use gristmill_runs::{RunFile, SectionFrames, SectionTurns};

/// Streams one partition of `count` run files: in turns from a byte on, as [`SectionTurns`] frames it, or one after the other as
/// [`SectionFrames`] does.
pub fn frames<F>(
    partition: u32,
    count: usize,
    from: Option<u64>,
    open: F,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    F: FnMut(usize) -> Option<RunFile> + Send + 'static,
{
    match from {
        None => {
            let mut frames = SectionFrames::new(partition, count, open);
            Either::Left(chunks(move || frames.next_chunk()))
        }
        Some(from) => {
            let mut turns = SectionTurns::new(partition, count, from, open);
            Either::Right(chunks(move || turns.next_chunk()))
        }
    }
}

/// One step of reading at a time, on a thread that may block: a slow reader holds no thread.
fn chunks<N>(next: N) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    N: FnMut() -> io::Result<Vec<u8>> + Send + 'static,
{
    stream::try_unfold(next, |mut next| async move {
        let read = tokio::task::spawn_blocking(move || next().map(|chunk| (chunk, next)));
        let (chunk, next) = read.await.map_err(io::Error::other)??;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), next)))
    })
}
