use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use proptest::prelude::*;

use crate::{Location, StorageError, StorePath, file_url, glob_url};

#[test]
fn mistakes_are_told_with_what_to_write() {
    let cases = [
        ("file://host/a", "no host"),
        ("file:a", "file:///path"),
        ("a.txt", "not a URL"),
        ("ftp://a/b", "not a URL"),
        ("file:///a/../b", "`..`"),
        ("file:///a/%2e%2E/b", "`..`"),
        ("file:///a/./b", "`.`"),
        ("file:///a//b", "empty name"),
        ("store:///a", "empty name"),
        ("store://a/../b", "`..`"),
        ("file:///a%2Fb", "encoded slash"),
        ("file:///a%00", "zero byte"),
        ("file:///a%2", "hex digits"),
        ("file:///a%zz", "hex digits"),
        ("file:///a#b", "%23"),
        ("file:///a\nb", "percent-encoded"),
        ("file:///a[", "%5B"),
        ("file:///a**b", "pattern"),
        ("file:///[a%2Dc]", "without percent-encoding"),
    ];
    for (url, part) in cases {
        let error = Location::parse(url).expect_err(url);
        assert!(matches!(error, StorageError::BadUrl { .. }) && error.to_string().contains(part), "{url}: {error}");
    }
    for url in ["s3://bucket/a", "gs://b/a", "az://c/a", "http://h/a", "https://h/a"] {
        let error = Location::parse(url).expect_err(url);
        assert!(matches!(error, StorageError::Unsupported { .. }), "{url}: {error}");
        assert!(error.to_string().contains("not built yet"), "{error}");
    }
}

#[test]
fn encoded_wildcards_are_names() {
    let path = Location::parse_file("file:///a%2Ab/%3F%5Bx%5D").expect("a literal");
    assert_eq!(path, Path::new("/a*b/?[x]"));
    assert!(Location::parse_file("file:///a*").is_err());
    assert_eq!(file_url(Path::new("/a*b/?[x] é#%")), "file:///a%2Ab/%3F%5Bx%5D%20%C3%A9%23%25");
    assert_eq!(glob_url(Path::new("/a*/[x]?#")), "file:///a*/[x]?%23");
}

#[test]
fn names_in_the_store_cannot_lead_out_of_it() {
    let long = "é".repeat(60);
    for text in ["", "/", "a/", "/a", "a//b", ".", "..", "a/..", "a/../b", "a\nb", "a\0", long.as_str()] {
        assert!(StorePath::parse(text).is_err(), "{text:?}");
    }
    for text in ["a", "a/b.txt", "%2e%2e/x", "a#1", "é/ü", "a b", "~", "...", "a\\b"] {
        let path = StorePath::parse(text).expect(text);
        assert_eq!(StorePath::from_object(&path.to_object()), Some(path.clone()), "{text}");
        assert_eq!(Location::parse_store(&path.url()).expect(text), path);
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_no_url_leads_up(text in ".{0,40}", scheme in prop::sample::select(vec!["file:///", "store://", ""])) {
        if let Ok(path) = Location::parse_file(&format!("{scheme}{text}")) {
            prop_assert!(path.is_absolute());
            prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
        }
        let _ = StorePath::parse(&text);
    }

    #[test]
    fn every_path_reads_back(bytes in prop::collection::vec(1_u8..=255, 1..40)) {
        let mut path = b"/".to_vec();
        path.extend(bytes);
        let path = Path::new(OsStr::from_bytes(&path));
        let plain: std::path::PathBuf = path.components().collect();
        prop_assume!(plain.as_os_str() == path.as_os_str() && !path.components().any(|part| part == std::path::Component::ParentDir));
        prop_assert_eq!(Location::parse_file(&file_url(path)).expect("reads back"), plain);
    }
}
