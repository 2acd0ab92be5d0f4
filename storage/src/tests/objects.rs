use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::World;
use crate::{ByteRange, Bytes, Objects, StorageError, StorePath};

fn path(text: &str) -> StorePath {
    StorePath::parse(text).expect(text)
}

async fn put(objects: &Objects, name: &str, text: &'static str) -> Result<u64, StorageError> {
    let chunks = text.as_bytes().chunks(3).map(|chunk| Ok(Bytes::from_static(chunk)));
    objects.put(&path(name), stream::iter(chunks), 1_000).await
}

async fn read(
    objects: &Objects,
    name: &str,
    range: Option<std::ops::Range<u64>>,
    version: Option<&str>,
) -> Result<String, StorageError> {
    let (_, body) = objects.open(&path(name), range, version).await?;
    let chunks: Vec<Bytes> = body.try_collect().await?;
    Ok(String::from_utf8(chunks.concat()).expect("text"))
}

#[tokio::test]
async fn files_are_written_read_listed_and_deleted() {
    let world = World::new(&[]);
    let objects = Objects::local(world.home.path()).expect("opened");
    assert_eq!(put(&objects, "b/2.txt", "two").await.expect("written"), 3);
    put(&objects, "b/1#0.txt", "one, and more").await.expect("written");
    put(&objects, "b.txt", "").await.expect("written");
    put(&objects, "c/d/é *.txt", "x").await.expect("written");
    let names = async |prefix: &str| -> Vec<String> {
        let found = objects.list(prefix, 10).await.expect("lists");
        found.into_iter().map(|facts| format!("{}={}", facts.path, facts.bytes)).collect()
    };
    assert_eq!(names("").await, ["b.txt=0", "b/1#0.txt=13", "b/2.txt=3", "c/d/é *.txt=1"]);
    assert_eq!(names("b").await, ["b.txt=0", "b/1#0.txt=13", "b/2.txt=3"]);
    assert_eq!(names("b/1").await, ["b/1#0.txt=13"]);
    assert_eq!(names("c/d/").await, ["c/d/é *.txt=1"]);
    for nothing in ["missing/", "b.txt/", "b.txt/c/", "../", "c//"] {
        assert_eq!(names(nothing).await, Vec::<String>::new(), "{nothing}");
    }
    assert!(matches!(objects.list("", 2).await, Err(StorageError::TooMany { .. })));
    assert_eq!(read(&objects, "b/1#0.txt", None, None).await.expect("read"), "one, and more");
    assert_eq!(read(&objects, "b/1#0.txt", Some(5..8), None).await.expect("read"), "and");
    assert_eq!(read(&objects, "b.txt", None, None).await.expect("read"), "");
    objects.delete(&path("c/d/é *.txt")).await.expect("deleted");
    for missing in ["c/d/é *.txt", "b", "b.txt/x", "nothing"] {
        let error = objects.head(&path(missing)).await.expect_err(missing);
        assert!(matches!(error, StorageError::NotFound { .. }), "{missing}: {error}");
        let error = objects.delete(&path(missing)).await.expect_err(missing);
        assert!(!matches!(error, StorageError::Denied { .. }), "{missing}: {error}");
    }
}

#[tokio::test]
async fn a_replaced_file_is_another_version() {
    let world = World::new(&[]);
    let objects = Objects::local(world.home.path()).expect("opened");
    put(&objects, "a", "old text").await.expect("written");
    let old = objects.head(&path("a")).await.expect("there");
    assert_eq!(read(&objects, "a", None, Some(&old.version)).await.expect("the same"), "old text");
    put(&objects, "a", "new text").await.expect("replaced");
    let error = read(&objects, "a", None, Some(&old.version)).await.expect_err("another");
    assert!(matches!(error, StorageError::InputChanged { .. }), "{error}");
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_too_long_leaves_nothing() {
    let world = World::new(&[]);
    let objects = Objects::local(world.home.path()).expect("opened");
    let broken = || StorageError::Broken { what: "a".into(), why: "connection reset".into() };
    let body = stream::iter([Ok(Bytes::from_static(b"half")), Err(broken())]);
    let error = objects.put(&path("a"), body, 100).await.expect_err("broken");
    assert!(matches!(error, StorageError::Broken { .. }), "{error}");
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"0123456789"))).boxed();
    let error = objects.put(&path("a"), endless, 1_000).await.expect_err("too long");
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert_eq!(objects.list("", 10).await.expect("lists"), []);
}

#[tokio::test]
async fn a_name_under_a_file_or_over_a_directory_is_a_conflict() {
    let world = World::new(&[]);
    let objects = Objects::local(world.home.path()).expect("opened");
    put(&objects, "a/b", "x").await.expect("written");
    for name in ["a", "a/b/c"] {
        let error = put(&objects, name, "y").await.expect_err(name);
        assert!(matches!(error, StorageError::Exists { .. }), "{name}: {error:?}");
    }
}

#[test]
fn ranges_are_read_as_http_says() {
    let of = |header: &str, size| ByteRange::parse(header).map(|range| range.of(size));
    assert_eq!(of("bytes=0-4", 10), Some(Some(0..5)));
    assert_eq!(of("bytes=5-", 10), Some(Some(5..10)));
    assert_eq!(of("bytes=5-500", 10), Some(Some(5..10)));
    assert_eq!(of("bytes=-3", 10), Some(Some(7..10)));
    assert_eq!(of("bytes=-30", 10), Some(Some(0..10)));
    assert_eq!(of("bytes=10-", 10), Some(None));
    assert_eq!(of("bytes=-0", 10), Some(None));
    assert_eq!(of("bytes=0-0", 0), Some(None));
    assert_eq!(of("bytes=0-18446744073709551615", 10), Some(Some(0..10)));
    for ignored in [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=4-2",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=1-2,4-5",
        "lines=1-2",
        "bytes=1-18446744073709551616",
    ] {
        assert_eq!(ByteRange::parse(ignored), None, "{ignored}");
    }
}
