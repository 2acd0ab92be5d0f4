//! Looks at the footers of Parquet files: that all have the columns of the spec, alike, and where their row groups begin.

use std::collections::BTreeMap;

use gristmill_columns::{Column, Error, Footer, TAIL_BYTES, difference, footer_bytes};
use gristmill_common::columns::Column as Sought;
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
/// Names of a file that a refusal lists.
const NAMES_SHOWN: usize = 50;

/// Checks all files and returns where their row groups begin, by the index of the file.
///
/// # Errors
/// A problem that names the file, and the column if it is one.
pub(super) async fn find(
    files: &[PinnedFile],
    format: &Parquet,
    sought: Option<(&'static str, &[Sought])>,
    store: &Store,
    roots: &Roots,
) -> Result<BTreeMap<usize, Edges>, Problem> {
    let (files, format, handle) = (files.to_vec(), format.clone(), Handle::current());
    let sought = sought.map(|(at, columns)| (at, columns.to_vec()));
    let (store, roots) = (store.clone(), roots.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let mut first: Option<(usize, Vec<Column>)> = None;
        let mut found = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            let (columns, edges) = look(file, &format, &store, &roots, &handle)?;
            if let Some((at, sought)) = &sought
                && let Some(why) = missing(sought, &columns)
            {
                return Err(Problem::at(*at, format!("{} {why}", file.url)));
            }
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

/// Says which column that the first step looks for is not read, and which are.
fn missing(sought: &[Sought], columns: &[Column]) -> Option<String> {
    let is_there = |sought: &&Sought| {
        let named = sought.name.as_ref().is_none_or(|name| columns.iter().any(|column| column.name == *name));
        named && sought.number.is_none_or(|number| number as usize <= columns.len())
    };
    let lacking = sought.iter().find(|sought| !is_there(sought))?;
    let what = lacking.name.clone().or(lacking.number.map(|number| number.to_string())).unwrap_or_default();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).take(NAMES_SHOWN).collect();
    Some(format!("has no column `{what}`; it has {}", names.join(", ")))
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
