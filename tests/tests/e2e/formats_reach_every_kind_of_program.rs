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
