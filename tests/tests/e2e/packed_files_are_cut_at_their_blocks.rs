//! BGZF and Zstandard files of many frames are cut into splits, and give what the text gives, whatever the size of splits.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_common::format::{InputFormat, Parquet};
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::Cluster;

use crate::fixture;

fn run(directory: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(fixture::BINARY).arg("run").args(args).current_dir(directory).output()?)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CUT: [&str; 4] = ["lines.bgzf", "lines.frames.zstd", "lines.seekable.zstd", "lines.pzstd"];

#[test]
fn any_size_of_splits_gives_the_same_bytes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    for name in CUT.iter().chain(&["lines.txt"]) {
        std::fs::copy(fixtures.join(name), dir.path().join(name))?;
    }
    let text = std::fs::read_to_string(dir.path().join("lines.txt"))?;
    let grep = |name: &str, size: &str| -> Result<String> {
        let found = stdout(&run(dir.path(), &["grep", "-a", "line 1*7 ", "--split-bytes", size, name])?);
        Ok(found.replace(name, "lines.txt"))
    };
    let expected = grep("lines.txt", "100")?;
    assert_eq!(expected.lines().count(), 3, "{expected}");
    for name in CUT {
        let found = grep(name, "100")?;
        assert_eq!(grep(name, "1000000")?, found, "{name}: the size of splits matters");
        if name != "lines.pzstd" {
            assert_eq!(found, expected, "{name}: offsets are those of the text");
        }
        let out = format!("{name}.out/");
        let cat = ["--mapper", "cat", "--map-only", "--split-bytes", "150", name, "-o", &out];
        stdout(&run(dir.path(), &cat)?);
        let mut parts: Vec<_> = std::fs::read_dir(dir.path().join(&out))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        parts.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")));
        parts.sort();
        assert!(parts.len() >= 4, "{name} has {} parts", parts.len());
        let parts = parts.iter().map(std::fs::read_to_string).collect::<Result<String, _>>()?;
        assert_eq!(parts, text, "{name}");
    }
    Ok(())
}

#[test]
fn a_damaged_block_is_named_and_other_blocks_do_not_hide_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    // The seekable file has no sums of its frames, and a changed byte of text is text.
    for name in CUT.into_iter().filter(|name| *name != "lines.seekable.zstd") {
        let mut bytes = std::fs::read(fixtures.join(name))?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(dir.path().join(name), &bytes)?;
        let args = ["--mapper", "cat", "--map-only", "--split-bytes", "150", name];
        let failed = run(dir.path(), &args)?;
        let said = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(3), "{name}: {said}");
        assert!(said.contains(name), "{said}");
        let listed =
            run(dir.path(), &[&args[..], &["--skip-bad-records", "1", "-o", &format!("{name}.txt")]].concat())?;
        assert_eq!(stdout(&listed), "");
        assert_eq!(std::fs::read(dir.path().join(format!("{name}.txt")))?, b"", "left out whole, also where it is cut");
    }
    Ok(())
}

#[tokio::test]
async fn workers_read_blocks_and_row_groups_of_stored_files() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "a", &[])?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    let read = |name: &str| std::fs::read(fixtures.join(name));
    let (packed, rows) = (read("lines.bgzf")?, read("typed.zstd.parquet")?);
    let urls = cluster.upload(&[("lines.bgzf", &packed), ("typed.parquet", &rows)]).await?;
    let expected = [read("lines.txt")?, read("typed.ndjson")?];
    let formats = [InputFormat::default(), InputFormat::Parquet(Parquet::default())];
    for ((url, format), expected) in urls.into_iter().zip(formats).zip(expected) {
        let mut step = StepSpec::native("grep");
        step.args = vec![".".to_owned()];
        let mut spec = JobSpec::new("blocks", vec![Input::Url(url)], vec![step]);
        spec.input_format = format;
        spec.split.bytes = Some(300);
        let job = cluster.submit(&spec).await?;
        cluster.finish(&job).await?;
        let output = String::from_utf8(cluster.output(&job).await?)?;
        let texts: String =
            output.lines().filter_map(|line| line.splitn(3, '\t').nth(2)).map(|line| format!("{line}\n")).collect();
        assert_eq!(texts, String::from_utf8(expected)?);
    }
    Ok(())
}
