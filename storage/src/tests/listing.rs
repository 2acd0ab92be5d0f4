use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::World;
use crate::{Location, StorageError, file_url, list_files};

#[test]
fn a_file_a_directory_and_globs() {
    let world =
        World::new(&["b.txt", "a.txt", "logs/1.log", "logs/old/0.log", "logs/2.gz", "logs2/3.log", "x/y/z/4.log"]);
    let cases: &[(&str, &[&str])] = &[
        ("a.txt", &["a.txt"]),
        ("*.txt", &["a.txt", "b.txt"]),
        ("logs", &["logs/1.log", "logs/2.gz", "logs/old/0.log"]),
        ("logs/", &["logs/1.log", "logs/2.gz", "logs/old/0.log"]),
        ("logs/*", &["logs/1.log", "logs/2.gz", "logs/old/0.log"]),
        ("logs/*/", &["logs/old/0.log"]),
        ("logs*/?.log", &["logs/1.log", "logs2/3.log"]),
        ("logs/[!2]*", &["logs/1.log", "logs/old/0.log"]),
        ("**/*.log", &["logs/1.log", "logs/old/0.log", "logs2/3.log", "x/y/z/4.log"]),
        ("**/y/**", &["x/y/z/4.log"]),
        ("x/**/**/4.log", &["x/y/z/4.log"]),
        ("logs/**", &["logs/1.log", "logs/2.gz", "logs/old/0.log"]),
        ("nothing*", &[]),
        ("a.txt/*", &[]),
    ];
    for (pattern, expected) in cases {
        assert_eq!(world.list(pattern).expect(pattern), *expected, "{pattern}");
    }
    assert!(matches!(world.list("missing"), Err(StorageError::NotFound { .. })));
    assert!(matches!(world.list("missing/*.txt"), Err(StorageError::NotFound { .. })));
    assert!(world.list("a.txt/").expect_err("no directory").to_string().contains("is a file"));
}

#[test]
fn files_are_sorted_by_the_bytes_of_their_paths() {
    // As components, `a` comes before `a.b`; as bytes, `a.b/…` comes before `a/…`.
    let world = World::new(&["d/a/1", "d/a.b/1", "d/a0/1", "d/B/1"]);
    assert_eq!(world.list("d").expect("lists"), ["d/B/1", "d/a.b/1", "d/a/1", "d/a0/1"]);
}

#[test]
fn hidden_names_are_taken_only_when_they_are_spelled() {
    let world = World::new(&["d/_SUCCESS", "d/.x", "d/part", "d/_tmp/1", "d/.git/config", "d/e/_f"]);
    let cases: &[(&str, &[&str])] = &[
        ("d", &["d/part"]),
        ("d/*", &["d/part"]),
        ("d/?x", &[]),
        ("**/*f", &[]),
        ("d/_*", &["d/_SUCCESS", "d/_tmp/1"]),
        ("d/.x", &["d/.x"]),
        ("d/_tmp", &["d/_tmp/1"]),
        ("*/_tmp/*", &["d/_tmp/1"]),
        ("d/[_]tmp/*", &[]),
    ];
    for (pattern, expected) in cases {
        assert_eq!(world.list(pattern).expect(pattern), *expected, "{pattern}");
    }
}

#[test]
fn hostile_names_are_only_names() {
    let world = World::new(&["d/a\nb", "d/$(reboot)", "d/*", "d/[x]", "d/%41", "d/a b#c?", "d/..."]);
    let bad = world.path("d").join(OsStr::from_bytes(b"\xff\xfe"));
    fs::write(&bad, "x").expect("written");
    let Location::File(all) = Location::parse(&format!("{}/*", file_url(&world.path("d")))).expect("a URL") else {
        panic!("a file URL");
    };
    let found = list_files(&all, &world.roots, 100).expect("lists");
    assert_eq!(found.len(), 7, "all but the one that starts with a dot: {found:?}");
    assert_eq!(found.last(), Some(&bad));
    for path in found {
        let url = file_url(&path);
        assert_eq!(Location::parse_file(&url).expect("reads back"), path, "{url}");
        assert!(url.is_ascii() && !url.contains(['\n', ' ', '*', '#']), "{url}");
    }
    assert_eq!(world.list("d/%2A").expect("lists"), ["d/*"], "an encoded star is a name");
    assert_eq!(world.list("d/[%2A%20]").expect("lists"), ["d/*"], "and so it is in a class");
    assert_eq!(world.list("d/%2541").expect("lists"), ["d/%41"]);
}

#[test]
fn links_are_followed_inside_and_refused_outside() {
    let outside = World::new(&["secret/passwd"]);
    let world = World::new(&["real/1", "d/2"]);
    symlink(world.path("real"), world.path("d/inner")).expect("linked");
    symlink("../real/1", world.path("d/file")).expect("linked");
    assert_eq!(world.list("d").expect("lists"), ["d/2", "d/file", "d/inner/1"]);

    symlink(outside.path("secret"), world.path("d/outer")).expect("linked");
    for pattern in ["d", "d/*", "d/outer/*", "d/outer/passwd", "**/passwd"] {
        let error = world.list(pattern).expect_err(pattern);
        assert!(matches!(error, StorageError::Denied { .. }), "{pattern}: {error}");
        assert!(error.to_string().contains("--allow-path"), "{pattern}: {error}");
    }
    assert_eq!(world.list("d/*2").expect("what is not named is not looked at"), ["d/2"]);
}

#[test]
fn what_cannot_be_taken_is_said_and_not_left_out() {
    let world = World::new(&["d/1", "loop/a/1"]);
    symlink(world.path("gone"), world.path("d/dangling")).expect("linked");
    assert!(matches!(world.list("d").expect_err("dangling"), StorageError::NotFound { .. }));
    symlink(world.path("loop"), world.path("loop/a/back")).expect("linked");
    assert!(world.list("loop").expect_err("loop").to_string().contains("loop"));

    let world = World::new(&["p/1", "q/1"]);
    symlink(world.path("q"), world.path("p/to_q")).expect("linked");
    symlink(world.path("p"), world.path("q/to_p")).expect("linked");
    assert!(world.list("p").expect_err("a loop of two").to_string().contains("loop"));

    let world = World::new(&["d/1"]);
    rustix::fs::mknodat(rustix::fs::CWD, world.path("d/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("made");
    assert!(world.list("d").expect_err("a pipe").to_string().contains("regular file"));
    assert!(world.roots.open(&world.path("d/pipe")).is_err(), "and does not block");
}

#[test]
fn a_limit_stops_the_listing() {
    let world = World::new(&["d/1", "d/2", "d/3"]);
    let Location::File(all) = Location::parse(&file_url(&world.path("d"))).expect("a URL") else {
        panic!("a file URL");
    };
    assert!(matches!(list_files(&all, &world.roots, 2), Err(StorageError::TooMany { limit: 2 })));
    assert_eq!(list_files(&all, &world.roots, 3).expect("lists").len(), 3);
}
