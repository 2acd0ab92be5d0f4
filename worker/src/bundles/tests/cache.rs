//! The cache: entries are whole or not there, and the least recently used go first, never what is in use.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gristmill_common::Digest;

use crate::bundles::cache::{Cache, Form};

fn cache(home: &Path, limit_bytes: u64) -> Cache {
    Cache::new(home.join("bundles"), limit_bytes)
}

/// Keeps 100 bytes that were last used so many minutes ago.
fn keep(cache: &Cache, byte: u8, minutes_ago: u64) -> Digest {
    let content = [byte; 100];
    let name = Digest::of(&content);
    let _making = cache.begin(name, Form::File).expect("works").expect("is not there");
    cache.write(name, &mut content.as_slice()).expect("kept");
    let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 - 60 * minutes_ago);
    fs::File::open(cache.path(name, Form::File)).expect("there").set_modified(used).expect("set");
    name
}

#[test]
fn only_content_that_has_its_hash_is_kept_and_damage_is_noticed() {
    let home = tempfile::tempdir().expect("a directory");
    let cache = cache(home.path(), 1000);
    let wrong = Digest::of(b"another");
    cache.write(wrong, &mut &b"content"[..]).expect_err("another hash");
    assert!(cache.find(wrong, Form::File, || {}).expect("works").is_none());
    let name = keep(&cache, 1, 0);
    assert!(cache.find(name, Form::File, || {}).expect("works").is_some());
    let path = cache.path(name, Form::File);
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "rotten").expect("written");
    assert!(cache.find(name, Form::File, || {}).expect("works").is_none());
    assert!(!path.exists(), "what is damaged makes room for what is not");
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_in_use_stays() {
    let home = tempfile::tempdir().expect("a directory");
    let cache = cache(home.path(), 300);
    let (oldest, old, young) = (keep(&cache, 1, 30), keep(&cache, 2, 20), keep(&cache, 3, 10));
    let is_there = |name| cache.path(name, Form::File).exists();
    let in_use = cache.find(oldest, Form::File, || {}).expect("works").expect("there");
    fs::File::open(cache.path(oldest, Form::File)).expect("there").set_modified(SystemTime::UNIX_EPOCH).expect("set");
    cache.make_room(100).expect("room");
    assert_eq!([oldest, old, young].map(is_there), [true, false, true]);
    let error = cache.make_room(250).expect_err("one is in use");
    assert!(error.to_string().contains("do not fit"), "{error}");
    drop(in_use);
    cache.make_room(300).expect("room");
    assert_eq!([oldest, old, young].map(is_there), [false, false, false]);
}

#[test]
fn trees_are_counted_and_evicted_although_they_are_read_only() {
    let home = tempfile::tempdir().expect("a directory");
    let cache = cache(home.path(), 1000);
    let name = Digest::of(b"archive");
    let making = cache.begin(name, Form::Tree).expect("works").expect("not there");
    assert!(cache.begin(name, Form::Tree).expect("works").is_none(), "made by one at a time");
    let staged = cache.stage_tree(name).expect("a directory");
    fs::create_dir(staged.join("sub")).expect("made");
    fs::write(staged.join("sub/file"), "x").expect("written");
    fs::set_permissions(staged.join("sub"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).expect("set");
    cache.keep_tree(name, 900).expect("kept");
    drop(making);
    let in_use = cache.find(name, Form::Tree, || {}).expect("works").expect("there");
    cache.make_room(200).expect_err("it is in use");
    drop(in_use);
    cache.make_room(200).expect("room");
    assert!(!cache.path(name, Form::Tree).exists());
}
