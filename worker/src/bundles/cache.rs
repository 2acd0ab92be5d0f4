//! The files of the cache, shared by all processes that work under one state directory.
//!
//! ```text
//! <state>/bundles/files/SHA256        content, read-only and executable
//!                 trees/SHA256        an unpacked archive; trees/SHA256.bytes holds its size
//!                 locks/FORM-SHA256   held shared by who uses an entry, alone by who makes or evicts it
//!                 tmp/FORM-SHA256     what is being made, by who holds the lock alone
//! ```
//!
//! An entry is there when it has its name; it gets it by a rename. Its modification time (of a tree: of its `.bytes`) is its
//! last use. Locks are the kernel's, so a killed process leaves none.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gristmill_common::Digest;
use gristmill_common::digest::Hasher;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};

/// Bytes copied or hashed at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// How a bundle is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Form {
    File,
    Tree,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Tree => "tree",
        }
    }
}

/// A lock on an entry, held until it is dropped.
pub(super) struct Lock {
    _file: File,
}

/// The cache.
pub(super) struct Cache {
    directory: PathBuf,
    limit_bytes: u64,
}

struct Entry {
    used: SystemTime,
    bytes: u64,
    sha256: Digest,
    form: Form,
}

impl Cache {
    pub(super) fn new(directory: PathBuf, limit_bytes: u64) -> Self {
        Self { directory, limit_bytes }
    }

    /// Returns where an entry is, if it is.
    pub(super) fn path(&self, sha256: Digest, form: Form) -> PathBuf {
        let folder = match form {
            Form::File => "files",
            Form::Tree => "trees",
        };
        self.directory.join(folder).join(sha256.to_string())
    }

    fn staged(&self, sha256: Digest, form: Form) -> PathBuf {
        self.directory.join("tmp").join(format!("{}-{sha256}", form.word()))
    }

    fn size_of_tree(&self, sha256: Digest) -> PathBuf {
        self.directory.join("trees").join(format!("{sha256}.bytes"))
    }

    /// Finds an entry that is there and sound, and locks it; one that is damaged is removed.
    pub(super) fn find(&self, sha256: Digest, form: Form, tick: impl Fn()) -> io::Result<Option<Lock>> {
        let path = self.path(sha256, form);
        if !path.exists() {
            return Ok(None);
        }
        let Some(lock) = self.lock(sha256, form, File::try_lock_shared)? else { return Ok(None) };
        // It may have gone before the lock was ours.
        if !path.exists() {
            return Ok(None);
        }
        if form == Form::File && hash(&path, tick)? != sha256 {
            tracing::error!(path = %path.display(), "a bundle in the cache is damaged; it is fetched again");
            drop(lock);
            if let Some(_alone) = self.lock(sha256, form, File::try_lock)? {
                self.remove(sha256, form)?;
            }
            return Ok(None);
        }
        let used = match form {
            Form::File => path,
            Form::Tree => self.size_of_tree(sha256),
        };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        rustix::fs::utimensat(CWD, &used, &times, AtFlags::empty())?;
        Ok(Some(lock))
    }

    /// Locks an entry that is not there, so that nobody else makes it; `None` when somebody does, or has.
    pub(super) fn begin(&self, sha256: Digest, form: Form) -> io::Result<Option<Lock>> {
        let lock = self.lock(sha256, form, File::try_lock)?;
        Ok(lock.filter(|_| !self.path(sha256, form).exists()))
    }

    /// Takes an entry's lock; `None` when it is taken.
    fn lock(
        &self,
        sha256: Digest,
        form: Form,
        take: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> io::Result<Option<Lock>> {
        let path = self.directory.join("locks").join(format!("{}-{sha256}", form.word()));
        self.create("locks")?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        match take(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever evicts an entry removes its lock: this may be one that nobody else sees.
        let (ours, named) = (file.metadata()?, fs::metadata(&path));
        let is_named = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
        Ok(is_named.then_some(Lock { _file: file }))
    }

    /// Writes content and gives it its name if it is what it should be. Call it between [`Self::begin`] and its end.
    pub(super) fn write(&self, sha256: Digest, content: &mut impl Read) -> io::Result<()> {
        self.create("tmp")?;
        self.create("files")?;
        let staged = self.staged(sha256, Form::File);
        let _ = fs::remove_file(&staged);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        let (mut hasher, mut chunk) = (Hasher::default(), vec![0; CHUNK_BYTES]);
        loop {
            let read = content.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            file.write_all(&chunk[..read])?;
        }
        let found = hasher.finish();
        if found != sha256 {
            let _ = fs::remove_file(&staged);
            return Err(io::Error::other(format!("what came for bundle {sha256} has the hash {found}")));
        }
        file.set_permissions(Permissions::from_mode(0o555))?;
        fs::rename(&staged, self.path(sha256, Form::File))
    }

    /// Returns an empty directory for an archive's content. Call it between [`Self::begin`] and its end.
    pub(super) fn stage_tree(&self, sha256: Digest) -> io::Result<PathBuf> {
        self.create("tmp")?;
        self.create("trees")?;
        let staged = self.staged(sha256, Form::Tree);
        remove_tree(&staged)?;
        DirBuilder::new().mode(0o700).create(&staged)?;
        Ok(staged)
    }

    pub(super) fn drop_stage(&self, sha256: Digest) {
        if let Err(error) = remove_tree(&self.staged(sha256, Form::Tree)) {
            tracing::warn!(%error, "what was unpacked of an archive stays until it is unpacked again");
        }
    }

    /// Gives the unpacked archive its name.
    pub(super) fn keep_tree(&self, sha256: Digest, bytes: u64) -> io::Result<()> {
        let path = self.path(sha256, Form::Tree);
        fs::write(self.size_of_tree(sha256), bytes.to_string())?;
        // A directory that may not be written cannot be moved.
        fs::rename(self.staged(sha256, Form::Tree), &path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o555))
    }

    /// Evicts what was not used for the longest time until this many more bytes fit.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when what is in use leaves no room.
    pub(super) fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for Entry { bytes: freed, sha256, form, .. } in entries {
            if total.saturating_add(bytes) <= self.limit_bytes {
                return Ok(());
            }
            if let Some(_alone) = self.lock(sha256, form, File::try_lock)? {
                self.remove(sha256, form)?;
                total -= freed;
            }
        }
        if total.saturating_add(bytes) <= self.limit_bytes {
            return Ok(());
        }
        let why = format!(
            "{bytes} bytes do not fit: the cache at {} holds {} at most, and {total} are in use",
            self.directory.display(),
            self.limit_bytes
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, why))
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for form in [Form::File, Form::Tree] {
            let Some(folder) = self.path(Digest::default(), form).parent().map(Path::to_owned) else { continue };
            let listed = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed?,
            };
            for file in listed {
                let file = file?;
                let Some(sha256) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                let sized = match form {
                    Form::File => file.metadata().map(|facts| (facts.len(), facts.modified())),
                    Form::Tree => fs::metadata(self.size_of_tree(sha256)).map(|facts| {
                        let bytes = fs::read_to_string(self.size_of_tree(sha256)).unwrap_or_default();
                        (bytes.trim().parse().unwrap_or(0), facts.modified())
                    }),
                };
                // What another process evicts meanwhile needs no room.
                if let Ok((bytes, Ok(used))) = sized {
                    entries.push(Entry { used, bytes, sha256, form });
                }
            }
        }
        Ok(entries)
    }

    /// Removes an entry whose lock is held alone.
    fn remove(&self, sha256: Digest, form: Form) -> io::Result<()> {
        let path = self.path(sha256, form);
        match form {
            Form::File => fs::remove_file(&path)?,
            Form::Tree => {
                // Moved first: what is half deleted must not look like an entry.
                let gone = self.staged(sha256, form);
                remove_tree(&gone)?;
                self.create("tmp")?;
                fs::set_permissions(&path, Permissions::from_mode(0o700))?;
                fs::rename(&path, &gone)?;
                let _ = fs::remove_file(self.size_of_tree(sha256));
                remove_tree(&gone)?;
            }
        }
        let _ = fs::remove_file(self.directory.join("locks").join(format!("{}-{sha256}", form.word())));
        Ok(())
    }

    fn create(&self, folder: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory.join(folder))
    }
}

fn hash(path: &Path, tick: impl Fn()) -> io::Result<Digest> {
    let (mut file, mut hasher, mut chunk) = (File::open(path)?, Hasher::default(), vec![0; CHUNK_BYTES]);
    loop {
        tick();
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&chunk[..read]);
    }
}

/// Removes a directory whose directories may be read-only; one that is not there is removed.
fn remove_tree(path: &Path) -> io::Result<()> {
    let listed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(facts) if !facts.is_dir() => return fs::remove_file(path),
        facts => facts.and_then(|_| {
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
            fs::read_dir(path)
        })?,
    };
    for entry in listed {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(path)
}
