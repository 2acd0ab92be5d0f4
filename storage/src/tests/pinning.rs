use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use gristmill_common::Reason;
use gristmill_common::plan::Compression;

use super::World;
use crate::{StorageError, open_pinned, pin};

#[test]
fn a_file_that_grew_is_the_same_input_and_one_that_changed_is_not() {
    let world = World::new(&["a"]);
    let path = world.write("a", b"one\n");
    let pinned = pin(&path, &world.roots).expect("pinned");
    assert_eq!((pinned.bytes, pinned.compression), (4, Compression::None));
    open_pinned(&pinned, &world.roots).expect("unchanged");

    let mut file = File::options().append(true).open(&path).expect("opened");
    file.write_all(b"two\n").expect("grown");
    open_pinned(&pinned, &world.roots).expect("grown");

    let changed = |change: &str| {
        let error = open_pinned(&pinned, &world.roots).expect_err(change);
        assert!(matches!(error, StorageError::InputChanged { .. }) && error.to_string().contains(change), "{error}");
        assert!(matches!(error.reason(), Reason::InputChanged { .. }));
    };
    fs::write(&path, "on").expect("cut");
    changed("had 4");
    fs::write(&path, "uno\n").expect("replaced");
    // The clock of some file systems is coarse: the test must not depend on it.
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5_000);
    File::options().write(true).open(&path).expect("opened").set_modified(later).expect("set");
    changed("written to");
    fs::remove_file(&path).expect("removed");
    let error = open_pinned(&pinned, &world.roots).expect_err("gone");
    assert!(matches!(error.reason(), Reason::InputUnreadable { .. }), "{error}");
}

#[test]
fn packing_is_told_by_bytes_and_not_by_names() {
    let world = World::new(&[]);
    let kind = |name: &str, bytes: &[u8]| pin(&world.write(name, bytes), &world.roots).map(|file| file.compression);
    assert_eq!(kind("plain.gz", b"just text\n").expect("text"), Compression::None);
    assert_eq!(kind("packed.txt", b"\x1f\x8b\x08\0\0\0\0\0").expect("gzip"), Compression::Gzip);
    assert_eq!(kind("empty.zst", b"").expect("empty"), Compression::None);
    assert_eq!(kind("bzh.txt", b"BZh9 is a text\n").expect("text"), Compression::None);
    let packed: [(Compression, &[u8]); 6] = [
        (Compression::Zstd, b"\x28\xb5\x2f\xfd\x04\x00"),
        (Compression::Pzstd, b"\x50\x2a\x4d\x18\x04\0\0\0\x12\0\0\0\x28\xb5\x2f\xfd\x04\x00"),
        (Compression::Lz4, b"\x04\x22\x4d\x18\x64\x40"),
        (Compression::Bzip2, b"BZh91AY&SY"),
        (Compression::Bzip2, b"BZh91AY&SY and what follows"),
        (Compression::Bzip2, b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0"),
    ];
    for (expected, bytes) in packed {
        assert_eq!(kind("input.txt", bytes).expect("known"), expected);
    }
    let error = kind("input.txt", b"\xfd7zXZ\0\0\x04").expect_err("xz");
    assert!(matches!(error, StorageError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("xz") && error.to_string().contains("input.txt"), "{error}");
}
