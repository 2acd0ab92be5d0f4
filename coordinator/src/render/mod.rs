//! The text of an output in the coordinator's store, as a stream: parts one after the other or merged by key, or one
//! part, whole or a byte range of it.
//!
//! Memory does not grow with the output, no thread is held while a reader is slow, and nothing blocks an async thread.
//! A range is rendered from the start of its part (or of the merge) and what comes before it is thrown away: parts are
//! not indexed by text offset. The first piece is made before the answer begins, so that most damage is still an error
//! and not a cut body.

mod narrow;
mod source;
mod text;

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use gristmill_common::{Code, JobId, Problem, limits};
use gristmill_storage::ByteRange;

pub(crate) use self::source::Finished;
pub use self::source::{PartSource, RenderError};
pub(crate) use self::text::Text;
use crate::commit::manifest::Manifest;
use crate::store::{Store, blocking};

/// What of an output is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// All parts, one after the other.
    Concatenated,
    /// All parts, merged by key; equal keys in the order of the parts.
    Merged,
    /// One part.
    Part(u32),
}

/// Text on its way.
pub struct Rendered {
    /// Bytes of the whole text.
    pub total_bytes: u64,
    /// Which of them the body has.
    pub range: Range<u64>,
    /// The bytes. An error ends the stream: what was sent so far is right, the rest is missing.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

/// Renders the output of a job that succeeded and whose output is in the store.
///
/// # Errors
/// `not_found` for an output or part that is not there, `conflict` for a merge of unsorted parts, `range` for a range
/// outside of the text, `internal` for a part that is damaged, named.
pub async fn output(store: &Store, job: JobId, wanted: Wanted, range: Option<ByteRange>) -> Result<Rendered, Problem> {
    let reader = store.clone();
    let manifest = blocking(move || Manifest::of_store(&reader, job)).await.map_err(|error| error.problem())?;
    let mut parts = manifest.stored_parts().map_err(|error| error.problem())?;
    let merged = wanted == Wanted::Merged;
    if merged && !manifest.sorted {
        let detail = "the parts are in the order of the input, not of keys: the job's last step has no reduce stage; \
                      leave out `merge=key`";
        return Err(Problem::new(Code::Conflict, detail));
    }
    if let Wanted::Part(index) = wanted {
        parts.retain(|part| part.index == index);
        if parts.is_empty() {
            let detail = format!("there is no part {index}: the output has {} parts", manifest.parts.len());
            return Err(Problem::new(Code::NotFound, detail));
        }
    }
    start(store, parts, merged, range).await
}

/// Renders one part that is not yet in a manifest: the input of a map of the next step.
///
/// # Errors
/// As [`output`].
pub async fn part(store: &Store, part: PartSource, range: Option<ByteRange>) -> Result<Rendered, Problem> {
    start(store, vec![part], false, range).await
}

async fn start(
    store: &Store,
    parts: Vec<PartSource>,
    merged: bool,
    range: Option<ByteRange>,
) -> Result<Rendered, Problem> {
    let total_bytes = parts.iter().map(|part| part.output.text_bytes).sum();
    let range = match range {
        None => 0..total_bytes,
        Some(range) => range.of(total_bytes).ok_or_else(|| {
            Problem::new(Code::Range, format!("the text has {total_bytes} bytes, the range is outside of them"))
        })?,
    };
    let (store, wanted) = (store.clone(), range.clone());
    let first = blocking(move || {
        let text = if merged { Text::merged(store, &parts, wanted)? } else { Text::concatenated(store, parts, wanted) };
        next(text)
    });
    let (first, rest) = first.await.map_err(|error: RenderError| error.problem())?;
    let rest = stream::unfold(rest, |text| async move {
        let text = text?;
        match blocking(move || next(text)).await {
            Ok((chunk, rest)) => Some((Ok(chunk), rest)),
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    });
    let body = stream::once(async { Ok(first) }).chain(rest).boxed();
    Ok(Rendered { total_bytes, range, body })
}

/// Makes the next chunk; the text comes back unless that was the last.
fn next(mut text: Text) -> Result<(Bytes, Option<Text>), RenderError> {
    let mut chunk = Vec::with_capacity(limits::RENDER_CHUNK_BYTES);
    let more = text.fill(&mut chunk, limits::RENDER_CHUNK_BYTES)?;
    Ok((chunk.into(), more.then_some(text)))
}

#[cfg(test)]
mod tests;
