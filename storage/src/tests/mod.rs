//! Tests of the whole crate on real directories.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Location, Roots, StorageError, file_url, list_files};

mod listing;
mod objects;
mod pinning;
mod roots;
mod staging;
mod urls;

/// A directory with files in it, all of it allowed.
struct World {
    home: tempfile::TempDir,
    roots: Roots,
}

impl World {
    fn new(files: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let roots = Roots::new([home.path()], None::<&Path>).expect("allowed");
        let world = Self { home, roots };
        for file in files {
            world.write(file, file.as_bytes());
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, bytes).expect("written");
        path
    }

    /// Lists what `pattern` names under the directory, as names relative to it.
    fn list(&self, pattern: &str) -> Result<Vec<String>, StorageError> {
        let url = format!("{}/{pattern}", file_url(self.home.path()));
        let Location::File(pattern) = Location::parse(&url)? else { panic!("{url} is a file URL") };
        let relative = |path: PathBuf| path.strip_prefix(self.home.path()).expect("beneath").display().to_string();
        Ok(list_files(&pattern, &self.roots, 100)?.into_iter().map(relative).collect())
    }
}
