//! Outputs as CSV, JSON lines and Parquet, packed or not: read back with other readers, the same bytes whatever the workers, and
//! a row that does not fit fails the program and never the commit.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

use crate::fixture;

fn run(directory: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(fixture::BINARY).arg("run").args(args).current_dir(directory).output()?)
}

fn sound(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}

const TEXT: &str = "b \"a\" b c,d b\n";
const COUNT: [&str; 6] = ["word-count", "text", "--output-columns", "word,n:int64", "--output-format", "ndjson"];

#[test]
fn lines_become_rows_and_files_are_packed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("text"), TEXT)?;
    let json = "{\"word\":\"\\\"a\\\"\",\"n\":1}\n{\"word\":\"b\",\"n\":3}\n{\"word\":\"c,d\",\"n\":1}\n";
    assert_eq!(sound(&run(dir.path(), &COUNT)?), json, "merged by key, on stdout");
    sound(&run(dir.path(), &[&COUNT[..], &["-o", "merged"]].concat())?);
    assert_eq!(std::fs::read_to_string(dir.path().join("merged"))?, json, "and in a file");

    let csv = ["word-count", "text", "--output-format", "csv", "--output-columns", "word,n:int64", "--output-header"];
    let one = ["--partitions", "1", "-o", "one.csv"];
    sound(&run(dir.path(), &[&csv[..], &one].concat())?);
    let rows = "word,n\n\"\"\"a\"\"\",1\nb,3\n\"c,d\",1\n";
    assert_eq!(std::fs::read_to_string(dir.path().join("one.csv"))?, rows);

    for (how, ending) in [("gzip", ".gz"), ("zstd", ".zst")] {
        for out in ["first/", "second/"] {
            let out = format!("{how}-{out}");
            let slots = if out.contains("first") { "1" } else { "3" };
            sound(&run(dir.path(), &[&csv[..], &["--compress", how, "--slots", slots, "-o", &out]].concat())?);
        }
        let (first, second) = (dir.path().join(format!("{how}-first")), dir.path().join(format!("{how}-second")));
        let parts = names(&first)?;
        assert!(parts.contains(&format!("part-00000.csv{ending}")), "{parts:?}");
        let mut found = Vec::new();
        for part in parts.iter().filter(|name| name.starts_with("part-")) {
            let bytes = std::fs::read(first.join(part))?;
            assert_eq!(bytes, std::fs::read(second.join(part))?, "the same bytes");
            let mut text = String::new();
            match how {
                "gzip" => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text)?,
                _ => zstd::stream::read::Decoder::new(&*bytes)?.read_to_string(&mut text)?,
            };
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("word,n"), "each file has the header");
            found.extend(lines.map(str::to_owned));
        }
        found.sort();
        assert_eq!(found, ["\"\"\"a\"\"\",1", "\"c,d\",1", "b,3"]);
    }
    let sorted = ["sort", "text", "--compress", "gzip", "-o", "sorted.gz"];
    sound(&run(dir.path(), &sorted)?);
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(dir.path().join("sorted.gz"))?).read_to_string(&mut text)?;
    assert_eq!(text, TEXT, "packed parts one behind the other are a packed file");
    Ok(())
}

#[test]
fn parquet_is_written_and_read_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("text"), TEXT)?;
    let write = ["word-count", "text", "--output-format", "parquet", "--output-columns", "word,n:int64"];
    for how in ["none", "zstd", "gzip", "lz4"] {
        let out = format!("{how}/");
        sound(&run(dir.path(), &[&write[..], &["--compress", how, "-o", &out]].concat())?);
        assert!(names(&dir.path().join(how))?.contains(&"part-00000.parquet".to_owned()));
        let files = format!("{how}/*.parquet");
        let read = ["--mapper", "cat", "--map-only", "--input-format", "parquet", "--rows", "tsv", &files];
        let rows = sound(&run(dir.path(), &read)?);
        let mut rows: Vec<_> = rows.lines().collect();
        rows.sort_unstable();
        assert_eq!(rows, ["\"a\"\t1", "b\t3", "c,d\t1"], "{how}, empty parts among them");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_or_fails_the_program() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("text"), TEXT)?;
    let fails = |args: &[&str], parts: &[&str]| -> Result<()> {
        let output = run(dir.path(), args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && parts.iter().all(|part| said.contains(part)), "{args:?}: {said}");
        Ok(())
    };
    let misfit = ["--output-format", "csv", "--output-columns", "word:int64,n:int64", "-o", "out/"];
    fails(
        &[&["word-count", "text"][..], &misfit].concat(),
        &["cannot succeed", "line 1 of the output", "is no int64"],
    )?;
    let few = ["word-count", "text", "--output-format", "ndjson", "--output-columns", "word"];
    fails(&few, &["has 2 fields between tabs"])?;
    fails(&["word-count", "text", "--compress", "gzip", "-o", "out.gz"], &["-o DIR/", "--partitions 1"])?;
    fails(&["word-count", "text", "--output-format", "parquet"], &["-o DIR/"])?;
    fails(&["word-count", "text", "--output-format", "parquet", "--compress", "bzip2", "-o", "out/"], &["zstd"])?;
    fails(&["word-count", "text", "--output-format", "csv", "--output-columns", "n:int"], &["no type"])?;
    assert!(!dir.path().join("out").exists());
    Ok(())
}
