//! Power loss, modelled: what is left on disk of what a traced process did, if only what was synced is left.
//!
//! `strace` records the calls that change files. A cut at any moment leaves, of each file, the bytes as of its
//! last completed fsync or fdatasync, and of each directory the names as of its last completed fsync. Two things are
//! taken as given, as ext4, xfs and btrfs have them: the fsync of a new file keeps the name that it was created under, and
//! a directory is there once it was made. Nothing else that was written, renamed or deleted since is there. That is harsher
//! than a disk, which may have written any of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The calls that a trace must show.
pub const CALLS: &str = "openat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,fallocate,fsync,fdatasync,rename,\
                         renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile,close";

/// A completed call.
#[derive(Debug)]
struct Call {
    /// Seconds since 1970, when it was over.
    at: f64,
    name: String,
    args: String,
    result: i64,
}

#[derive(Clone, Default)]
struct File {
    /// The path that it was created under.
    created: PathBuf,
    bytes: Vec<u8>,
    kept: Option<Vec<u8>>,
}

/// A directory tree as processes see it, and as it is after a loss of power.
#[derive(Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    kept: BTreeMap<PathBuf, usize>,
    directories: Vec<PathBuf>,
    offsets: BTreeMap<i64, u64>,
    root: PathBuf,
}

/// Makes `root` what it was before the trace (`before`) and what of the trace survives a loss of power at `at`.
///
/// # Errors
/// If the trace cannot be understood, or the tree not be written.
pub fn cut(trace: &str, before: &Path, root: &Path, at: f64) -> Result<()> {
    let mut disk = Disk { root: root.to_owned(), ..Disk::default() };
    disk.load(before, root)?;
    for call in calls(trace)?.iter().take_while(|call| call.at <= at) {
        disk.apply(call).with_context(|| format!("{} {}", call.name, &call.args[..call.args.len().min(200)]))?;
    }
    disk.write()
}

/// Puts the lines of calls that were interrupted by those of other threads together, in the order of their ends.
fn calls(trace: &str) -> Result<Vec<Call>> {
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((at, rest)) = rest.trim_start().split_once(' ') else { continue };
        let text = if let Some((first, _)) = rest.split_once(" <unfinished ...>") {
            begun.insert(pid, first.to_owned());
            continue;
        } else if let Some((_, last)) = rest.split_once(" resumed>").filter(|_| rest.starts_with("<... ")) {
            begun.remove(pid).context("a call that was never begun")? + last
        } else {
            rest.to_owned()
        };
        let Some((name, rest)) = text.split_once('(') else { continue };
        let Some((args, result)) = rest.rsplit_once(" = ") else { continue };
        let result = result.split(['<', ' ']).next().unwrap_or_default().parse().unwrap_or(-1);
        let args = args.trim_end().strip_suffix(')').unwrap_or(args).to_owned();
        calls.push(Call { at: at.parse()?, name: name.to_owned(), args, result });
    }
    Ok(calls)
}

impl Disk {
    fn load(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.directories.push(to.to_owned());
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let path = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.load(&entry.path(), &path)?;
            } else {
                let bytes = std::fs::read(entry.path())?;
                self.files.push(File { created: path.clone(), kept: Some(bytes.clone()), bytes });
                self.names.insert(path.clone(), self.files.len() - 1);
                self.kept.insert(path, self.files.len() - 1);
            }
        }
        Ok(())
    }

    fn apply(&mut self, call: &Call) -> Result<()> {
        if call.result < 0 {
            return Ok(());
        }
        let (fd, path) = descriptor(&call.args);
        let is_ours = path.as_ref().is_some_and(|path| path.starts_with(&self.root));
        match call.name.as_str() {
            "openat" => self.open(call),
            "write" if is_ours => {
                let offset = self.offsets.get(&fd).copied().unwrap_or(0);
                self.put(&path.context("a path")?, offset, call)?;
                self.offsets.insert(fd, offset + call.result.unsigned_abs());
            }
            "pwrite64" if is_ours => {
                let offset = call.args.rsplit(", ").next().context("an offset")?.parse()?;
                self.put(&path.context("a path")?, offset, call)?;
            }
            "lseek" if is_ours => {
                self.offsets.insert(fd, call.result.unsigned_abs());
            }
            "ftruncate" if is_ours => {
                let length = call.args.rsplit(", ").next().context("a length")?.parse()?;
                if let Some(file) = path.and_then(|path| self.names.get(&path)) {
                    self.files[*file].bytes.resize(length, 0);
                }
            }
            "fsync" | "fdatasync" if is_ours => self.sync(&path.context("a path")?),
            "rename" | "renameat" | "renameat2" => self.rename(&call.args),
            "unlink" | "unlinkat" => {
                if let Some(path) = quoted(&call.args).into_iter().next_back() {
                    self.names.remove(&path);
                }
            }
            "mkdir" | "mkdirat" => {
                self.directories.extend(quoted(&call.args).into_iter().filter(|path| path.starts_with(&self.root)));
            }
            "writev" | "pwritev" | "pwritev2" | "copy_file_range" | "sendfile" | "link" | "linkat" if is_ours => {
                bail!("the model of power loss does not know this call")
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, call: &Call) {
        let Some(path) = quoted(&call.args).into_iter().next().filter(|path| path.starts_with(&self.root)) else {
            return;
        };
        self.offsets.insert(call.result, 0);
        match self.names.get(&path) {
            Some(&file) if call.args.contains("O_TRUNC") => self.files[file].bytes.clear(),
            Some(&file) if call.args.contains("O_APPEND") => {
                self.offsets.insert(call.result, self.files[file].bytes.len() as u64);
            }
            None if call.args.contains("O_CREAT") => {
                self.files.push(File { created: path.clone(), ..File::default() });
                self.names.insert(path, self.files.len() - 1);
            }
            _ => {}
        }
    }

    fn put(&mut self, path: &Path, offset: u64, call: &Call) -> Result<()> {
        let Some(&file) = self.names.get(path) else { return Ok(()) };
        let start = call.args.find(", \"").context("bytes")? + 3;
        let end = call.args[start..].find('"').context("the end of the bytes")? + start;
        let text = &call.args[start..end];
        let length = usize::try_from(call.result)?;
        let bytes: Vec<u8> = text
            .split("\\x")
            .skip(1)
            .take(length)
            .map(|hex| u8::from_str_radix(hex, 16).context("hex"))
            .collect::<Result<_>>()?;
        if bytes.len() != length {
            bail!("{} of {length} bytes were traced", bytes.len());
        }
        let (file, offset) = (&mut self.files[file].bytes, usize::try_from(offset)?);
        file.resize(file.len().max(offset + length), 0);
        file[offset..offset + length].copy_from_slice(&bytes);
        Ok(())
    }

    fn sync(&mut self, path: &Path) {
        if let Some(&number) = self.names.get(path) {
            let file = &mut self.files[number];
            file.kept = Some(file.bytes.clone());
            if file.created == path {
                self.kept.insert(path.to_owned(), number);
            }
            return;
        }
        let inside = |name: &PathBuf| name.parent() == Some(path);
        self.kept.retain(|name, _| !inside(name));
        self.kept.extend(self.names.iter().filter(|(name, _)| inside(name)).map(|(name, file)| (name.clone(), *file)));
    }

    fn rename(&mut self, args: &str) {
        let paths = quoted(args);
        let [from, to] = paths.as_slice() else { return };
        let moved: Vec<PathBuf> = self.names.keys().filter(|name| name.starts_with(from)).cloned().collect();
        for name in moved {
            let (Some(file), Ok(rest)) = (self.names.remove(&name), name.strip_prefix(from)) else { continue };
            let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
            self.names.insert(target, file);
        }
        if self.directories.contains(from) {
            self.directories.push(to.clone());
        }
    }

    fn write(&self) -> Result<()> {
        if self.root.exists() {
            std::fs::remove_dir_all(&self.root)?;
        }
        for directory in &self.directories {
            std::fs::create_dir_all(directory)?;
        }
        for (name, file) in &self.kept {
            if let Some(parent) = name.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(name, self.files[*file].kept.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// The first argument's descriptor and its path: `9</data/journal.db>, …`.
fn descriptor(args: &str) -> (i64, Option<PathBuf>) {
    let Some((fd, rest)) = args.split_once('<') else { return (-1, None) };
    (fd.parse().unwrap_or(-1), rest.split_once('>').map(|(path, _)| unescaped(path)))
}

/// The names among the arguments; one that is relative to an open directory with that before it.
fn quoted(args: &str) -> Vec<PathBuf> {
    let mut parts = args.split('"');
    let mut found = Vec::new();
    while let (Some(before), Some(text)) = (parts.next(), parts.next()) {
        let base = before.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(base, _)| unescaped(base));
        found.push(base.unwrap_or_default().join(unescaped(text)));
    }
    found
}

/// Reads `\x61\x62`, and leaves what is not written so as it is.
fn unescaped(text: &str) -> PathBuf {
    if !text.starts_with("\\x") {
        return text.into();
    }
    let bytes = text.split("\\x").skip(1).filter_map(|hex| u8::from_str_radix(hex, 16).ok()).collect();
    String::from_utf8(bytes).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    #[test]
    fn only_what_was_synced_is_left() -> Result<()> {
        let home = tempfile::tempdir()?;
        let (before, root) = (home.path().join("before"), home.path().join("root"));
        std::fs::create_dir_all(&before)?;
        std::fs::write(before.join("old"), "old")?;
        let at = |name: &str| root.join(name).display().to_string();
        let trace = format!(
            "1 10.0 openat(AT_FDCWD</>, \"{new}\", O_WRONLY|O_CREAT, 0666) = 3<{new_path}>\n\
             1 11.0 write(3<{new_path}>, \"{text}\", 4) = 4\n\
             2 11.5 fsync(3<{new_path}> <unfinished ...>\n\
             1 11.6 write(5<socket:[1]>, \"{text}\", 4) = 4\n\
             2 12.0 <... fsync resumed>) = 0\n\
             1 13.0 write(3<{new_path}>, \"{text}\", 4) = 4\n\
             1 14.0 rename(\"{new}\", \"{old}\") = 0\n\
             1 15.0 fsync(4<{root}>) = 0\n",
            new = hex(&at("new")),
            new_path = at("new"),
            old = hex(&at("old")),
            text = hex("text"),
            root = root.display(),
        );
        let after = |at: f64| -> Result<Vec<(String, String)>> {
            cut(&trace, &before, &root, at)?;
            let mut found = Vec::new();
            for entry in std::fs::read_dir(&root)? {
                let path = entry?.path();
                let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path)?));
            }
            found.sort();
            Ok(found)
        };
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(after(11.9)?, [pair("old", "old")]);
        assert_eq!(after(12.0)?, [pair("new", "text"), pair("old", "old")]);
        assert_eq!(after(14.0)?, [pair("new", "text"), pair("old", "old")]);
        assert_eq!(after(15.0)?, [pair("old", "text")]);
        Ok(())
    }
}
