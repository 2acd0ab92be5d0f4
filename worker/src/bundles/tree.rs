//! The directory that an archive becomes, and the rules that keep it one.
//!
//! Paths are relative and never go up; nothing is there twice; a symbolic link leads to something inside. Links are made
//! last, so that nothing is ever written through one. Of a file's mode, whether it may be executed is kept and nothing else.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use gristmill_common::limits;

use super::extract::{Caps, UnpackError};

/// Bytes copied at a time.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Directory,
    File,
    Link,
}

/// A directory that is being filled.
pub(super) struct Tree<'a> {
    root: &'a Path,
    caps: Caps,
    tick: &'a dyn Fn(),
    nodes: BTreeMap<PathBuf, Node>,
    links: Vec<(PathBuf, PathBuf)>,
    entries: u64,
    bytes: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Path, caps: Caps, tick: &'a dyn Fn()) -> Self {
        Self { root, caps, tick, nodes: BTreeMap::new(), links: Vec::new(), entries: 0, bytes: 0 }
    }

    /// Counts an entry of the archive, whatever it is.
    pub(super) fn count_entry(&mut self) -> Result<(), UnpackError> {
        (self.tick)();
        self.entries += 1;
        if self.entries > self.caps.entries {
            return Err(UnpackError::refused(format!("it has more than {} entries", self.caps.entries)));
        }
        Ok(())
    }

    /// Makes a directory; one that is there already is fine.
    pub(super) fn directory(&mut self, name: &[u8]) -> Result<(), UnpackError> {
        let path = relative(name)?;
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.make_directories(&path)
    }

    /// Writes a file.
    pub(super) fn file(&mut self, name: &[u8], mode: u32, content: &mut impl Read) -> Result<(), UnpackError> {
        let path = self.claim(name, Node::File)?;
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(self.root.join(&path));
        let mut file = opened.map_err(UnpackError::Io)?;
        self.copy(name, content, &mut file)?;
        let kept = if mode & 0o111 == 0 { 0o444 } else { 0o555 };
        file.set_permissions(Permissions::from_mode(kept)).map_err(UnpackError::Io)
    }

    fn copy(&mut self, name: &[u8], content: &mut impl Read, file: &mut File) -> Result<(), UnpackError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            (self.tick)();
            let damaged = |error| UnpackError::refused(format!("{} cannot be read: {error}", shown(name)));
            let read = content.read(&mut chunk).map_err(damaged)?;
            if read == 0 {
                return Ok(());
            }
            self.bytes = self.bytes.saturating_add(read as u64);
            if self.bytes > self.caps.bytes {
                let why = format!("it unpacks to more than the {} bytes that one of its size may", self.caps.bytes);
                return Err(UnpackError::Refused(why));
            }
            file.write_all(&chunk[..read]).map_err(UnpackError::Io)?;
        }
    }

    /// Notes a symbolic link, which is made at the end.
    pub(super) fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let to = Path::new(OsStr::from_bytes(target));
        if target.is_empty() || target.len() > limits::UNPACKED_PATH_BYTES || target.contains(&0) || to.is_absolute() {
            return Err(leads_out(name, target));
        }
        let path = self.claim(name, Node::Link)?;
        self.links.push((path, to.to_owned()));
        Ok(())
    }

    /// Makes another name of a file that is there.
    pub(super) fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let to = relative(target).map_err(|_| leads_out(name, target))?;
        if self.nodes.get(&to) != Some(&Node::File) {
            return Err(UnpackError::refused(format!("{} is a link to no file before it", shown(name))));
        }
        let path = self.claim(name, Node::File)?;
        fs::hard_link(self.root.join(to), self.root.join(path)).map_err(UnpackError::Io)
    }

    /// Makes the links, sees that all of them stay inside, and returns the bytes of all files.
    pub(super) fn finish(self) -> Result<u64, UnpackError> {
        let root = self.root.canonicalize().map_err(UnpackError::Io)?;
        for (path, target) in &self.links {
            std::os::unix::fs::symlink(target, root.join(path)).map_err(UnpackError::Io)?;
        }
        for (path, target) in &self.links {
            let (name, target) = (path.as_os_str().as_bytes(), target.as_os_str().as_bytes());
            // Followed as the kernel does it, through other links: what text alone says of a path with links is wrong.
            let found = root.join(path).canonicalize();
            let found = found.map_err(|_| {
                UnpackError::refused(format!("{} is a link to nothing ({})", shown(name), shown(target)))
            })?;
            if !found.starts_with(&root) {
                return Err(leads_out(name, target));
            }
        }
        for (path, _) in self.nodes.iter().rev().filter(|(_, node)| **node == Node::Directory) {
            fs::set_permissions(root.join(path), Permissions::from_mode(0o555)).map_err(UnpackError::Io)?;
        }
        Ok(self.bytes)
    }

    /// Takes a name that nothing else has.
    fn claim(&mut self, name: &[u8], node: Node) -> Result<PathBuf, UnpackError> {
        let path = relative(name)?;
        let Some(parent) = path.parent() else {
            return Err(UnpackError::refused(format!("{} is not a name of a file", shown(name))));
        };
        self.make_directories(parent)?;
        if self.nodes.insert(path.clone(), node).is_some() {
            return Err(UnpackError::refused(format!("{} is there twice", shown(name))));
        }
        Ok(path)
    }

    fn make_directories(&mut self, path: &Path) -> Result<(), UnpackError> {
        let mut at = PathBuf::new();
        for component in path.components() {
            at.push(component);
            match self.nodes.get(&at) {
                Some(Node::Directory) => {}
                Some(Node::File | Node::Link) => {
                    let name = at.as_os_str().as_bytes();
                    return Err(UnpackError::refused(format!("{} is a file and a directory", shown(name))));
                }
                None => {
                    let made = DirBuilder::new().mode(0o700).create(self.root.join(&at));
                    made.map_err(UnpackError::Io)?;
                    self.nodes.insert(at.clone(), Node::Directory);
                }
            }
        }
        Ok(())
    }
}

/// Reads a path of an archive: relative, without `..`; empty for the root itself.
fn relative(name: &[u8]) -> Result<PathBuf, UnpackError> {
    if name.len() > limits::UNPACKED_PATH_BYTES || name.contains(&0) {
        return Err(UnpackError::refused(format!("{} is too long or has a zero byte", shown(name))));
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) if part.len() <= 255 => path.push(part),
            Component::CurDir => {}
            Component::Normal(_) => {
                return Err(UnpackError::refused(format!("{} has a part that is too long", shown(name))));
            }
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(UnpackError::refused(format!("{} leads out of the archive", shown(name))));
            }
        }
    }
    Ok(path)
}

fn leads_out(name: &[u8], target: &[u8]) -> UnpackError {
    UnpackError::refused(format!("{} is a link out of the archive ({})", shown(name), shown(target)))
}

/// Shows a name of an archive to people: bounded, without control characters.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
    format!("`{}`", text.escape_debug())
}

/// Reads a short text of an archive, such as the target of a link.
pub(super) fn short(content: &mut impl Read, limit: usize, what: &str) -> Result<Vec<u8>, UnpackError> {
    let mut text = Vec::new();
    let read = content.take(limit as u64 + 1).read_to_end(&mut text);
    read.map_err(|error: io::Error| UnpackError::refused(format!("{what} cannot be read: {error}")))?;
    if text.len() > limit {
        return Err(UnpackError::refused(format!("{what} is longer than {limit} bytes")));
    }
    Ok(text)
}
