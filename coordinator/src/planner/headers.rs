//! Looks into csv files for the columns that the first step names: one that is not there would be sorted by, or counted, as
//! nothing, and nobody would see that the name is wrong.
//!
//! Only the first row is read, which has as many fields as all others. Footers of Parquet are looked at in `columns`; JSON lines may each
//! have other members.

use futures_util::future::try_join_all;
use gristmill_common::columns::Column;
use gristmill_common::csv::push_json;
use gristmill_common::format::{Csv, InputFormat};
use gristmill_common::plan::PinnedFile;
use gristmill_common::{JobSpec, Problem, limits};
use gristmill_storage::Roots;

use super::sampled::{FirstRow, first_row};
use super::{misplaced, sample};
use crate::store::Store;

/// Files whose first rows are read at a time.
const FILES_AT_A_TIME: usize = 8;
/// Names of a file that a refusal lists.
const NAMES_SHOWN: usize = 50;

/// Checks all files.
///
/// # Errors
/// A problem that names the column, the file, and what the file has.
pub(super) async fn check(spec: &JobSpec, files: &[PinnedFile], store: &Store, roots: &Roots) -> Result<(), Problem> {
    let (InputFormat::Csv(csv), Some((at, sought))) = (&spec.input_format, spec.sought_columns()) else {
        return Ok(());
    };
    for some in files.chunks(FILES_AT_A_TIME) {
        try_join_all(some.iter().map(|file| check_one(csv, (at, sought), file, store, roots))).await?;
    }
    Ok(())
}

async fn check_one(
    csv: &Csv,
    (at, sought): (&str, &[Column]),
    file: &PinnedFile,
    store: &Store,
    roots: &Roots,
) -> Result<(), Problem> {
    match read(csv, file, store, roots).await?.and_then(|first| missing(sought, &first)) {
        Some(why) => Err(Problem::at(at, format!("{} {why}", file.url))),
        None => Ok(()),
    }
}

/// Reads a file's first row; `None` if it has none, or a very long one.
async fn read(csv: &Csv, file: &PinnedFile, store: &Store, roots: &Roots) -> Result<Option<FirstRow>, Problem> {
    if file.bytes == 0 {
        return Ok(None);
    }
    for bytes in [limits::SAMPLE_BYTES, limits::HEADER_BYTES] {
        let beginning = sample::beginning(file, bytes, store, roots).await;
        let mut beginning = beginning.map_err(|error| misplaced(&error, "/inputs".to_owned()))?;
        if bytes >= file.bytes && !beginning.ends_with(b"\n") {
            // A file of one line may lack its end.
            beginning.push(b'\n');
        }
        if let Some(first) = first_row(csv, &beginning) {
            return Ok(Some(first));
        }
        if bytes >= file.bytes {
            break;
        }
    }
    Ok(None)
}

/// Says which column a file lacks, and which it has.
fn missing(sought: &[Column], first: &FirstRow) -> Option<String> {
    let fields = first.fields;
    for column in sought {
        if let Some(number) = column.number.filter(|number| *number as usize > fields) {
            return Some(format!("has {fields} columns, and no column {number}"));
        }
        let (Some(name), Some(names)) = (&column.name, &first.names) else { continue };
        let mut quoted = Vec::new();
        push_json(name, &mut quoted);
        if !names.iter().any(|known| known.as_bytes() == quoted) {
            return Some(format!("has no column `{name}`; it has {}", shown(names)));
        }
    }
    None
}

/// Lists names that are in quotes.
fn shown(names: &[String]) -> String {
    let plain = |name: &String| serde_json::from_str(name).unwrap_or_else(|_| name.clone());
    let mut shown = names.iter().take(NAMES_SHOWN).map(plain).collect::<Vec<String>>().join(", ");
    if names.len() > NAMES_SHOWN {
        shown.push_str(&format!(" and {} more", names.len() - NAMES_SHOWN));
    }
    shown
}
