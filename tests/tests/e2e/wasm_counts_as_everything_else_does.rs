//! WebAssembly modules through the command line: one command, or a coordinator and worker processes, and the result of every
//! other word count; a module that traps names its record, and the record can be left out.
//!
//! `GRISTMILL_BOOKS=DIR` counts the lab's eight books too.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use gristmill_common::Digest;
use gristmill_tests::Cluster;

use crate::fixture;

/// The white-space count of the eight books.
const BOOKS_COUNTED: &str = "722a06e64ebfb3d94827701b7390ffa3731c4d1bae75123b5e572d6411870960";

/// Mapper, combiner and reducer of each module of the example.
const MODULES: [[&str; 3]; 3] = [
    ["streaming.wasm map", "streaming.wasm reduce", "streaming.wasm reduce"],
    ["batched.wasm", "batched.wasm", "batched.wasm"],
    ["batched-as.wasm", "batched-as.wasm", "batched-as.wasm"],
];

/// Emits each line as a key, and traps at a `!`.
pub(crate) const TRAPS: &str = r#"(module
  (import "gristmill_abi_1" "emit" (func $emit (param i32 i32)))
  (memory (export "memory") 32)
  (func (export "gristmill_abi_1"))
  (func (export "gristmill_alloc") (param i32) (result i32) (i32.const 1048576))
  (func $line (param $at i32) (param $length i32)
    (i32.store (i32.const 1024) (local.get $length))
    (i32.store (i32.const 1028) (i32.const -1))
    (memory.copy (i32.const 1032) (local.get $at) (local.get $length))
    (call $emit (i32.const 1024) (i32.add (local.get $length) (i32.const 8))))
  (func $step (export "map_batch") (param $at i32) (param $length i32) (result i32)
    (local $start i32) (local $end i32)
    (local.set $start (local.get $at))
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 33)) (then (unreachable)))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 10)) (then
        (call $line (local.get $start) (i32.sub (local.get $at) (local.get $start)))
        (local.set $start (i32.add (local.get $at) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (i32.const 0)))"#;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/word-count-wasm")
}

/// Arguments that count words with these modules.
fn counting([map, combine, reduce]: [&str; 3]) -> [String; 6] {
    ["--mapper-wasm", map, "--combiner-wasm", combine, "--reducer-wasm", reduce].map(str::to_owned)
}

fn texts_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut texts = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    texts.sort();
    Ok(texts)
}

fn stdout(output: Output, what: &dyn std::fmt::Debug) -> Result<Vec<u8>> {
    ensure!(output.status.success(), "{what:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_command_counts_words_with_each_module() -> Result<()> {
    for modules in MODULES {
        let mut run = Command::new(fixture::BINARY);
        run.arg("run").args(counting(modules)).args(texts_of(&example().join("../texts"))?).current_dir(example());
        assert!(stdout(run.output()?, &modules)? == fixture::expected()?, "{modules:?}");
        if let Some(books) = std::env::var_os("GRISTMILL_BOOKS") {
            let mut run = Command::new(fixture::BINARY);
            run.arg("run").args(counting(modules)).args(texts_of(Path::new(&books))?).current_dir(example());
            let counted = stdout(run.output()?, &modules)?;
            assert_eq!(Digest::of(&counted).to_string(), BOOKS_COUNTED, "{modules:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_need_no_permission_to_run_modules() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    for state in ["a", "b"] {
        cluster.start_worker(1, state, &[])?;
    }
    let books = std::env::var_os("GRISTMILL_BOOKS");
    for modules in MODULES {
        let mut submit = cluster.command();
        submit.arg("submit").args(counting(modules)).args(["--split-bytes", "32K", "--partitions", "3"]);
        submit.args(texts_of(&example().join("../texts"))?).current_dir(example());
        assert!(stdout(submit.output()?, &modules)? == fixture::expected()?, "{modules:?}");
        if let Some(books) = &books {
            let mut submit = cluster.command();
            submit.arg("submit").args(counting(modules)).args(texts_of(Path::new(books))?).current_dir(example());
            let counted = stdout(submit.output()?, &modules)?;
            assert_eq!(Digest::of(&counted).to_string(), BOOKS_COUNTED, "{modules:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_traps_is_named_and_left_out_when_asked() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    std::fs::write(cluster.path("traps.wasm"), wat::parse_str(TRAPS)?)?;
    std::fs::write(cluster.path("lines.txt"), "fine\nboom! one\nstill fine\nboom! two\nfine again\n")?;
    let submit = |more: &[&str]| {
        let mut submit = cluster.command();
        submit.args(["submit", "--mapper-wasm", "traps.wasm", "--map-only", "lines.txt"]).args(more);
        submit.current_dir(cluster.dir.path()).output()
    };
    let failed = submit(&[])?;
    assert_eq!(failed.status.code(), Some(3), "{}", stderr(&failed));
    let said = stderr(&failed);
    assert!(said.contains("lines.txt:5") && said.contains("unreachable"), "{said}");
    let output = submit(&["--skip-bad-records", "2"])?;
    assert_eq!(String::from_utf8(stdout(output, &"skip")?)?, "fine\nstill fine\nfine again\n");
    let view = cluster.client()?.job("last", None).await?;
    let offsets: Vec<u64> = view.skipped.iter().map(|skipped| skipped.offset).collect();
    assert_eq!(offsets, [5, 26], "{view:#?}");
    Ok(())
}

#[test]
fn mistakes_are_told_before_anything_runs() -> Result<()> {
    let home = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes);
    write("in.txt", b"x\n")?;
    write("m.c", b"int main() {}\n")?;
    write("component.wasm", b"\0asm\x0d\0\x01\0")?;
    write("no-memory.wasm", &wat::parse_str("(module)")?)?;
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--mapper-wasm", "m.c"], 2, "is no WebAssembly module"),
        (&["--mapper-wasm", "component.wasm"], 2, "wasm32-wasip1"),
        (&["--mapper-wasm", "no.wasm"], 1, "no such file: no.wasm"),
        (&["--mapper-wasm", "no-memory.wasm", "--reducer", "cat"], 2, "cannot be used with"),
        (&["--mapper-wasm", "no-memory.wasm"], 3, "it exports no `memory`"),
    ];
    for (args, code, part) in cases {
        let output = Command::new(fixture::BINARY).arg("run").args(args).arg("in.txt").current_dir(&home).output()?;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
    }
    Ok(())
}
