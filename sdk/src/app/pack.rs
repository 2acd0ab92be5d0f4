//! Files of this machine that go along with a job: found, checked, hashed here, uploaded once by their hash.
//!
//! A script that is wrong for every worker is refused before anything runs: one without an interpreter, or with the line
//! ends of Windows, which no kernel starts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gristmill_client::Client;
use gristmill_common::Digest;
use gristmill_common::program::BundleFile;

use super::exit::Usage;
use super::upload;

/// First bytes of a program that are looked at: Linux reads no more of a `#!` line.
const HEAD_BYTES: u64 = 256;

/// A file of this machine that a job needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalBundle {
    /// Where it is.
    pub path: PathBuf,
    /// Its content.
    pub sha256: Digest,
}

/// The files of one job.
#[derive(Clone, Debug, Default)]
pub struct Pack {
    /// What the spec says of them.
    pub files: Vec<BundleFile>,
    /// Where they are.
    pub locals: Vec<LocalBundle>,
}

impl Pack {
    /// Adds a file as the user wrote it: `FILE`, or `FILE#NAME` with the name that the program sees.
    ///
    /// # Errors
    /// If it cannot be read, or another file has its name.
    pub fn add_named(&mut self, text: &str, archive: bool) -> Result<()> {
        let (path, name) = match text.rsplit_once('#') {
            Some((path, name)) if !Path::new(text).exists() => (Path::new(path), Some(name.to_owned())),
            _ => (Path::new(text), None),
        };
        let name = match name {
            Some(name) => name,
            None => file_name(path)?,
        };
        self.add(path, &name, archive)
    }

    /// Adds a program that is started by its path.
    ///
    /// # Errors
    /// If it cannot be read or started, or another file has its name.
    pub fn add_program(&mut self, path: &Path) -> Result<String> {
        check_program(path)?;
        let name = file_name(path)?;
        self.add(path, &name, false)?;
        Ok(name)
    }

    /// Says whether a file of this name goes along.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// Adds a file whose name the spec says, and returns its hash.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn hash(&mut self, path: &Path) -> Result<Digest> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).with_context(|| no_such(path))?;
        if metadata.is_dir() {
            let hint = "pack it (tar czf code.tgz …) and give it as an archive, as --archive code.tgz#NAME does";
            return Err(Usage(format!("{shown} is a directory: {hint}")).into());
        }
        let sha256 = upload::digest_of(path).with_context(|| format!("cannot read {shown}"))?;
        if self.locals.iter().all(|local| local.sha256 != sha256) {
            self.locals.push(LocalBundle { path: path.to_path_buf(), sha256 });
        }
        Ok(sha256)
    }

    fn add(&mut self, path: &Path, name: &str, archive: bool) -> Result<()> {
        let sha256 = self.hash(path)?;
        let file = BundleFile { name: name.to_owned(), sha256, archive };
        match self.files.iter().find(|other| other.name == name) {
            Some(other) if *other == file => {}
            Some(_) => {
                let (shown, hint) = (path.display(), "give one of them another name with --file PATH#NAME");
                return Err(Usage(format!("two files would be called `{name}`, the second is {shown}: {hint}")).into());
            }
            None => self.files.push(file),
        }
        Ok(())
    }
}

/// Uploads the bundles that the coordinator does not have yet.
///
/// # Errors
/// If one cannot be read or is another now, or the coordinator does not take it.
pub async fn upload(client: &Client, bundles: &[LocalBundle]) -> Result<()> {
    for LocalBundle { path, sha256 } in bundles {
        if client.upload_bundle(path).await? != *sha256 {
            anyhow::bail!("{} was written to meanwhile: start again when it is whole", path.display());
        }
    }
    Ok(())
}

/// Says that a file is not there, and where it was looked for.
pub fn no_such(path: &Path) -> String {
    let at = std::env::current_dir().map(|dir| format!(" (from {})", dir.display())).unwrap_or_default();
    format!("no such file: {}{}", path.display(), if path.is_absolute() { "" } else { &at })
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name
        .with_context(|| format!("{}: the name of a file that goes along must be UTF-8", path.display()))?
        .to_owned())
}

/// Refuses what the kernel could not start, in words that say how to mend it.
fn check_program(path: &Path) -> Result<()> {
    let shown = path.display();
    let mut head = Vec::new();
    let file = std::fs::File::open(path).with_context(|| no_such(path))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Usage(format!("{shown} is a directory, not a program")).into());
    }
    file.take(HEAD_BYTES).read_to_end(&mut head).with_context(|| format!("cannot read {shown}"))?;
    let binary: [&[u8]; 4] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm"];
    if binary.iter().any(|magic| head.starts_with(magic)) {
        return Ok(());
    }
    let Some(line) = head.strip_prefix(b"#!") else {
        let how = "make its first line #!/usr/bin/env python3 (or another interpreter), or name the interpreter: 'python3 FILE'";
        return Err(Usage(format!("{shown} does not say what runs it: {how}")).into());
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        let how = format!("convert it: sed -i 's/\\r$//' {shown}");
        return Err(Usage(format!("{shown} has Windows line ends, so its interpreter cannot be found: {how}")).into());
    }
    if !line.trim_ascii_start().starts_with(b"/") {
        let line = String::from_utf8_lossy(line);
        let how = "an absolute path is needed, such as #!/usr/bin/env python3";
        return Err(Usage(format!("{shown} begins with `#!{line}`: {how}")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("map.py");
        std::fs::write(&path, text).expect("written");
        Pack::default().add_program(&path).expect_err("refused").to_string()
    }

    #[test]
    fn a_script_that_cannot_start_is_refused_with_what_to_do() {
        assert!(refused(b"#!/usr/bin/env python3\r\nprint()\r\n").contains("Windows line ends"));
        assert!(refused(b"import sys\n").contains("'python3 FILE'"));
        assert!(refused(b"#!python3\n").contains("#!/usr/bin/env python3"));
        assert!(refused(b"").contains("does not say what runs it"));
    }

    #[test]
    fn names_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let make = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let (a, b, odd) = (make("a/x", "1"), make("b/x", "2"), make("odd#name", "3"));
        let mut pack = Pack::default();
        pack.add_named(&a, false).expect("added");
        pack.add_named(&a, false).expect("the same again is nothing new");
        let error = pack.add_named(&b, false).expect_err("another x").to_string();
        assert!(error.contains("--file PATH#NAME"), "{error}");
        pack.add_named(&format!("{b}#y"), false).expect("added");
        pack.add_named(&odd, true).expect("added");
        let names: Vec<_> = pack.files.iter().map(|file| (file.name.as_str(), file.archive)).collect();
        assert_eq!(names, [("x", false), ("y", false), ("odd#name", true)]);
        assert_eq!(pack.locals.len(), 3);
        let error = pack.add_named(&dir.path().display().to_string(), false).expect_err("a directory").to_string();
        assert!(error.contains("--archive"), "{error}");
        let error = pack.add_named("no/such", false).expect_err("missing").to_string();
        assert!(error.contains("no such file: no/such"), "{error}");
    }
}
