use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::World;
use crate::{Staged, StorageError, rename_new, sync_directory};

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let world = World::new(&["f"]);
    let mut staged = Staged::create(world.path(".f")).expect("created");
    staged.write_all(b"new").expect("written");
    assert_eq!(fs::read(world.path("f")).expect("old"), b"f");
    staged.publish(&world.path("f")).expect("published");
    assert_eq!(fs::read(world.path("f")).expect("new"), b"new");

    let mut staged = Staged::create(world.path(".f")).expect("created");
    staged.write_all(b"never").expect("written");
    drop(staged);
    assert_eq!(world.list("*").expect("lists"), ["f"]);
    assert!(!world.path(".f").exists(), "a dropped file leaves nothing");
}

#[test]
fn a_leftover_or_a_planted_link_under_the_temporary_name_is_replaced() {
    let world = World::new(&["victim"]);
    symlink(world.path("victim"), world.path(".f")).expect("planted");
    let mut staged = Staged::create(world.path(".f")).expect("created");
    staged.write_all(b"text").expect("written");
    staged.publish(&world.path("f")).expect("published");
    assert_eq!(fs::read(world.path("victim")).expect("untouched"), b"victim");
}

#[test]
fn a_name_that_is_taken_is_not_taken_away() {
    let world = World::new(&["a", "b", "d/1", "e/1"]);
    for (from, to) in [("a", "b"), ("d", "e"), ("a", "e")] {
        let error = rename_new(&world.path(from), &world.path(to)).expect_err("taken");
        assert!(matches!(error, StorageError::Exists { .. }), "{error}");
    }
    fs::create_dir(world.path("empty")).expect("made");
    assert!(rename_new(&world.path("d"), &world.path("empty")).is_err(), "nor is an empty directory");
    rename_new(&world.path("d"), &world.path("free")).expect("free");
    assert_eq!(world.list("free").expect("lists"), ["free/1"]);
    sync_directory(world.home.path()).expect("synced");
}
