//! Where a path of Hadoop leads: `hdfs://ANY/x` and `/x` are `store://hadoop/x`, `x` is below `/user/NAME`, `file:///x` is
//! a file of this machine.
//!
//! Unlike our URLs these paths are not percent-encoded. A place keeps how it was typed, since that is how it is printed.

use std::path::PathBuf;

use gristmill_storage::{file_url, glob_url};

/// Directory of the store that is Hadoop's root.
const ROOT: &str = "hadoop";

/// What a path names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Where {
    /// A file or directory of the store, or a glob of them.
    Store(Place),
    /// A file or directory of this machine.
    Local(PathBuf),
}

/// A file or directory of the store, or a glob of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// Its names, from Hadoop's root.
    pub(super) names: Vec<String>,
    /// As it was typed, and what was found below it: with a slash at the end only for the root.
    pub(super) shown: String,
}

impl Where {
    /// Reads a path; one without a scheme is in the store.
    pub(super) fn parse(text: &str, user: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text.starts_with("file:/") => Ok(Self::Local(PathBuf::from(&text["file:".len()..]))),
            None => {
                let text = text.strip_prefix("hdfs:").unwrap_or(text);
                Place::new(text, text, user).map(Self::Store)
            }
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Local(PathBuf::from(path))),
            Some(("hdfs" | "webhdfs" | "viewfs", rest)) => {
                let path = rest.find('/').map_or("/", |at| &rest[at..]);
                Place::new(path, text, user).map(Self::Store)
            }
            Some((scheme, _)) => {
                Err(format!("No FileSystem for scheme \"{scheme}\": hdfs://, file:/// and plain paths are"))
            }
        }
    }
}

impl Place {
    fn new(path: &str, shown: &str, user: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Err("Can not create a Path from an empty string".to_owned());
        }
        let home = ["user", user];
        let start = if path.starts_with('/') { &[][..] } else { &home[..] };
        let mut names: Vec<String> = Vec::new();
        for name in start.iter().copied().chain(path.split('/')) {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                name => names.push(name.to_owned()),
            }
        }
        let trimmed = shown.trim_end_matches('/');
        let shown = if trimmed.is_empty() || trimmed.ends_with(':') { shown } else { trimmed };
        Ok(Self { names, shown: shown.to_owned() })
    }

    /// Returns what is named `name` in this directory.
    pub(super) fn child(&self, name: &str) -> Self {
        let slash = if self.shown.ends_with('/') { "" } else { "/" };
        let shown = if self.shown == "." { name.to_owned() } else { format!("{}{slash}{name}", self.shown) };
        let names = self.names.iter().cloned().chain([name.to_owned()]).collect();
        Self { names, shown }
    }

    /// Returns its last name; the root has none.
    pub(super) fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// Returns its path in the store.
    pub(super) fn stored(&self) -> String {
        std::iter::once(ROOT).chain(self.names.iter().map(String::as_str)).collect::<Vec<_>>().join("/")
    }

    /// Returns the path in the store with which everything in this directory begins.
    pub(super) fn prefix(&self) -> String {
        format!("{}/", self.stored())
    }

    /// Returns its URL for a job spec; wildcards are wildcards.
    pub(super) fn url(&self) -> String {
        in_store(&glob_url(&self.as_path())).replace("[%5E", "[!")
    }

    /// Returns its URL for a job spec; nothing is a wildcard.
    pub(super) fn literal_url(&self) -> String {
        in_store(&file_url(&self.as_path()))
    }

    /// Returns it as a path of this machine: such paths become URLs.
    fn as_path(&self) -> PathBuf {
        PathBuf::from(format!("/{}", self.stored()))
    }

    /// Returns it as Hadoop writes a place in full.
    pub(super) fn qualified(&self) -> String {
        format!("hdfs:///{}", self.names.join("/"))
    }

    /// Says whether a name of it holds a wildcard.
    pub(super) fn is_glob(&self) -> bool {
        self.names.iter().any(|name| is_glob(name))
    }
}

fn in_store(file_url: &str) -> String {
    format!("store://{}", file_url.trim_start_matches("file:///"))
}

/// Says whether a name holds a wildcard of Hadoop's.
pub(super) fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// Writes out `{a,b}`, Hadoop's alternatives, which may be nested.
pub(super) fn alternatives(text: &str) -> Vec<String> {
    let Some(open) = text.find('{') else { return vec![text.to_owned()] };
    let mut depth = 0;
    let mut cuts = vec![open];
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 1 => cuts.push(at),
            _ => {}
        }
        if depth == 0 {
            cuts.push(at);
            break;
        }
    }
    if depth != 0 {
        return vec![text.to_owned()];
    }
    let close = cuts[cuts.len() - 1];
    let choices = cuts.windows(2).map(|cut| &text[cut[0] + 1..cut[1]]);
    choices.flat_map(|choice| alternatives(&format!("{}{choice}{}", &text[..open], &text[close + 1..]))).collect()
}

/// Returns whose home a relative path is in: as Hadoop and Python's `getpass` look for it.
pub(super) fn user() -> String {
    let named = ["HADOOP_USER_NAME", "LOGNAME", "USER", "LNAME", "USERNAME"].iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.is_empty() && !value.contains('/')).then_some(value)
    });
    named.or_else(user_of_the_process).unwrap_or_else(|| "nobody".to_owned())
}

/// Looks the owner of this process up in the system's list of users.
fn user_of_the_process() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(&owner))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        match Where::parse(text, "ann").expect(text) {
            Where::Store(place) => place,
            Where::Local(path) => panic!("{text} is {path:?}"),
        }
    }

    #[test]
    fn paths_lead_into_the_store_however_they_are_written() {
        let cases = [
            ("hdfs:///user/ann/out/", "hadoop/user/ann/out", "hdfs:///user/ann/out"),
            ("hdfs://namenode:8020/a//b", "hadoop/a/b", "hdfs://namenode:8020/a//b"),
            ("hdfs://namenode", "hadoop", "hdfs://namenode"),
            ("hdfs:///", "hadoop", "hdfs:///"),
            ("hdfs:/a", "hadoop/a", "/a"),
            ("/a/./b/../c", "hadoop/a/c", "/a/./b/../c"),
            ("out", "hadoop/user/ann/out", "out"),
            ("../bob/x", "hadoop/user/bob/x", "../bob/x"),
            ("/", "hadoop", "/"),
            ("/../..", "hadoop", "/../.."),
        ];
        for (text, stored, shown) in cases {
            assert_eq!((place(text).stored().as_str(), place(text).shown.as_str()), (stored, shown), "{text}");
        }
        assert_eq!(place("/").child("a").shown, "/a");
        assert_eq!(place("hdfs:///").child("a").shown, "hdfs:///a");
        assert_eq!(place("out").child("part-00000").shown, "out/part-00000");
        assert_eq!(place("out").qualified(), "hdfs:///user/ann/out");
        assert_eq!(Where::parse("file:///tmp/x", "ann"), Ok(Where::Local("/tmp/x".into())));
        assert!(Where::parse("s3://bucket/x", "ann").expect_err("no").contains("No FileSystem for scheme \"s3\""));
        assert!(Where::parse("", "ann").is_err());
    }

    #[test]
    fn urls_keep_wildcards_and_encode_the_rest() {
        assert_eq!(place("/a b/100%/#x/p*.t?t").url(), "store://hadoop/a%20b/100%25/%23x/p*.t?t");
        assert_eq!(place("/x[^ab]y").url(), "store://hadoop/x[!ab]y");
        assert_eq!(place("/x[^a]*y").literal_url(), "store://hadoop/x%5B%5Ea%5D%2Ay");
        assert!(place("/x/p*").is_glob() && !place("/x/p").is_glob());
    }

    #[test]
    fn alternatives_are_written_out() {
        let cases = [
            ("/a", vec!["/a"]),
            ("/{a,b}/c", vec!["/a/c", "/b/c"]),
            ("x{1,2{a,b}}y", vec!["x1y", "x2ay", "x2by"]),
            ("{a,b}{c,d}", vec!["ac", "ad", "bc", "bd"]),
            ("open{a,b", vec!["open{a,b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(alternatives(text), expected, "{text}");
        }
    }
}
