//! W3: 100-byte records in the order of their keys.

use std::ffi::OsStr;

use anyhow::Result;

use crate::bench::{Bench, size};
use crate::contender::{Contender, Equal};
use crate::data::RECORD_BYTES;
use crate::report::Report;

const DUCKDB: &str = r"
import sys, duckdb
c = duckdb.connect(); c.execute('set threads=2')
c.execute(f'''copy (select l from read_csv('{sys.argv[1]}', columns={{'l':'VARCHAR'}}, delim='\t', quote='', escape='', header=false,
  auto_detect=false) order by l) to '{sys.argv[2]}' (format csv, delimiter '\t', header false, quote '', escape '')''')
";

const POLARS: &str = r"
import sys, polars as pl
lines = pl.scan_csv(sys.argv[1], separator='\t', quote_char=None, has_header=False, schema={'l': pl.String})
lines.sort('l').sink_csv(sys.argv[2], separator='\t', include_header=False, quote_style='never')
";

/// 2 GiB of records. Equal keys are equal in ten bytes of random letters, so that whole lines order the same way.
pub(crate) fn sort(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(2 << 30) / RECORD_BYTES * RECORD_BYTES;
    let input = bench.data.records(bytes)?;
    let budget = bench.args.memory.map(|bytes| bytes.to_string());
    let mut arguments: Vec<&OsStr> = ["sort", "--key-bytes", "10"].map(OsStr::new).to_vec();
    arguments.extend(budget.iter().flat_map(|bytes| [OsStr::new("--memory"), OsStr::new(bytes)]));
    arguments.push(input.as_os_str());
    let mut all = vec![Contender::gristmill("gristmill", bench, Equal::Bytes, &arguments)];
    if bench.wants("yardstick") {
        all.push(Contender::yardstick(bench, Equal::Bytes, "sort", &input));
    }
    if bench.wants("gnu") {
        let memory = bench.args.memory.unwrap_or(8 << 30) >> 10;
        let script = format!(r#"sort --parallel=2 -S {memory}K -o "$2" "$1""#);
        all.push(Contender::shell("sort", bench, Equal::Bytes, &script, &input));
    }
    bench.add_python(&mut all, Equal::Bytes, &[("duckdb", DUCKDB), ("polars", POLARS)], &input);
    bench.add_with(&mut all, Equal::Bytes, &input);
    bench.rounds("W3", &format!("{} of records", size(bytes)), &all)
}
