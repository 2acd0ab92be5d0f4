//! Records of every format reach commands and native programs as docs/formats.md says; bad ones are named, or left out and
//! listed beside the output.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

use crate::fixture;

fn run(directory: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(fixture::BINARY).arg("run").args(args).current_dir(directory).output()?)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const PEOPLE: &str = "name;note\nAda;\"two\nlines\"\nGrace;plain\n";

#[test]
fn rows_and_records_reach_programs() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("people.csv"), PEOPLE)?;
    std::fs::write(dir.path().join("fixed.bin"), "aaa\nbbb\nccc\n")?;
    let csv = ["--input-format", "csv", "--delimiter", ";", "--header", "people.csv"];
    let cat = ["--mapper", "cat", "--map-only"];
    let rows = stdout(&run(dir.path(), &[&cat[..], &csv].concat())?);
    assert_eq!(rows, "{\"name\":\"Ada\",\"note\":\"two\\nlines\"}\n{\"name\":\"Grace\",\"note\":\"plain\"}\n");
    let tabs = stdout(&run(dir.path(), &[&cat[..], &csv, &["--rows", "tsv"]].concat())?);
    assert_eq!(tabs, "Ada\ttwo\\nlines\nGrace\tplain\n");
    let native = stdout(&run(
        dir.path(),
        &[&["grep", "-a", "Ada"][..], &["--input-format", "csv", "--delimiter", ";", "--header", "people.csv"]]
            .concat(),
    )?);
    assert!(native.contains("{\"name\":\"Ada\",\"note\":\"two\\nlines\"}"), "{native}");
    let records = stdout(&run(dir.path(), &["--mapper", "wc -c", "--map-only", "--records-of", "4", "fixed.bin"])?);
    assert_eq!(records.trim(), "12", "a command reads the bytes and nothing else");
    Ok(())
}

#[test]
fn bad_rows_are_named_or_left_out_and_listed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("rows.ndjson"), "{\"a\":1}\nnonsense\n{\"a\":2}\n")?;
    let args = ["--mapper", "cat", "--map-only", "--input-format", "ndjson", "rows.ndjson", "-o", "out.txt"];
    let failed = run(dir.path(), &args)?;
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(3), "{said}");
    assert!(said.contains("rows.ndjson:8") && said.contains("not JSON"), "{said}");
    stdout(&run(dir.path(), &[&args[..], &["--skip-bad-records", "1"]].concat())?);
    assert_eq!(std::fs::read_to_string(dir.path().join("out.txt"))?, "{\"a\":1}\n{\"a\":2}\n");
    let listed = std::fs::read_to_string(dir.path().join("out.txt_SKIPPED"))?;
    assert!(listed.contains("\"offset\":8") && listed.lines().count() == 1, "{listed}");
    Ok(())
}

#[test]
fn rows_of_parquet_files_reach_programs_whatever_the_size_of_splits() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    for name in ["typed.zstd.parquet", "typed.none.parquet", "duckdb.parquet", "nested.parquet"] {
        std::fs::copy(fixtures.join(name), dir.path().join(name))?;
    }
    let cat = ["--mapper", "cat", "--map-only", "--input-format", "parquet"];
    let expected = std::fs::read_to_string(fixtures.join("typed.ndjson"))?;
    for size in ["1000000", "4000"] {
        let rows = stdout(&run(dir.path(), &[&cat[..], &["--split-bytes", size, "typed.zstd.parquet"]].concat())?);
        assert_eq!(rows, expected, "splits of {size}");
    }
    let two = ["--input-columns", "name,id", "--rows", "tsv", "duckdb.parquet", "typed.none.parquet"];
    let rows = stdout(&run(dir.path(), &[&cat[..], &two].concat())?);
    assert!(rows.starts_with("row 0\t0\nrow 1\t1\n") && rows.lines().count() == 620, "{rows}");
    let native =
        ["grep", "-a", "\"id\":77,", "--input-format", "parquet", "--input-columns", "id,flag", "typed.zstd.parquet"];
    let found = stdout(&run(dir.path(), &native)?);
    assert!(found.ends_with("typed.zstd.parquet\t77\t{\"id\":77,\"flag\":false}\n"), "{found}");

    let refused = |args: &[&str], parts: &[&str]| -> Result<()> {
        let output = run(dir.path(), &[&cat[..], args].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && parts.iter().all(|part| said.contains(part)), "{said}");
        Ok(())
    };
    refused(
        &["typed.zstd.parquet", "duckdb.parquet"],
        &["typed.zstd.parquet", "duckdb.parquet has the column `even`"],
    )?;
    refused(&["nested.parquet"], &["`tags` is nested", "--input-columns"])?;
    let mut damaged = std::fs::read(fixtures.join("typed.zstd.parquet"))?;
    damaged[40] ^= 0xff;
    std::fs::write(dir.path().join("damaged.parquet"), damaged)?;
    refused(&["damaged.parquet"], &["damaged.parquet:4"])
}
