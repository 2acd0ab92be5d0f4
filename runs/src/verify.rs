//! Reads a whole run and says whether all of it is as it was written.

use std::fs::File;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;

use crate::error::RunError;
use crate::file::RunFile;
use crate::part::part_text;
use crate::section::Source;
use crate::writer::{RunHeader, RunSummary};

/// Reads every block of the file.
///
/// # Errors
/// When it cannot be read, or anything in it contradicts anything else.
pub fn verify(path: impl AsRef<Path>) -> Result<(RunHeader, RunSummary), RunError> {
    verify_run(&RunFile::open(File::open(path)?)?)
}

/// Reads every block of the run.
///
/// # Errors
/// When it cannot be read, or anything in it contradicts anything else.
pub fn verify_run(run: &RunFile) -> Result<(RunHeader, RunSummary), RunError> {
    let summary = run.summary();
    let mut text_bytes = 0_u64;
    for entry in run.entries() {
        let mut reader = run.reader(entry.partition);
        let mut digest = Xxh3Default::new();
        let mut records = 0_u64;
        while reader.advance()? {
            if reader.is_block_start() {
                digest.update(reader.block());
            }
            records += 1;
            if run.is_part() {
                let (head, tail) = part_text(reader.key(), reader.value())?;
                text_bytes += (head.len() + tail.len()) as u64;
            }
        }
        if records != entry.records || digest.digest() != entry.digest {
            let what = format!("partition {} is not what the index says", entry.partition);
            return Err(RunError::corrupt(what, entry.offset));
        }
    }
    if text_bytes != summary.text_bytes {
        return Err(RunError::corrupt("the text is not as long as the index says", summary.bytes));
    }
    Ok((run.header(), summary))
}
