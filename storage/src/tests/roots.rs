use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::World;
use crate::{Roots, StorageError, beneath};

fn denied<T: std::fmt::Debug>(result: Result<T, StorageError>, part: &str) {
    let error = result.expect_err(part);
    assert!(matches!(error, StorageError::Denied { .. }) && error.to_string().contains(part), "{error}");
}

#[test]
fn nothing_is_allowed_by_default() {
    let world = World::new(&["a"]);
    denied(Roots::none().open(&world.path("a")), "--allow-path");
    denied(Roots::none().resolve_new(&world.path("b")), "no directory is allowed here");
}

#[test]
fn only_what_lies_beneath_is_opened() {
    let world = World::new(&["in/a", "out/a", "inn/a"]);
    let roots = Roots::new([world.path("in")], None::<&Path>).expect("allowed");
    roots.open(&world.path("in/a")).expect("inside");
    denied(roots.open(&world.path("out/a")), "--allow-path");
    denied(roots.open(&world.path("inn/a")), "--allow-path");
    denied(roots.open(&world.path("out/missing")), "--allow-path");
    denied(roots.open(&world.path("in/../out/a")), "`..`");
    denied(roots.open(Path::new("in/a")), "--allow-path");
    denied(roots.open(&world.path("in")), "is a directory");
    symlink(world.path("out/a"), world.path("in/link")).expect("linked");
    denied(roots.open(&world.path("in/link")), "symbolic link");
    symlink(world.path("out"), world.path("in/dir")).expect("linked");
    denied(roots.open(&world.path("in/dir/a")), "symbolic link");
    denied(roots.resolve_new(&world.path("in/dir/new")), "symbolic link");
    denied(roots.resolve_new(&world.path("in/link")), "symbolic link");
    denied(roots.resolve_new(&world.path("in")), "--allow-path");
    roots.resolve_new(&world.path("in/new")).expect("a free name");
    assert!(matches!(roots.resolve_new(&world.path("in/no/new")), Err(StorageError::NotFound { .. })));
}

#[test]
fn a_root_may_be_reached_through_a_link() {
    let world = World::new(&["real/a"]);
    symlink(world.path("real"), world.path("alias")).expect("linked");
    let roots = Roots::new([world.path("alias")], None::<&Path>).expect("allowed");
    roots.open(&world.path("alias/a")).expect("as it was given");
    roots.open(&world.path("real/a")).expect("as it is");
    assert_eq!(roots.covering(&world.path("real/a")), Some(world.path("alias").as_path()));
}

#[test]
fn the_data_directory_is_never_touched() {
    let world = World::new(&["data/journal", "a"]);
    let roots = Roots::new([world.home.path()], [world.path("data")]).expect("allowed");
    roots.open(&world.path("a")).expect("beside it");
    denied(roots.open(&world.path("data/journal")), "data directory");
    symlink(world.path("data/journal"), world.path("innocent")).expect("linked");
    denied(roots.open(&world.path("innocent")), "data directory");
    denied(roots.resolve_new(&world.path("data/new")), "data directory");
    denied(roots.resolve_new(&world.path("data")), "data directory");
    denied(Roots::new([world.path("data")], [world.path("data")]), "data directory");
}

#[test]
fn roots_that_cannot_be_are_refused() {
    let world = World::new(&["a"]);
    denied(Roots::new(["relative"], None::<&Path>), "absolute");
    denied(Roots::new([world.path("x/../a")], None::<&Path>), "absolute");
    denied(Roots::new([world.path("a")], None::<&Path>), "not a directory");
    assert!(matches!(Roots::new([world.path("no")], None::<&Path>), Err(StorageError::NotFound { .. })));
}

#[test]
fn a_link_that_appears_after_the_check_does_not_lead_out() {
    let world = World::new(&["in/d/a", "out/a"]);
    let root = world.path("in");
    beneath::open(&root, Path::new("d/a")).expect("a plain path");
    fs::rename(world.path("in/d"), world.path("in/old")).expect("moved");
    symlink(world.path("out"), world.path("in/d")).expect("linked");
    assert!(beneath::open(&root, Path::new("d/a")).is_err());
    assert!(beneath::open(&root, Path::new("../out/a")).is_err());
}
