//! A corpus of archives that must not be unpacked, and archives made at random.

use proptest::prelude::*;
use tar::EntryType;

use super::archives::{Made, Unpacked, file, gzip, link, other, tar, zip};
use crate::bundles::extract::Caps;

fn refused(archive: &[u8], why: &str) {
    let error = Unpacked::of(archive).result.expect_err(why);
    assert!(error.contains(why), "`{error}` does not say `{why}`");
}

#[test]
fn a_proper_archive_is_unpacked_whatever_its_format() {
    let executable = Made { mode: 0o4755, ..file("bin/run", "#!/bin/sh\n") };
    let entries = [file("a.txt", "hello"), executable, link("bin/again", "../a.txt")];
    let plain = tar(&entries);
    for archive in [plain.clone(), gzip(&plain), zip(&entries)] {
        let unpacked = Unpacked::of(&archive);
        assert_eq!(unpacked.result, Ok(5 + 10));
        assert_eq!((unpacked.read("a.txt"), unpacked.read("bin/again")), ("hello".to_owned(), "hello".to_owned()));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(unpacked.root().join("bin/run")).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o555, "may be executed, and has no setuid bit");
    }
}

#[test]
fn paths_that_lead_out_are_refused() {
    for name in ["../bait", "/tmp/bait", "a/../../bait", "a/..", ".."] {
        refused(&tar(&[file(name, "x")]), "leads out");
        refused(&zip(&[file(name, "x")]), "leads out");
        refused(&tar(&[other(EntryType::Directory, name, "")]), "leads out");
    }
    let long =
        Made { kind: EntryType::GNULongName, ..file("././@LongLink", &format!("{}../../bait\0", "../".repeat(40))) };
    refused(&tar(&[long, file("x", "x")]), "leads out");
    let pax = Made { kind: EntryType::XHeader, ..file("pax", "16 path=../bait\n") };
    refused(&tar(&[pax, file("x", "x")]), "leads out");
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["/etc/passwd", "../bait", "a/../../bait", ".."] {
        for archive in [tar(&[link("l", target)]), zip(&[link("l", target)])] {
            let error = Unpacked::of(&archive).result.expect_err(target);
            assert!(error.contains("link"), "{error}");
        }
        let hard = other(EntryType::Link, "l", target);
        assert!(Unpacked::of(&tar(&[hard])).result.is_err());
    }
    // Each of these stays inside by its text; together they do not.
    let chain = [file("a/b/c/f", ""), link("p", "a/b/c"), link("q/up", "../p/../../.."), link("out", "q/up/../bait")];
    assert!(Unpacked::of(&tar(&chain)).result.is_err());
    refused(&tar(&[link("loop", "loop")]), "link to nothing");
    refused(&tar(&[link("dir", "."), file("dir/x", "through a link")]), "a file and a directory");
    refused(&tar(&[file("x/y", "1"), file("z", ""), link("x/y/w", "z")]), "a file and a directory");
}

#[test]
fn names_that_are_there_twice_are_refused() {
    for second in [file("a", "2"), link("a", "b"), file("./a", "2"), other(EntryType::Directory, "a/", "")] {
        let error = Unpacked::of(&tar(&[file("b", ""), file("a", "1"), second])).result.expect_err("twice");
        assert!(error.contains("twice") || error.contains("a file and a directory"), "{error}");
    }
    // The writer refuses a name twice, so one is renamed behind its back, in its header and in the list at the end.
    let mut archive = zip(&[file("aaaa", "1"), file("bbbb", "2")]);
    while let Some(at) = archive.windows(4).position(|window| window == b"bbbb") {
        archive[at..at + 4].copy_from_slice(b"aaaa");
    }
    refused(&archive, "twice");
}

#[test]
fn devices_pipes_and_sparse_files_are_refused() {
    for (kind, why) in [
        (EntryType::Block, "a device"),
        (EntryType::Char, "a device"),
        (EntryType::Fifo, "a pipe"),
        (EntryType::GNUSparse, "sparse"),
        (EntryType::new(b'?'), "not understood"),
    ] {
        refused(&tar(&[other(kind, "x", "")]), why);
    }
}

#[test]
fn bombs_go_off_at_the_caps() {
    let zeros = "\0".repeat(1 << 20);
    let entries: Vec<Made> = (0..100).map(|n| file(&format!("f{n}"), &zeros)).collect();
    let plain = tar(&entries);
    assert_eq!(Unpacked::of(&plain).result, Ok(100 << 20), "a large archive may be large");
    refused(&gzip(&plain), "unpacks to");
    refused(&zip(&entries), "unpacks to");
    let caps = Caps { bytes: 1 << 20, entries: 10 };
    let many: Vec<Made> = (0..11).map(|n| file(&format!("f{n}"), "")).collect();
    for archive in [tar(&many), gzip(&tar(&many)), zip(&many)] {
        let error = Unpacked::under(&archive, caps).result.expect_err("too many");
        assert!(error.contains("more than 10 entries"), "{error}");
    }
    // A name of 80 MB: no file is ever written, and it must not be held in memory either.
    let name = Made { kind: EntryType::GNULongName, ..file("././@LongLink", &"x".repeat(80 << 20)) };
    refused(&gzip(&tar(&[name, file("x", "")])), "longer than");
    let pax = Made { kind: EntryType::XHeader, ..file("pax", &"x".repeat(1 << 20)) };
    refused(&tar(&[pax, file("x", "")]), "longer than");
}

#[test]
fn what_is_no_archive_is_refused() {
    refused(b"", "no tar");
    refused(b"#!/bin/sh\n", "no tar");
    refused(b"\x1f\x8b\x08garbage", "cannot be read");
    let good = zip(&[file("a", "1")]);
    refused(&good[..good.len() - 1], "zip without an end");
    let mut flipped = zip(&[file("a", "some content")]);
    flipped[36] ^= 1;
    assert!(Unpacked::of(&flipped).result.is_err(), "its checksum does not fit");
    assert_eq!(Unpacked::of(&tar(&[])).result, Ok(0));
}

fn names() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "..", ".", "", "c"]), 1..5)
        .prop_map(|parts| parts.join("/"))
}

fn made() -> impl Strategy<Value = Made> {
    let kinds = vec![EntryType::Regular, EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::Fifo];
    (prop::sample::select(kinds), names(), names(), 0_u32..0o10000, ".{0,40}").prop_map(
        |(kind, name, target, mode, content)| {
            let content = if kind == EntryType::Regular { content } else { String::new() };
            Made { mode, ..Made { kind, target: target.into_bytes(), ..file(&name, &content) } }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever is in an archive, nothing outside changes, and what is unpacked keeps the rules (`Unpacked` checks both).
    #[test]
    fn no_archive_leaves_its_directory(entries in prop::collection::vec(made(), 0..8)) {
        Unpacked::of(&tar(&entries));
    }

    #[test]
    fn damaged_archives_never_do_harm(at in any::<prop::sample::Index>(), with in any::<u8>(), is_zip in any::<bool>()) {
        let entries = [file("a/b", "some text that is long enough"), link("l", "a/b"), file("c", "more")];
        let mut archive = if is_zip { zip(&entries) } else { tar(&entries) };
        let at = at.index(archive.len());
        archive[at] = with;
        Unpacked::of(&archive);
    }
}
