//! Lists and pins what a job reads, in input order and, inside one input, in the order of the paths' bytes.
//!
//! An input that names nothing is an error: a silently smaller input is a wrong result.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use gristmill_common::plan::PinnedFile;
use gristmill_common::spec::Input;
use gristmill_common::{Problem, limits};
use gristmill_storage::{
    HEAD_BYTES, Location, ObjectFacts, Pattern, Roots, StorageError, compression_of, list_files, pin,
};

use super::misplaced;
use crate::store::{Store, blocking};

/// Files of the store whose first bytes are read at a time.
const SNIFFS_AT_A_TIME: usize = 8;

/// Pins all files that the inputs name.
pub(super) async fn pin_all(inputs: &[Input], store: &Store, roots: &Roots) -> Result<Vec<PinnedFile>, Problem> {
    let mut files = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let pointer = format!("/inputs/{index}");
        // The spec's check lets a generated input stand alone only, and then it never comes here.
        let Some((url, tag)) = input.url() else { return Err(Problem::at(pointer, "a generated input stands alone")) };
        let left = limits::INPUT_FILES - files.len();
        let found = match pin_input(url, left, store, roots).await {
            Ok(found) if found.len() <= left => found,
            Ok(_) | Err(StorageError::TooMany { .. }) => {
                let detail =
                    format!("a job reads at most {} files; pack them or make several jobs", limits::INPUT_FILES);
                return Err(Problem::at(pointer, detail));
            }
            Err(error) => return Err(misplaced(&error, pointer)),
        };
        if found.is_empty() {
            let hint = "files whose names start with `_` or `.` are left out, and `*`, `?` and `[` are wildcards unless \
                        they are percent-encoded";
            return Err(Problem::at(pointer, format!("`{url}` names no file; {hint}")));
        }
        files.extend(found.into_iter().map(|file| PinnedFile { tag: tag.map(str::to_owned), ..file }));
    }
    Ok(files)
}

async fn pin_input(url: &str, left: usize, store: &Store, roots: &Roots) -> Result<Vec<PinnedFile>, StorageError> {
    match Location::parse(url)? {
        Location::File(pattern) => {
            let roots = roots.clone();
            blocking(move || {
                let paths = list_files(&pattern, &roots, left)?;
                paths.iter().map(|path| pin(path, &roots)).collect()
            })
            .await
        }
        Location::Store(pattern) => {
            let found = list_stored(url, &pattern, left, store).await?;
            stream::iter(found).map(|facts| pin_stored(facts, store)).buffered(SNIFFS_AT_A_TIME).try_collect().await
        }
    }
}

async fn list_stored(
    url: &str,
    pattern: &Pattern,
    left: usize,
    store: &Store,
) -> Result<Vec<ObjectFacts>, StorageError> {
    if pattern.is_literal() && !pattern.is_directory() {
        match store.files().head(&Location::parse_store(url)?).await {
            Ok(facts) => return Ok(vec![facts]),
            // Not a file: perhaps a directory of files.
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let names: Option<Vec<&str>> =
        pattern.literal_prefix().into_iter().map(|name| std::str::from_utf8(name).ok()).collect();
    let Some(names) = names else { return Ok(Vec::new()) };
    let prefix = names.iter().map(|name| format!("{name}/")).collect::<String>();
    let mut found = store.files().list(&prefix, left).await?;
    found.retain(|facts| pattern.names(facts.path.names()));
    Ok(found)
}

async fn pin_stored(facts: ObjectFacts, store: &Store) -> Result<PinnedFile, StorageError> {
    let url = facts.path.url();
    let mut head = Vec::new();
    if facts.bytes > 0 {
        let range = Some(0..facts.bytes.min(HEAD_BYTES as u64));
        let (_, mut body) = store.files().open(&facts.path, range, Some(&facts.version)).await?;
        while let Some(chunk) = body.try_next().await? {
            head.extend_from_slice(&chunk);
        }
    }
    let compression = compression_of(&url, &head)?;
    Ok(PinnedFile { url, bytes: facts.bytes, version: facts.version, compression, tag: None })
}
