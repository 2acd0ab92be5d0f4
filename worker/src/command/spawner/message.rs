//! What an executor and its spawner say to each other: a length, a JSON text, and three descriptors beside a start.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::control_groups::ControlGroups;
use crate::sandbox::Sandbox;

/// A message is never longer: arguments and environment fit what a kernel takes (2 MiB).
const MESSAGE_BYTES: u32 = 16 << 20;

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;

/// stdin, stdout and stderr of a program.
pub(super) const DESCRIPTORS: usize = 3;

/// What an executor says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// What all programs may touch; anything that this user may when it is never sent.
    Fence(Box<Sandbox>),
    /// Where to make a control group for them; none when it is never sent.
    Group(Box<ControlGroups>),
    /// Start a program on the descriptors that come along.
    Start(Box<Start>),
    /// End it, gently or at once.
    End { gently: bool },
}

/// What to start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The file.
    pub(crate) program: PathBuf,
    /// Its name as the user wrote it, and arguments.
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Its working directory.
    pub(crate) directory: PathBuf,
    /// Most memory of all its processes.
    pub(crate) memory_bytes: Option<u64>,
    /// Most bytes it may add to the directory.
    pub(crate) directory_bytes: u64,
    /// Most processes and threads.
    pub(crate) processes: u64,
    /// Whether the working directory may have files of the job in it already.
    pub(crate) has_files: bool,
}

/// What a spawner says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It works; comes first.
    Ready,
    /// The program runs.
    Started {
        /// Its process, and its process group.
        pid: i32,
    },
    /// The program cannot be started.
    Refused {
        /// The system's number for it.
        errno: i32,
    },
    /// The program itself ended; what it left behind is being ended. Left out when that is nothing.
    Ending,
    /// The program ended, and nothing that it started is left.
    Ended(Ended),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// The limit for which it was ended.
    pub(crate) over: Option<Over>,
}

/// A limit that was passed, and how much was found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Over {
    /// Bytes of memory.
    Memory(u64),
    /// Bytes in the working directory.
    Directory(u64),
    /// Processes and threads.
    Processes(u64),
}

/// Sends a message, if there is room all of it at once: who waits for it wakes once.
pub(super) fn send<T: Serialize>(socket: &UnixStream, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut text = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut text, message)?;
    let length = u32::try_from(text.len() - LENGTH_BYTES).ok().filter(|&length| length <= MESSAGE_BYTES);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    text[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Descriptors go with the first byte.
    let sent = loop {
        match sendmsg(socket, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => break sent?,
        }
    };
    (&mut &*socket).write_all(&text[sent..])
}

/// Receives a message with its descriptors; `None` when the other end is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; LENGTH_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut length)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?.bytes,
        }
    };
    if got == 0 {
        return Ok(None);
    }
    (&mut &*socket).read_exact(&mut length[got..])?;
    let fds = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    let length = u32::from_le_bytes(length);
    if length > MESSAGE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    (&mut &*socket).read_exact(&mut text)?;
    Ok(Some((serde_json::from_slice(&text)?, fds)))
}
