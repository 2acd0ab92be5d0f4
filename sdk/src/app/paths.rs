//! From what a user types to URLs: files, directories, globs, and where the output goes.
//!
//! Paths are made absolute here and nowhere else; whoever reads them later may have another working directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gristmill_common::limits;
use gristmill_common::spec::Input;
use gristmill_storage::{Location, Pattern, Roots, file_url, glob_url, list_files};

/// An input as the user typed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// Files of this machine.
    Local(Local),
    /// A URL of files elsewhere, passed on as it is.
    Url(String),
    /// Standard input.
    Stdin,
}

/// An input as the user typed it, and the tag that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypedInput {
    /// What is read.
    pub from: Typed,
    /// Its tag.
    pub tag: Option<String>,
}

impl TypedInput {
    /// Reads what the user typed.
    ///
    /// # Errors
    /// As [`typed`].
    pub fn read(text: &str, tag: Option<&str>) -> Result<Self> {
        Ok(Self { from: typed(text)?, tag: tag.map(str::to_owned) })
    }

    /// Makes the input of a spec.
    #[must_use]
    pub fn input(&self, url: String) -> Input {
        Input::of(url, self.tag.as_deref())
    }
}

/// A file, a directory or a glob of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// Its URL.
    pub url: String,
    /// The directory that must be readable for it.
    pub root: PathBuf,
}

/// Reads one typed input.
///
/// # Errors
/// If there is no such file and the text is neither a glob nor a URL.
pub fn typed(text: &str) -> Result<Typed> {
    if text == "-" {
        return Ok(Typed::Stdin);
    }
    if text.starts_with("file:") {
        return Local::new(text.to_owned()).map(Typed::Local);
    }
    if text.contains("://") {
        return Ok(Typed::Url(text.to_owned()));
    }
    let path = std::path::absolute(text).with_context(|| format!("`{text}` is not a path"))?;
    if path.exists() {
        let path = std::fs::canonicalize(&path).with_context(|| format!("cannot resolve `{text}`"))?;
        return Local::new(file_url(&path)).map(Typed::Local);
    }
    if is_glob(text) {
        let base = glob_base(&path);
        let real = std::fs::canonicalize(&base).with_context(|| format!("no such directory: {}", base.display()))?;
        let rest = path.strip_prefix(&base).unwrap_or(Path::new("*"));
        return Local::new(glob_url(&real.join(rest))).map(Typed::Local);
    }
    bail!("no such file or directory: {text}")
}

/// Says whether a text holds one of the characters of a glob.
fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns the longest leading directory of a glob that holds no glob character.
fn glob_base(glob: &Path) -> PathBuf {
    glob.components().take_while(|part| !is_glob(&part.as_os_str().to_string_lossy())).collect()
}

impl Local {
    fn new(url: String) -> Result<Self> {
        let Location::File(pattern) = Location::parse(&url)? else { bail!("`{url}` is not a file:/// URL") };
        let base: PathBuf = path_of(&pattern);
        let is_directory = !pattern.is_literal() || base.is_dir();
        let root = if is_directory { Some(base.as_path()) } else { base.parent() };
        let root = root.with_context(|| format!("`{url}` names no file"))?.to_path_buf();
        Ok(Self { url, root })
    }

    /// Lists its files, each with its path below the root.
    ///
    /// # Errors
    /// If one cannot be listed, or there are none.
    pub fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let Location::File(pattern) = Location::parse(&self.url)? else { return Ok(Vec::new()) };
        let roots = Roots::new([&self.root], std::iter::empty::<&Path>())?;
        let files = list_files(&pattern, &roots, limits::INPUT_FILES)?;
        if files.is_empty() {
            bail!("nothing matches {}", self.url);
        }
        let name = |file: &Path| file.strip_prefix(&self.root).unwrap_or(file).to_string_lossy().into_owned();
        Ok(files.into_iter().map(|file| (name(&file), file)).collect())
    }
}

fn path_of(pattern: &Pattern) -> PathBuf {
    std::iter::once(OsStr::new("/")).chain(pattern.literal_prefix().into_iter().map(OsStr::from_bytes)).collect()
}

/// Reads `-o`: a trailing slash or an existing directory means a directory of parts, anything else one file. Returns its
/// URL and its parent directory.
///
/// # Errors
/// If the parent directory does not exist.
pub fn output_url(text: &str) -> Result<(String, Option<PathBuf>)> {
    if text.starts_with("store://") {
        return Ok((text.to_owned(), None));
    }
    if text == "-" {
        bail!("-o takes a path: leave it out to have the result on stdout");
    }
    let path = if text.starts_with("file:") {
        Location::parse_file(text)?
    } else if text.contains("://") {
        bail!("`{text}`: an output is a path, a file:/// URL or a store:// URL")
    } else {
        std::path::absolute(text).with_context(|| format!("`{text}` is not a path"))?
    };
    let parent = path.parent().with_context(|| format!("`{text}` has no parent directory"))?;
    let parent = std::fs::canonicalize(parent)
        .with_context(|| format!("the directory of the output does not exist: {}", parent.display()))?;
    let name = path.file_name().with_context(|| format!("`{text}` names no file"))?;
    let url = file_url(&parent.join(name));
    let is_directory = text.ends_with('/') || path.is_dir();
    Ok((if is_directory { format!("{url}/") } else { url }, Some(parent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> Local {
        match typed(text).expect(text) {
            Typed::Local(local) => local,
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn files_directories_and_globs_are_rooted_where_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("is there");
        let odd = dir.join("a b*");
        std::fs::create_dir(&odd).expect("a directory");
        std::fs::write(odd.join("x.txt"), "x").expect("a file");
        let file = local(odd.join("x.txt").to_str().expect("UTF-8"));
        assert_eq!((file.root.as_path(), file.url.ends_with("/a%20b%2A/x.txt")), (odd.as_path(), true), "{file:?}");
        assert_eq!(local(odd.to_str().expect("UTF-8")).root, odd);
        assert_eq!(local(&file.url), file, "a URL means what the path means");
        let glob = local(dir.join("*/x.?xt").to_str().expect("UTF-8"));
        assert_eq!(glob.root, dir);
        assert_eq!(glob.files().expect("listed"), [("a b*/x.txt".to_owned(), odd.join("x.txt"))]);
        let nothing = local(dir.join("*.gz").to_str().expect("UTF-8")).files().expect_err("nothing");
        assert!(nothing.to_string().contains("*.gz"), "{nothing}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = typed("/no/such/file").expect_err("missing");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn outputs_are_files_or_directories() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| output_url(&format!("{}/{name}", dir.path().display())).map(|(url, _)| url);
        assert!(at("counts.tsv").expect("a file").ends_with("/counts.tsv"));
        assert!(at("parts/").expect("a directory").ends_with("/parts/"));
        assert!(at("no/such/parent").is_err());
        assert!(output_url("s3://bucket/x").is_err());
    }
}
