//! Makes archives, also ones that no proper tool makes.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::bundles::extract::{Caps, UnpackError, unpack};

/// An entry of an archive to be made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) kind: EntryType,
    pub(super) name: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

pub(super) fn file(name: &str, content: &str) -> Made {
    let (name, content) = (name.as_bytes().to_vec(), content.as_bytes().to_vec());
    Made { kind: EntryType::Regular, name, target: Vec::new(), mode: 0o644, content }
}

pub(super) fn other(kind: EntryType, name: &str, target: &str) -> Made {
    Made { kind, target: target.as_bytes().to_vec(), content: Vec::new(), ..file(name, "") }
}

pub(super) fn link(name: &str, target: &str) -> Made {
    other(EntryType::Symlink, name, target)
}

/// Writes headers as they are told: the crate's own setters refuse what must be tried here.
pub(super) fn tar(entries: &[Made]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        let plain = header.as_old_mut();
        plain.name[..entry.name.len().min(100)].copy_from_slice(&entry.name[..entry.name.len().min(100)]);
        plain.linkname[..entry.target.len().min(100)].copy_from_slice(&entry.target[..entry.target.len().min(100)]);
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        builder.append(&header, entry.content.as_slice()).expect("written");
    }
    builder.into_inner().expect("written")
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

pub(super) fn zip(entries: &[Made]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let options = options.unix_permissions(entry.mode);
        if entry.kind == EntryType::Symlink {
            let target = String::from_utf8_lossy(&entry.target).into_owned();
            writer.add_symlink(name, target, options).expect("written");
        } else {
            writer.start_file(name, options).expect("written");
            writer.write_all(&entry.content).expect("written");
        }
    }
    writer.finish().expect("written").into_inner()
}

/// What became of an archive, in a directory of its own inside another one that nothing may touch.
pub(super) struct Unpacked {
    home: tempfile::TempDir,
    pub(super) result: Result<u64, String>,
}

impl Unpacked {
    pub(super) fn of(archive: &[u8]) -> Self {
        Self::under(archive, Caps::of(archive.len() as u64))
    }

    pub(super) fn under(archive: &[u8], caps: Caps) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("archive"), archive).expect("written");
        std::fs::write(home.path().join("bait"), "untouched").expect("written");
        let root = home.path().join("root");
        std::fs::create_dir(&root).expect("made");
        let result = unpack(&home.path().join("archive"), &root, caps, &|| {});
        let result = result.map_err(|error| match error {
            UnpackError::Refused(why) => why,
            UnpackError::Io(error) => panic!("a fault of the machine: {error}"),
        });
        let unpacked = Self { home, result };
        unpacked.check_outside();
        unpacked
    }

    pub(super) fn root(&self) -> PathBuf {
        self.home.path().canonicalize().expect("there").join("root")
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).expect(name)
    }

    fn check_outside(&self) {
        let mut names: Vec<_> =
            std::fs::read_dir(self.home.path()).expect("listed").map(|e| e.expect("e").file_name()).collect();
        names.sort();
        assert_eq!(names, ["archive", "bait", "root"], "something appeared outside");
        assert_eq!(std::fs::read_to_string(self.home.path().join("bait")).expect("there"), "untouched");
        if self.result.is_ok() {
            self.check_inside(&self.root());
        }
    }

    /// Every file is a plain one without special bits, and every link ends inside.
    fn check_inside(&self, directory: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        for entry in std::fs::read_dir(directory).expect("listed") {
            let entry = entry.expect("an entry");
            let (kind, path) = (entry.file_type().expect("a type"), entry.path());
            assert!(path.canonicalize().expect("leads somewhere").starts_with(self.root()), "{}", path.display());
            if kind.is_dir() {
                self.check_inside(&path);
            } else if !kind.is_symlink() {
                assert!(kind.is_file());
                let mode = entry.metadata().expect("facts").permissions().mode() & 0o7777;
                assert!(mode == 0o444 || mode == 0o555, "{mode:o}");
            }
        }
    }
}
