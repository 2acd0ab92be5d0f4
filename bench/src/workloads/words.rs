//! W1 and W2: words and how often they occur, between ASCII white space.

use std::path::Path;

use anyhow::Result;

use crate::bench::{Bench, size};
use crate::contender::{Contender, Equal};
use crate::report::Report;
use crate::typed;

const DUCKDB: &str = r"
import sys, duckdb
c = duckdb.connect(); c.execute('set threads=2; set preserve_insertion_order=false')
c.execute(f'''copy (select w, count(*) from (select unnest(string_split(l, ' ')) w from read_csv('{sys.argv[1]}',
  columns={{'l':'VARCHAR'}}, delim='\t', quote='', escape='', header=false, auto_detect=false)) where w <> '' group by w)
  to '{sys.argv[2]}' (format csv, delimiter '\t', header false, quote '', escape '')''')
";

const POLARS: &str = r"
import sys, polars as pl
lines = pl.scan_csv(sys.argv[1], separator='\x01', has_header=False, new_columns=['l'], quote_char=None)
words = lines.select(pl.col('l').str.split(' ').alias('w')).explode('w').filter(pl.col('w') != '')
words.group_by('w').agg(pl.len()).collect(engine='streaming').write_csv(sys.argv[2], separator='\t', include_header=False, quote_style='never')
";

const SPARK: &str = r"
import sys
from pyspark.sql import SparkSession, functions as f
spark = SparkSession.builder.master('local[2]').config('spark.driver.memory', '8g').config('spark.ui.enabled', 'false').getOrCreate()
words = spark.read.text(sys.argv[1]).select(f.explode(f.split('value', ' ')).alias('w')).where(f.col('w') != '')
words.groupBy('w').count().write.csv(sys.argv[2], sep='\t', quote='')
";

/// W1: 1 GiB of English.
pub(crate) fn english(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(1 << 30);
    let input = bench.data.english(bytes)?;
    bench.rounds("W1", &format!("{} of English text", size(bytes)), &contenders(bench, &input))
}

/// W2: 1 GiB of Zipf words.
pub(crate) fn zipf(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(1 << 30);
    let input = bench.data.zipf(bytes)?;
    bench.rounds("W2", &format!("{} of Zipf words", size(bytes)), &contenders(bench, &input))
}

fn contenders(bench: &Bench, input: &Path) -> Vec<Contender> {
    let input_text = input.as_os_str();
    let mut all = vec![Contender::gristmill("gristmill", bench, Equal::Lines, &["word-count".as_ref(), input_text])];
    if bench.wants("typed") {
        all.push(Contender::gristmill("typed", bench, Equal::Lines, &[typed::NAME.as_ref(), input_text]));
    }
    if bench.wants("yardstick") {
        all.push(Contender::yardstick(bench, Equal::Lines, "words", input));
    }
    if bench.wants("gnu") {
        let script =
            r#"awk '{ for (i = 1; i <= NF; i++) c[$i]++ } END { for (w in c) print w "\t" c[w] }' "$1" > "$2""#;
        all.push(Contender::shell("awk", bench, Equal::Lines, script, input));
    }
    bench.add_python(&mut all, Equal::Lines, &[("duckdb", DUCKDB), ("polars", POLARS), ("pyspark", SPARK)], input);
    bench.add_with(&mut all, Equal::Lines, input);
    all
}
