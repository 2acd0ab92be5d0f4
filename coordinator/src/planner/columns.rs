//! Looks at the footers of Parquet files: that all have the columns of the spec, alike, and where their row groups begin.

use std::collections::BTreeMap;

use gristmill_columns::{Column, Error, Footer, TAIL_BYTES, difference, footer_bytes};
use gristmill_common::format::Parquet;
use gristmill_common::plan::{Compression, PinnedFile};
use gristmill_common::{Code, Problem};
use gristmill_storage::{Roots, StorageError};
use tokio::runtime::Handle;

use super::misplaced;
use super::packed::{Between, Edge, Edges};
use super::ranges::Ranges;
use crate::store::Store;

const AT: &str = "/input_format/parquet";

/// Checks all files and returns where their row groups begin, by the index of the file.
///
/// # Errors
/// A problem that names the file, and the column if it is one.
pub(super) async fn find(
    files: &[PinnedFile],
    format: &Parquet,
    store: &Store,
    roots: &Roots,
) -> Result<BTreeMap<usize, Edges>, Problem> {
    let (files, format, handle) = (files.to_vec(), format.clone(), Handle::current());
    let (store, roots) = (store.clone(), roots.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let mut first: Option<(usize, Vec<Column>)> = None;
        let mut found = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            let (columns, edges) = look(file, &format, &store, &roots, &handle)?;
            match &first {
                None => first = Some((index, columns)),
                Some((one, expected)) => {
                    if let Some(what) = difference(expected, &columns) {
                        let one = files.get(*one).map_or("", |file| &file.url);
                        return Err(Problem::at(AT, format!("{} {what}; the other one is {one}", file.url)));
                    }
                }
            }
            found.insert(index, edges);
        }
        Ok(found)
    });
    checked.await.map_err(|error| Problem::new(Code::Internal, format!("looking at footers: {error}")))?
}

fn look(
    file: &PinnedFile,
    format: &Parquet,
    store: &Store,
    roots: &Roots,
    handle: &Handle,
) -> Result<(Vec<Column>, Edges), Problem> {
    if file.compression != Compression::None {
        let packed = file.compression.word();
        let detail = format!("{} is packed with {packed}: a Parquet file is packed inside; unpack it", file.url);
        return Err(Problem::at(AT, detail));
    }
    let failed = |error: StorageError| misplaced(&error, "/inputs".to_owned());
    let mut from = Ranges::open(file, store, roots, handle).map_err(failed)?;
    let tail = file.bytes.saturating_sub(TAIL_BYTES as u64);
    let said = |error| problem(file, error);
    let length = footer_bytes(from.read(tail..file.bytes).map_err(failed)?, file.bytes).map_err(said)?;
    let bytes = from.read(tail - length as u64..tail).map_err(failed)?;
    let footer = Footer::parse(bytes, file.bytes).map_err(said)?;
    let columns = footer.select(&format.columns).map_err(said)?;
    let starts = footer.groups().iter().skip(1).map(|group| Edge { packed: group.start, unpacked: group.first_row });
    Ok((columns, Edges { at: starts.collect(), between: Between::Groups }))
}

fn problem(file: &PinnedFile, error: Error) -> Problem {
    let url = &file.url;
    match error {
        Error::Damaged { at, why } => Problem::at(AT, format!("{url}, at byte {at}: {why}")),
        Error::Columns(why) => Problem::at(format!("{AT}/columns"), format!("{url}: {why}")),
        Error::Unsupported(why) => {
            Problem { pointer: Some(AT.to_owned()), ..Problem::new(Code::Unsupported, format!("{url}: {why}")) }
        }
        other => Problem::at(AT, format!("{url}: {other}")),
    }
}
