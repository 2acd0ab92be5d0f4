//! The yardsticks: hand-written programs for exactly one job, two threads, one process. Close to what the hardware can do,
//! and wrong for anything else: no fault is handled and nothing is fsynced.

#![expect(unsafe_code, reason = "yardsticks map their input and use vector instructions; nothing else links them")]

mod sort;
mod table;
mod words;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use memmap2::Mmap;

/// Runs the yardstick of this name.
pub(crate) fn run(name: &str, input: &Path, output: &Path) -> Result<()> {
    let file = File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
    // SAFETY: the file is one of the benchmark's own, which nobody cuts meanwhile.
    let bytes = unsafe { Mmap::map(&file)? };
    match name {
        "words" => words::count(&bytes, output),
        "sort" => sort::sort(&bytes, output),
        _ => bail!("no yardstick `{name}`: there are words and sort"),
    }
}
