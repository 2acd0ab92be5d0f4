//! `gristmill run`: no server, no spec; the result on stdout, in a file, or in a directory, whole or not at all.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::Result;

use crate::fixture;

fn texts() -> [String; 2] {
    let text = |name: &str| format!("{}/../examples/texts/{name}", env!("CARGO_MANIFEST_DIR"));
    [text("pg-being_ernest.txt"), text("pg-metamorphosis.txt")]
}

fn gristmill(args: &[&str]) -> Command {
    let mut command = Command::new(fixture::BINARY);
    command.args(args);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn stdout_has_the_result_and_nothing_else() -> Result<()> {
    let [ernest, metamorphosis] = texts();
    let output = gristmill(&["run", "word-count", &ernest, &metamorphosis]).output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout == fixture::expected()?, "{}", stderr(&output));
    Ok(())
}

#[test]
fn stdin_is_an_input() -> Result<()> {
    let mut child = gristmill(&["run", "word-count", "-", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("piped").write_all(b"to be or not to be\n")?;
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "be\t2\nnot\t1\nor\t1\nto\t2\n", "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "--quiet is quiet");
    Ok(())
}

#[test]
fn a_file_or_a_directory_appears_whole_and_is_not_replaced_unasked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [ernest, metamorphosis] = texts();
    let file = dir.path().join("counts.tsv");
    let file = file.to_str().expect("UTF-8");
    let args = ["run", "word-count", &ernest, &metamorphosis, "-o", file];
    let output = gristmill(&args).output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(std::fs::read(file)? == fixture::expected()?);
    assert_eq!(output.stdout, b"");

    let output = gristmill(&args).output()?;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("counts.tsv") && stderr(&output).contains("overwrite"), "{}", stderr(&output));
    let output = gristmill(&args).arg("--overwrite").output()?;
    assert!(output.status.success(), "{}", stderr(&output));

    let parts = dir.path().join("parts");
    let output = gristmill(&["run", "word-count", &ernest, &metamorphosis, "--partitions", "3", "-o"])
        .arg(format!("{}/", parts.display()))
        .output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    let mut lines = Vec::new();
    for part in ["part-00000", "part-00001", "part-00002"] {
        let text = std::fs::read(parts.join(part))?;
        lines.extend(text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec));
    }
    lines.sort();
    let mut expected: Vec<_> =
        fixture::expected()?.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    expected.sort();
    assert!(lines == expected);
    assert!(parts.join("_SUCCESS").is_file());
    let left: Vec<_> = std::fs::read_dir(dir.path())?.map(|entry| entry.map(|entry| entry.file_name())).collect();
    assert_eq!(left.len(), 2, "nothing else is left behind: {left:?}");
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let [ernest, _] = texts();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["run", "word-count", "no-such-file.txt"], 1, "no-such-file.txt"),
        (&["run", "word-cuont", &ernest], 2, "word-count"),
        (&["run", "word-count"], 2, "no inputs"),
        (&["run", "word-count", &ernest, "-o", "/no/such/dir/out"], 1, "/no/such/dir"),
        (&["run", "word-count", &ernest, "--partitions", "0"], 2, "--partitions"),
        (&["run", "word-count", &ernest, "--slots", "0"], 2, "--slots"),
        (&["run", "word-count", &ernest, "-o", &ernest, "--overwrite"], 2, "names an input"),
        (&["run", "grep", &ernest], 2, "-a"),
        (&["run", "word-count", "-a", "x", &ernest], 2, "no arguments"),
    ];
    for (args, code, part) in cases {
        let output = gristmill(args).output()?;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
        assert_eq!(output.stdout, b"", "{args:?}");
    }
    Ok(())
}

#[test]
fn a_panic_fails_the_job_with_file_and_offset() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("input.txt");
    std::fs::write(&file, "fine\nstill fine\nboom\nfine\n")?;
    let output = gristmill(&["run", "faulty", "-a", "panic", "-a", "boom"]).arg(&file).output()?;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("input.txt:16"), "{}", stderr(&output));
    Ok(())
}
