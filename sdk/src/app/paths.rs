//! From what a user types to URLs: files, directories, globs, and where the output goes.
//!
//! Paths are made absolute here and nowhere else; whoever reads them later may have another working directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gristmill_common::spec::Input;

/// An input as the user typed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// A file or directory that is there.
    Path(PathBuf),
    /// A glob over local files, absolute.
    Glob(PathBuf),
    /// A URL, passed on as it is.
    Url(String),
    /// Standard input.
    Stdin,
}

/// Reads one typed input.
///
/// # Errors
/// If there is no such file and the text is neither a glob nor a URL.
pub fn typed(text: &str) -> Result<Typed> {
    if text == "-" {
        return Ok(Typed::Stdin);
    }
    if text.contains("://") {
        return Ok(Typed::Url(text.to_owned()));
    }
    let path = std::path::absolute(text).with_context(|| format!("`{text}` is not a path"))?;
    if path.exists() {
        return Ok(Typed::Path(std::fs::canonicalize(&path).with_context(|| format!("cannot resolve `{text}`"))?));
    }
    if is_glob(text) {
        let base = glob_base(&path);
        let base = std::fs::canonicalize(&base).with_context(|| format!("no such directory: {}", base.display()))?;
        return Ok(Typed::Glob(base.join(path.strip_prefix(glob_base(&path)).unwrap_or(Path::new("*")))));
    }
    bail!("no such file or directory: {text}")
}

/// Says whether a text holds one of the characters of a glob.
fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns the longest leading directory of a glob that holds no glob character.
#[must_use]
pub fn glob_base(glob: &Path) -> PathBuf {
    glob.components().take_while(|part| !is_glob(&part.as_os_str().to_string_lossy())).collect()
}

impl Typed {
    /// Returns the directory that must be readable for this input, if it is local.
    #[must_use]
    pub fn root(&self) -> Option<PathBuf> {
        match self {
            Self::Path(path) if path.is_dir() => Some(path.clone()),
            Self::Path(path) => path.parent().map(Path::to_path_buf),
            Self::Glob(glob) => Some(glob_base(glob)),
            Self::Url(url) => {
                let path = PathBuf::from(url.strip_prefix("file://")?);
                let base = glob_base(&path);
                if base == path { path.parent().map(Path::to_path_buf) } else { Some(base) }
            }
            Self::Stdin => None,
        }
    }

    /// Returns the input of a job spec; `None` for standard input, which has to be uploaded first.
    #[must_use]
    pub fn input(&self) -> Option<Input> {
        match self {
            Self::Path(path) => Some(Input::Url(file_url(path))),
            Self::Glob(glob) => Some(Input::Url(glob_url(glob))),
            Self::Url(url) => Some(Input::Url(url.clone())),
            Self::Stdin => None,
        }
    }
}

/// Writes an absolute path as a `file://` URL in which no character is special.
#[must_use]
pub fn file_url(path: &Path) -> String {
    encode(path, false)
}

/// Writes an absolute glob as a `file://` URL that keeps `*`, `?` and `[…]`.
#[must_use]
pub fn glob_url(glob: &Path) -> String {
    encode(glob, true)
}

fn encode(path: &Path, keep_globs: bool) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().iter().fold(String::from("file://"), |mut url, &byte| {
        let plain = byte.is_ascii_alphanumeric() || b"/-_.~+,=:@!".contains(&byte);
        if plain || (keep_globs && b"*?[]".contains(&byte)) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}

/// Reads `-o`: a trailing slash or an existing directory means a directory of parts, anything else one file.
///
/// # Errors
/// If the parent directory does not exist.
pub fn output_url(text: &str) -> Result<(String, PathBuf)> {
    if text.contains("://") {
        let root = text.strip_prefix("file://").and_then(|path| Path::new(path).parent()).map(Path::to_path_buf);
        return Ok((text.to_owned(), root.unwrap_or_default()));
    }
    let path = std::path::absolute(text).with_context(|| format!("`{text}` is not a path"))?;
    let directory = text.ends_with('/') || path.is_dir();
    let parent = path.parent().with_context(|| format!("`{text}` has no parent directory"))?;
    let parent = std::fs::canonicalize(parent)
        .with_context(|| format!("the directory of the output does not exist: {}", parent.display()))?;
    let name = path.file_name().with_context(|| format!("`{text}` names no file"))?;
    let url = file_url(&parent.join(name));
    Ok((if directory { format!("{url}/") } else { url }, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_globs_only_where_they_are_globs() {
        assert_eq!(file_url(Path::new("/a b/c*.txt")), "file:///a%20b/c%2A.txt");
        assert_eq!(glob_url(Path::new("/a b/c*.txt")), "file:///a%20b/c*.txt");
    }

    #[test]
    fn a_glob_is_rooted_at_its_longest_plain_directory() {
        assert_eq!(glob_base(Path::new("/logs/2026-*/x/*.gz")), Path::new("/logs"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = typed("/no/such/file").expect_err("missing");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
