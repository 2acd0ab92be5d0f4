//! Where a coordinator on this machine leaves its client token, so that its user's command line finds it by itself.
//!
//! `$XDG_STATE_HOME/gristmill/endpoints/<port>.json`, readable by its user alone. Written when a coordinator starts and
//! removed when it stops; one that was left behind by a killed process is replaced by the next on that port.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gristmill_common::Digest;
use serde::{Deserialize, Serialize};

use crate::endpoint::{Endpoint, EndpointError};

/// What the file says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFile {
    /// The coordinator's address.
    pub url: String,
    /// A client token.
    pub token: String,
    /// SHA-256 of its certificate, if it has one.
    #[serde(default)]
    pub pin: Option<Digest>,
    /// The coordinator's process.
    pub pid: u32,
}

/// Returns the directory of these files from the two variables of the environment that decide it.
#[must_use]
pub fn directory(xdg_state_home: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
    let given = xdg_state_home.filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    let state = given.or_else(|| home.map(|home| Path::new(home).join(".local/state")))?;
    Some(state.join("gristmill").join("endpoints"))
}

/// Returns the directory of these files for this process.
#[must_use]
pub fn own_directory() -> Option<PathBuf> {
    directory(std::env::var("XDG_STATE_HOME").ok().as_deref(), std::env::var("HOME").ok().as_deref())
}

impl EndpointFile {
    /// Reads the file of the coordinator on this port; `None` when there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood.
    pub fn read(directory: &Path, port: u16) -> io::Result<Option<Self>> {
        match fs::read(path(directory, port)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the files of all coordinators of this user whose process is there still, by port. What cannot be read is none.
    #[must_use]
    pub fn all(directory: &Path) -> Vec<Self> {
        let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let port = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".json")?.parse::<u16>().ok();
        let mut ports: Vec<u16> = names.filter_map(port).collect();
        ports.sort_unstable();
        let files = ports.into_iter().filter_map(|port| Self::read(directory, port).ok().flatten());
        files.filter(|file| Path::new("/proc").join(file.pid.to_string()).exists()).collect()
    }

    /// Writes the file of the coordinator on this port, for its user alone.
    ///
    /// # Errors
    /// When the directory or the file cannot be written.
    pub fn write(&self, directory: &Path, port: u16) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let staged = directory.join(format!(".{port}.{}", self.pid));
        let _ = fs::remove_file(&staged);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&staged, path(directory, port))
    }

    /// Removes the file of the coordinator on this port if it is still this process's.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove(directory: &Path, port: u16, pid: u32) -> io::Result<()> {
        match Self::read(directory, port)? {
            Some(file) if file.pid == pid => fs::remove_file(path(directory, port)),
            _ => Ok(()),
        }
    }

    /// Returns how to talk to the coordinator.
    ///
    /// # Errors
    /// When the file names no address.
    pub fn endpoint(self) -> Result<Endpoint, EndpointError> {
        Ok(Endpoint::new(&self.url)?.with_token(Some(self.token)).with_pin(self.pin))
    }
}

fn path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("{port}.json"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_found_again_readable_by_its_user_alone_and_removed_by_its_writer_only() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = directory(None, home.path().to_str()).expect("a home");
        assert!(EndpointFile::read(&directory, 4750).expect("nothing is fine").is_none());
        let file = EndpointFile { url: "http://127.0.0.1:4750".into(), token: "t".into(), pin: None, pid: 7 };
        file.write(&directory, 4750).expect("writes");
        let mode = fs::metadata(path(&directory, 4750)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        EndpointFile::remove(&directory, 4750, 8).expect("leaves another's alone");
        let found = EndpointFile::read(&directory, 4750).expect("reads").expect("is there");
        assert_eq!(found.endpoint().expect("valid"), Endpoint::local(4750, Some("t".into())));
        assert!(EndpointFile::all(&directory).is_empty() || Path::new("/proc/7").exists(), "a process that is gone");
        let pid = std::process::id();
        EndpointFile { pid, url: "http://127.0.0.1:4799".into(), ..file }.write(&directory, 4799).expect("writes");
        fs::write(directory.join("x.json"), "").expect("writes");
        let urls: Vec<String> = EndpointFile::all(&directory).into_iter().map(|file| file.url).collect();
        assert!(urls.contains(&"http://127.0.0.1:4799".to_owned()), "{urls:?}");
        EndpointFile::remove(&directory, 4750, 7).expect("removes");
        assert!(EndpointFile::read(&directory, 4750).expect("nothing is fine").is_none());
    }

    #[test]
    fn a_relative_state_directory_is_ignored_as_the_convention_says() {
        assert_eq!(directory(Some("here"), None), None);
        assert_eq!(directory(Some("/s"), Some("/h")), Some("/s/gristmill/endpoints".into()));
    }
}
