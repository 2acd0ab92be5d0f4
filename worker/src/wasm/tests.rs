//! Modules that count, and modules that misbehave.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_common::Reason;
use gristmill_common::program::Wasm;

use super::engine::load_bytes;
use super::guest::{Guest, Recipe, Role};
use super::host::Settings;
use super::locate::Locate;
use crate::log::AttemptLog;
use crate::position::{Position, Spot};
use crate::streaming::Peer;

/// The least of a batched module; `inside` are its further definitions.
fn batched(inside: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "gristmill_abi_1" "emit" (func $emit (param i32 i32)))
            (memory (export "memory") 2)
            (func (export "gristmill_abi_1"))
            {inside})"#
    );
    wat::parse_str(text).expect("a module")
}

const ALLOC: &str = r#"(func (export "gristmill_alloc") (param i32) (result i32) (i32.const 1024))
    (func $grown (result i32) (memory.grow (i32.const 16)))
    (func $init (drop (call $grown))) (start $init)"#;

/// As above, with `map_batch` that has this body; its parameters are `$at` and `$length`.
fn mapping(body: &str) -> Vec<u8> {
    batched(&format!(
        r#"{ALLOC} (func $map (export "map_batch") (param $at i32) (param $length i32) (result i32) {body})"#
    ))
}

fn recipe(module: &[u8], cancel: &Arc<AtomicBool>) -> Result<Recipe, Reason> {
    let wasm: Wasm = serde_json::from_str("{}").expect("defaults");
    let settings = Settings {
        args: vec!["map".to_owned()],
        env: Vec::new(),
        random: 1,
        memory_bytes: wasm.memory_bytes.min(64 << 20),
        cancel: Arc::clone(cancel),
    };
    Ok(Recipe { loaded: load_bytes(module)?, role: Role::Map, settings, log: AttemptLog::default() })
}

fn guest(module: &[u8]) -> Result<Guest, Reason> {
    recipe(module, &Arc::default())?.start()
}

/// Feeds these lines, and returns the reason and the offset that the position names.
fn failed(module: &[u8]) -> (String, u64) {
    let position = Arc::new(Position::in_memory());
    position.enter(Spot::File(0), 1_000);
    let run = || -> Result<(), Reason> {
        let locate = Locate { position: Arc::clone(&position), numbered: false };
        let mut guest = guest(module)?.locating(locate);
        guest.feed(b"one\ntwo\nbad\nfour\n", &mut |_| Ok(()))?;
        guest.finish(&mut |_| Ok(()))
    };
    (run().expect_err("must fail").to_string(), position.offset())
}

/// Traps at the line that begins with `b`.
fn if_bad(then: &str) -> String {
    format!(
        r#"(local $end i32) (local.set $end (i32.add (local.get $at) (local.get $length)))
        (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
            (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 98)) (then {then}))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next)))
        (i32.const 0)"#
    )
}

#[test]
fn a_trap_names_its_record() {
    for (then, what) in [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const -1)))", "out of bounds"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "divide by zero"),
    ] {
        let (reason, offset) = failed(&mapping(&if_bad(then)));
        assert!(reason.starts_with("panicked: wasm trap") && reason.contains(what), "{reason}");
        assert_eq!(offset, 1_008, "{reason}");
    }
    let (reason, offset) = failed(&mapping("(i32.const 2)"));
    assert!(reason.contains("record 1 of its batch is bad"), "{reason}");
    assert_eq!(offset, 1_004);
    let (reason, offset) = failed(&mapping("(i32.const -7)"));
    assert!(reason.contains("`map_batch` returned -7"), "{reason}");
    assert_eq!(offset, 1_000);
}

#[test]
fn a_stack_without_end_is_a_trap() {
    let body = "(call $map (local.get $at) (local.get $length)) (return (i32.add (i32.const 1)))";
    let (reason, _) = failed(&mapping(body));
    assert!(reason.contains("stack"), "{reason}");
}

#[test]
fn memory_beyond_the_limit_is_refused() {
    let (reason, _) = failed(&mapping("(drop (memory.grow (i32.const 2000))) (i32.const 0)"));
    assert!(reason.starts_with("out of memory: ") && reason.contains("67108864"), "{reason}");
    let table = batched(&format!("{ALLOC} (table 2000000 funcref)"));
    assert!(failed(&table).0.contains("table of 2000000 elements"));
}

#[test]
fn pointers_from_the_module_are_checked() {
    for pair in ["(i32.const -1) (i32.const 1)", "(i32.const -8) (i32.const -8)", "(i32.const 0) (i32.const -1)"] {
        let (reason, _) = failed(&mapping(&format!("(call $emit {pair}) (i32.const 0)")));
        assert!(reason.contains("`emit` was called with"), "{reason}");
    }
    for at in [-1, 1_179_000] {
        let inside = format!(
            r#"(func (export "gristmill_alloc") (param i32) (result i32) (i32.const {at}))
            (func (export "map_batch") (param i32 i32) (result i32) (i32.const 0))"#
        );
        let (reason, _) = failed(&batched(&inside));
        assert!(reason.contains("which is not all in its memory"), "{reason}");
    }
}

#[test]
fn what_cannot_run_says_why() {
    let refusals: [(&[u8], &str); 3] = [
        (b"#!/bin/sh\n", "does not begin as one"),
        (b"\0asm\x01\0\0\0\xff\xff", "no WebAssembly module for this"),
        (b"\0asm\x01\0\0\0", "exports no `memory`"),
    ];
    for (module, why) in refusals {
        assert!(failed(module).0.contains(why), "{}", failed(module).0);
    }
    let texts = [
        (r#"(module (memory (export "memory") 1))"#, "neither `_start`"),
        (r#"(module (memory (export "memory") 1) (func (export "gristmill_abi_9")))"#, "knows `gristmill_abi_1`"),
        (
            r#"(module (import "env" "fork" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
            "imports `env.fork`, which is not there",
        ),
        (r#"(module (memory (export "memory") 1) (func (export "gristmill_abi_1")))"#, "no function `map_batch`"),
        (
            r#"(module (memory (export "memory") 1) (func (export "gristmill_abi_1")) (func (export "map_batch")))"#,
            "`map_batch` has another type",
        ),
    ];
    for (text, why) in texts {
        let (reason, _) = failed(&wat::parse_str(text).expect("a module"));
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_loop_without_end_stops_when_nobody_wants_it() {
    for body in [
        "(loop $l (br $l)) (i32.const 0)",
        "(loop $l (call $emit (i32.const 0) (i32.const 65536)) (br $l)) (i32.const 0)",
    ] {
        let cancel = Arc::new(AtomicBool::new(false));
        let mut guest = recipe(&mapping(body), &cancel).and_then(|recipe| recipe.start()).expect("starts");
        let watcher = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            cancel.store(true, Ordering::Relaxed);
        });
        let mut taken = 0;
        let ended = guest.feed(b"x\n", &mut |bytes| {
            taken = bytes.len().max(taken);
            Ok(())
        });
        assert!(ended.expect_err("cancelled").to_string().contains("cancelled"));
        assert!(taken <= 512 << 10, "output is taken while the module runs");
        watcher.join().expect("ends");
    }
}

/// Counts the words of a text through a module's map and reduce, with a sort between.
fn count(module: &Path, text: &[u8], is_batched: bool) -> Vec<u8> {
    let module = fs::read(module).expect("a module");
    let run = |role, arg: &str, input: &[u8]| {
        let mut recipe = recipe(&module, &Arc::default()).expect("loads");
        recipe.role = role;
        recipe.settings.args = vec![arg.to_owned()];
        let mut guest = recipe.start().expect("starts");
        let mut out = Vec::new();
        let mut take = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        guest.feed(input, &mut take).expect("fed");
        guest.finish(&mut take).expect("ends");
        out
    };
    let mapped = run(Role::Map, "map", text);
    if !is_batched {
        let mut lines: Vec<&[u8]> = mapped.split_inclusive(|byte| *byte == b'\n').collect();
        lines.sort_unstable();
        return run(Role::Reduce, "reduce", &lines.concat());
    }
    let mut records: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    super::batch::each(&mapped, |key, value| records.entry(key).or_default().push(value.unwrap_or_default()))
        .expect("records");
    let mut batch = Vec::new();
    for (key, values) in records {
        for (index, value) in values.into_iter().enumerate() {
            super::batch::push(&mut batch, (index == 0).then_some(key), value);
        }
    }
    let mut lines = Vec::new();
    super::batch::each(&run(Role::Reduce, "reduce", &batch), |key, value| {
        lines.extend_from_slice(key);
        lines.push(b'\t');
        lines.extend_from_slice(value.unwrap_or_default());
        lines.push(b'\n');
    })
    .expect("records");
    lines
}

#[test]
fn the_example_modules_count_alike() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let text = fs::read(examples.join("texts/pg-metamorphosis.txt")).expect("a text");
    let mut words: BTreeMap<&[u8], u64> = BTreeMap::new();
    for word in text.split(|byte| b" \t\n\x0b\x0c\r".contains(byte)).filter(|word| !word.is_empty()) {
        *words.entry(word).or_default() += 1;
    }
    let mut expected = Vec::new();
    for (word, count) in words {
        expected.extend_from_slice(word);
        expected.extend_from_slice(format!("\t{count}\n").as_bytes());
    }
    for (module, is_batched) in [("streaming.wasm", false), ("batched.wasm", true), ("batched-as.wasm", true)] {
        let counted = count(&examples.join("word-count-wasm").join(module), &text, is_batched);
        assert!(counted == expected, "{module} counts otherwise");
    }
}
