//! W8: the few lines that hold three letters.

use anyhow::Result;

use crate::bench::{Bench, size};
use crate::contender::{Contender, Equal};
use crate::data::RECORD_BYTES;
use crate::report::Report;

/// Three letters that about one record in a hundred thousand has in its key.
const PATTERN: &str = "Zq~";

/// 4 GiB of records; ripgrep where it is installed, GNU grep else.
pub(crate) fn grep(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(4 << 30) / RECORD_BYTES * RECORD_BYTES;
    let input = bench.data.records(bytes)?;
    let arguments = ["grep".as_ref(), "-a".as_ref(), PATTERN.as_ref(), input.as_os_str()];
    let mut all = vec![Contender::gristmill("gristmill", bench, Equal::Nothing, &arguments)];
    if bench.wants("gnu") || bench.wants("yardstick") {
        let script = format!(
            r#"if command -v rg > /dev/null; then rg -j2 --no-filename -F '{PATTERN}' "$1"; else grep -F '{PATTERN}' "$1"; fi > "$2""#
        );
        all.push(Contender::shell("yardstick", bench, Equal::Nothing, &script, &input));
    }
    bench.add_with(&mut all, Equal::Nothing, &input);
    bench.rounds("W8", &format!("{} of records", size(bytes)), &all)
}
