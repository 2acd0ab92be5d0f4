//! The store's flat files as directories: what is there, what is below it, what a glob matches.
//!
//! A directory is there when a file is below it. `-mkdir` leaves an empty file named [`MARKER`] in it, which no listing
//! shows and no job reads, since its name begins with a dot.

use std::collections::BTreeMap;

use anyhow::Result;
use gristmill_client::Client;
use gristmill_common::api::StoredFile;
use percent_encoding::percent_decode_str;

use super::place::{Place, is_glob};

/// Name of the file that keeps an empty directory.
pub(super) const MARKER: &str = ".gristmill-directory";

/// A file or directory that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) is_directory: bool,
    /// Size of a file, sum of the sizes below a directory.
    pub(super) bytes: u64,
    /// When it, or the newest below it, was written: RFC 3339.
    pub(super) modified_at: String,
}

/// A file of the store: its names below a place.
struct Below {
    names: Vec<String>,
    bytes: u64,
    modified_at: String,
}

/// Looks a place up.
pub(super) async fn look(client: &Client, place: &Place) -> Result<Option<Found>> {
    if place.names.is_empty() {
        let root = Found { place: place.clone(), is_directory: true, bytes: 0, modified_at: String::new() };
        let below = below(client, place).await?;
        return Ok(Some(sum(below.iter(), root)));
    }
    let listed = client.list_files(&place.stored()).await?;
    let own = place.stored();
    if let Some(file) = listed.iter().find(|file| path_of(file) == own) {
        let (bytes, modified_at) = (file.bytes, file.modified_at.clone().unwrap_or_default());
        return Ok(Some(Found { place: place.clone(), is_directory: false, bytes, modified_at }));
    }
    let below = split(&listed, &place.prefix());
    let directory = Found { place: place.clone(), is_directory: true, bytes: 0, modified_at: String::new() };
    Ok((!below.is_empty()).then(|| sum(below.iter(), directory)))
}

/// Lists what is in a directory, files and directories, by name; `deep` also lists what is in those, each after its
/// directory.
pub(super) async fn list(client: &Client, directory: &Place, deep: bool) -> Result<Vec<Found>> {
    let below = below(client, directory).await?;
    let depth = if deep { usize::MAX } else { 1 };
    Ok(gather(directory, &below, depth, |_, _| true))
}

/// Lists the files below a directory, markers too.
pub(super) async fn files(client: &Client, directory: &Place) -> Result<Vec<Place>> {
    let place = |below: Below| below.names.iter().fold(directory.clone(), |place, name| place.child(name));
    Ok(below(client, directory).await?.into_iter().map(place).collect())
}

/// Finds what a place names: itself, or what its wildcards match. Nothing when there is none.
pub(super) async fn matching(client: &Client, place: &Place) -> Result<Vec<Found>> {
    if !place.is_glob() {
        return Ok(look(client, place).await?.into_iter().collect());
    }
    let literal = place.names.iter().take_while(|name| !is_glob(name)).count();
    let patterns = &place.names[literal..];
    let base = Place { names: place.names[..literal].to_vec(), shown: shown_base(&place.shown, patterns.len()) };
    let compiled: Vec<glob::Pattern> =
        patterns.iter().map(|name| glob::Pattern::new(&name.replace("[^", "[!"))).collect::<Result<_, _>>()?;
    let below = below(client, &base).await?;
    let takes = |depth: usize, name: &str| compiled.get(depth).is_some_and(|pattern| pattern.matches(name));
    let found = gather(&base, &below, compiled.len(), takes);
    Ok(found.into_iter().filter(|found| found.place.names.len() == place.names.len()).collect())
}

/// Cuts the last `count` names off what was typed.
fn shown_base(shown: &str, count: usize) -> String {
    let authority = shown.find("://").map_or(0, |scheme| scheme + 3);
    let root = authority + if authority > 0 { shown[authority..].find('/').unwrap_or_default() } else { 0 };
    let mut end = shown.len();
    for _ in 0..count {
        end = root + shown[root..end].trim_end_matches('/').rfind('/').unwrap_or_default();
    }
    match shown[root..end].trim_end_matches('/') {
        "" if shown[root..].starts_with('/') => shown[..=root].to_owned(),
        "" => ".".to_owned(),
        path => format!("{}{path}", &shown[..root]),
    }
}

async fn below(client: &Client, directory: &Place) -> Result<Vec<Below>> {
    let prefix = directory.prefix();
    Ok(split(&client.list_files(&prefix).await?, &prefix))
}

fn split(listed: &[StoredFile], prefix: &str) -> Vec<Below> {
    let below = |file: &StoredFile| {
        let path = path_of(file);
        let names = path.strip_prefix(prefix)?.split('/').map(str::to_owned).collect();
        Some(Below { names, bytes: file.bytes, modified_at: file.modified_at.clone().unwrap_or_default() })
    };
    listed.iter().filter_map(below).collect()
}

fn path_of(file: &StoredFile) -> String {
    let path = file.url.strip_prefix("store://").unwrap_or(&file.url);
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Makes entries out of files, down to `depth`, of those whose names are taken; in the order of names, directories first.
fn gather(base: &Place, below: &[Below], depth: usize, takes: impl Fn(usize, &str) -> bool) -> Vec<Found> {
    let mut found: BTreeMap<&[String], Found> = BTreeMap::new();
    for file in below {
        for length in 1..=file.names.len().min(depth) {
            let names = &file.names[..length];
            let is_file = length == file.names.len();
            if !takes(length - 1, &names[length - 1]) || is_file && names[length - 1] == MARKER {
                break;
            }
            let entry = found.entry(names).or_insert_with(|| {
                let place = names.iter().fold(base.clone(), |place, name| place.child(name));
                Found { place, is_directory: !is_file, bytes: 0, modified_at: String::new() }
            });
            entry.add(file);
        }
    }
    found.into_values().collect()
}

fn sum<'a>(below: impl Iterator<Item = &'a Below>, mut directory: Found) -> Found {
    below.for_each(|file| directory.add(file));
    directory
}

impl Found {
    fn add(&mut self, file: &Below) {
        self.bytes += file.bytes;
        if file.modified_at > self.modified_at {
            self.modified_at.clone_from(&file.modified_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hadoop::place::Where;

    fn place(text: &str) -> Place {
        match Where::parse(text, "ann").expect(text) {
            Where::Store(place) => place,
            Where::Local(path) => panic!("{path:?}"),
        }
    }

    fn files() -> Vec<StoredFile> {
        let file = |path: &str, bytes| StoredFile {
            url: format!("store://hadoop/{path}"),
            bytes,
            modified_at: Some(format!("2026-11-24T17:0{bytes}:00Z")),
        };
        vec![file("a/b%20c/1", 1), file("a/b%20c/2", 2), file("a/empty/.gristmill-directory", 0), file("a/z", 4)]
    }

    fn shown(found: &[Found]) -> Vec<(String, bool, u64)> {
        found.iter().map(|found| (found.place.shown.clone(), found.is_directory, found.bytes)).collect()
    }

    #[test]
    fn files_make_directories_and_markers_are_not_shown() {
        let below = split(&files(), &place("/a").prefix());
        let flat = gather(&place("/a"), &below, 1, |_, _| true);
        let expected = [("/a/b c", true, 3), ("/a/empty", true, 0), ("/a/z", false, 4)];
        assert_eq!(shown(&flat), expected.map(|(name, is_directory, bytes)| (name.to_owned(), is_directory, bytes)));
        assert_eq!(flat[0].modified_at, "2026-11-24T17:02:00Z");
        let deep = gather(&place("hdfs:///a"), &below, usize::MAX, |_, _| true);
        let names: Vec<_> = shown(&deep).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["hdfs:///a/b c", "hdfs:///a/b c/1", "hdfs:///a/b c/2", "hdfs:///a/empty", "hdfs:///a/z"]);
    }

    #[test]
    fn the_base_of_a_glob_is_as_it_was_typed() {
        let cases = [
            ("out/part-*", 1, "out"),
            ("*", 1, "."),
            ("/a/*/b*", 2, "/a"),
            ("/*", 1, "/"),
            ("hdfs:///a/*", 1, "hdfs:///a"),
            ("hdfs:///*", 1, "hdfs:///"),
            ("hdfs://host/x/*/*", 2, "hdfs://host/x"),
        ];
        for (text, count, base) in cases {
            assert_eq!(shown_base(text, count), base, "{text}");
        }
    }
}
