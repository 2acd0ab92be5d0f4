//! `gristmill run` with executables: scripts go along, lists run line by line, and mistakes are told before anything runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};

use crate::fixture;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn run(directory: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(fixture::BINARY).arg("run").args(args).current_dir(directory).output()?)
}

fn printed(directory: &Path, args: &[&str]) -> Result<String> {
    let output = run(directory, args)?;
    anyhow::ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn word_count_in_python_is_word_count() -> Result<()> {
    let texts = ["../texts/pg-being_ernest.txt", "../texts/pg-metamorphosis.txt"];
    let counted = |more: &[&str]| {
        let args = [&["--mapper", "./mapper.py", "--reducer", "./reducer.py"], &texts[..], more].concat();
        printed(&example("word-count-python"), &args)
    };
    assert!(counted(&[])?.as_bytes() == fixture::expected()?);
    assert!(counted(&["--combiner", "./reducer.py", "--partitions", "2"])?.as_bytes() == fixture::expected()?);
    Ok(())
}

#[test]
fn the_log_example_has_the_top_urls_of_each_day() -> Result<()> {
    let home = tempfile::tempdir()?;
    let log = home.path().join("access.log");
    let made = Command::new(example("log-analysis/access_log.py")).arg("2000").output().context("python3 is needed")?;
    std::fs::write(&log, [made.stdout.as_slice(), b"no log line\n"].concat())?;
    let text = printed(&example("log-analysis"), &["--spec", "job.json", &log.display().to_string()])?;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 21, "{text}");
    assert_eq!(lines[0], ["2026-11-01", "36401339", "/download/gristmill.tar.gz"]);
    assert_eq!(lines[1], ["2026-11-01", "525497", "/"]);
    Ok(())
}

#[test]
fn pi_needs_no_input() -> Result<()> {
    let args = ["--mapper", "./darts.py", "--reducer", "./estimate.py", "--generate", "200", "--split-records", "20"];
    assert_eq!(printed(&example("monte-carlo-pi"), &args)?, "pi\t3.139696\t2000000 darts\n");
    Ok(())
}

#[test]
fn a_command_runs_for_every_line_and_a_failing_one_is_no_hindrance() -> Result<()> {
    let home = tempfile::tempdir()?;
    let list = home.path().join("list.txt");
    std::fs::write(&list, "one\r\na b\n\n$(x)")?;
    assert_eq!(printed(home.path(), &["--each-line", "echo <{}>", "list.txt"])?, "<one>\n<a b>\n<>\n<$(x)>\n");
    let args = ["--each-line", "echo", "--lines-per-task", "3", "list.txt"];
    assert_eq!(printed(home.path(), &args)?, "one\na b\n\n$(x)\n");

    std::fs::write(home.path().join("task.sh"), "#!/bin/sh\ntouch \"$OUT/$1\"\ntest \"$1\" != bad\n")?;
    std::fs::write(&list, "bad\ngood\nfine\n")?;
    let out = format!("OUT={}", home.path().display());
    let output = run(home.path(), &["--each-line", "./task.sh", "--env", &out, "--slots", "1", "list.txt"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("m0") && said.contains("failed"), "{said}");
    for name in ["bad", "good", "fine"] {
        assert!(home.path().join(name).is_file(), "{name} ran: {said}");
    }
    Ok(())
}

#[test]
fn mistakes_are_told_before_anything_runs() -> Result<()> {
    let home = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text);
    write("in.txt", "x\n")?;
    write("dos.py", "#!/usr/bin/env python3\r\nprint(1)\r\n")?;
    write("bare.py", "print(1)\n")?;
    write("job.json", "{\"name\": 1}")?;
    let cases: [(&[&str], &str); 14] = [
        (&["--mapper", "./no.py", "in.txt"], "no such file: ./no.py"),
        (&["--mapper", "./dos.py", "in.txt"], "Windows line ends"),
        (&["--mapper", "./bare.py", "in.txt"], "#!/usr/bin/env python3"),
        (&["--mapper", "cat | sort", "in.txt"], "sh -c"),
        (&["--mapper", "cat 'x", "in.txt"], "quote"),
        (&["--mapper", "cat", "word-count", "in.txt"], "ready-made program"),
        (&["--mapper", "cat", "--env", "X", "in.txt"], "NAME=VALUE"),
        (&["--mapper", "cat"], "no inputs"),
        (&["word-count", "--file", "in.txt", "in.txt"], "--file"),
        (&["--spec", "job.json"], "job.json"),
        (&["--spec", "job.json", "--partitions", "9", "in.txt"], "cannot be used with"),
        (&["--spec", "job.json", "--progress-timeout", "9s", "in.txt"], "cannot be used with"),
        (&["--spec", "job.json", "--strict", "in.txt"], "cannot be used with"),
        (&["--each-line", "echo", "--mapper", "cat", "in.txt"], "cannot be used with"),
    ];
    for (args, part) in cases {
        let output = run(home.path(), args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
    Ok(())
}
