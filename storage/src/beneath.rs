//! Opens a file beneath a directory without ever following a symbolic link: the one platform-bound corner of this crate.
//!
//! The path is resolved and checked before it comes here. A link that is put into it between the check and the open
//! makes the open fail instead of leading elsewhere (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`).
//! Kernels and systems without `openat2` get the last name protected only (`O_NOFOLLOW`).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens `root/relative` for reading. A pipe or device does not block: the caller refuses what is not a regular file.
pub(crate) fn open(root: &Path, relative: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let directory = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&directory, relative, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
            opened => return Ok(opened?.into()),
        }
    }
    Ok(rustix::fs::open(root.join(relative), flags | OFlags::NOFOLLOW, Mode::empty())?.into())
}
