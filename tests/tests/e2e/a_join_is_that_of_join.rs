//! The ready-made `join`: what coreutils' `join` makes of sorted inputs, of inputs that are not sorted; here and on a cluster;
//! and tags reach every kind of program.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use gristmill_tests::Cluster;

use crate::fixture;

fn gristmill(directory: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(fixture::BINARY).args(args).current_dir(directory).output()?)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes the text, and its lines sorted by a field, as `join` wants them.
fn write(directory: &Path, name: &str, text: &str, field: usize) -> Result<()> {
    let key = |line: &&str| line.split(',').nth(field).unwrap_or_default().to_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    std::fs::write(directory.join(name), text)?;
    lines.sort_by_key(key);
    std::fs::write(directory.join(format!("{name}.sorted")), lines.join("\n") + "\n")?;
    Ok(())
}

/// Orders with the person in field 2, and people with their name in field 1; several lines for most, and none for some.
fn inputs(directory: &Path) -> Result<()> {
    let order = |i: u32| format!("{i},p{},{}\n", i.wrapping_mul(2_654_435_761) % 700, i % 11);
    let person = |i: u32| format!("p{},name {i}\n", i.wrapping_mul(2_246_822_519) % 900);
    write(directory, "orders", &(0..9_000).map(order).collect::<String>(), 1)?;
    write(directory, "people", &(0..1_500).map(person).collect::<String>(), 0)
}

#[test]
fn unsorted_inputs_give_what_join_gives_of_sorted_ones() -> Result<()> {
    let dir = tempfile::tempdir()?;
    inputs(dir.path())?;
    for (kind, theirs) in [
        ("inner", &[][..]),
        ("left", &["-a", "1"]),
        ("right", &["-a", "2"]),
        ("full", &["-a", "1", "-a", "2"]),
        ("anti", &["-v", "1"]),
    ] {
        let mut join = Command::new("join");
        join.args(["-t", ",", "-1", "2", "-2", "1"]).args(theirs).args(["orders.sorted", "people.sorted"]);
        let join = join.current_dir(dir.path()).env("LC_ALL", "C").output().context("coreutils' join")?;
        let expected = stdout(&join);
        assert!(expected.lines().count() > 100, "{kind}");
        let args = ["run", "join", "orders", "-t", ",", "-1", "2", "--with", "people", "-2", "1", "--type", kind];
        for more in [&[][..], &["--split-bytes", "10K", "--partitions", "3"]] {
            let found = stdout(&gristmill(dir.path(), &[&args[..], more].concat())?);
            assert!(
                found == expected,
                "{kind} {more:?}: {} lines, join {}",
                found.lines().count(),
                expected.lines().count()
            );
        }
    }
    let help = stdout(&gristmill(dir.path(), &["run", "join", "--help"])?);
    assert!(help.contains("--with") && help.contains("Examples:"), "{help}");
    let alone = gristmill(dir.path(), &["run", "join", "orders"])?;
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--with"), "{alone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_uploaded_to_a_cluster() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "w", &[])?;
    let dir = tempfile::tempdir()?;
    inputs(dir.path())?;
    let args = ["join", "-t", ",", "-1", "2", "orders", "--with", "people", "--type", "semi"];
    let mut submit = cluster.command();
    let output = submit.arg("submit").args(args).current_dir(dir.path()).output()?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("uploaded 2 files"), "{output:?}");
    let here = stdout(&gristmill(dir.path(), &[&["run"][..], &args].concat())?);
    assert!(here.lines().count() > 1_000 && stdout(&output) == here);
    Ok(())
}

/// Prints its environment.
const ENVIRONMENT: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 100) (i32.const 1000)))
    (i32.store (i32.const 16) (i32.const 1000))
    (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;

#[test]
fn commands_and_modules_are_told_the_tag() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, text) in [("a1", "x\n"), ("a2", "y\n"), ("b1", "z\n")] {
        std::fs::write(dir.path().join(name), text)?;
    }
    let inputs = ["--map-only", "--input", "first=a?", "--input", "second=b1"];
    let mapper = "sh -c 'while read line; do echo $gristmill_input_tag $line; done'";
    let told = stdout(&gristmill(dir.path(), &[&["run", "--mapper", mapper][..], &inputs].concat())?);
    assert_eq!(told, "first x\nfirst y\nsecond z\n");
    std::fs::write(dir.path().join("environment.wasm"), wat::parse_str(ENVIRONMENT)?)?;
    let told = stdout(&gristmill(dir.path(), &[&["run", "--mapper-wasm", "environment.wasm"][..], &inputs].concat())?);
    assert_eq!(told, "gristmill_input_tag=first\0\ngristmill_input_tag=second\0\n", "a split for each tag");
    let wrong = gristmill(dir.path(), &["run", "grep", "-a", "x", "--input", "a1"])?;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("orders=orders/*.csv"), "{wrong:?}");
    Ok(())
}
