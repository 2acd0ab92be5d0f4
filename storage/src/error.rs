//! What can go wrong between a URL and its bytes. Every variant names the place and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use gristmill_common::{Code, Problem, Reason};

/// Why a URL, a file or an object could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The URL cannot be read as one.
    #[error("`{url}`: {why}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
    /// It is something that this version does not build.
    #[error("`{what}`: {why}")]
    Unsupported {
        /// The URL or the file.
        what: String,
        /// What is missing, and what to do.
        why: String,
    },
    /// There is nothing of that name.
    #[error("`{what}` does not exist")]
    NotFound {
        /// The URL or the path.
        what: String,
    },
    /// It is outside of what may be touched.
    #[error("`{path}` {why}")]
    Denied {
        /// The path.
        path: String,
        /// Why it is refused, and which flag allows it.
        why: String,
    },
    /// The file is not what was planned.
    #[error("`{url}` {change}")]
    InputChanged {
        /// The file.
        url: String,
        /// What changed.
        change: String,
    },
    /// It is there already.
    #[error("`{what}` exists already{advice}")]
    Exists {
        /// The path.
        what: String,
        /// As what, or what to do; begins with a space or punctuation, or is empty.
        advice: &'static str,
    },
    /// More files than a job may have.
    #[error("more than {limit} files")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No room is left.
    #[error("no room to write `{what}`: {why}")]
    Full {
        /// The path.
        what: String,
        /// Which limit was met.
        why: String,
    },
    /// The sender of a body stopped.
    #[error("`{what}` broke off: {why}")]
    Broken {
        /// What was being received.
        what: String,
        /// What the sender or the network said.
        why: String,
    },
    /// The operating system or the store refused.
    #[error("cannot {action} `{what}`: {source}")]
    Io {
        /// What was attempted: `read`, `list`, ….
        action: &'static str,
        /// The path or object.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl StorageError {
    /// Wraps an error of the operating system, telling the kinds apart that callers act on.
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let what = path.display().to_string();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { what },
            io::ErrorKind::AlreadyExists => Self::Exists { what, advice: "" },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { what, why: source.to_string() },
            _ => Self::Io { action, what, source },
        }
    }

    /// Makes the refusal of a path that no root covers.
    pub(crate) fn not_under_a_root(path: &Path, roots: &[PathBuf]) -> Self {
        let why = if roots.is_empty() {
            "may not be touched: no directory is allowed here; start with `--allow-path DIR` to allow one".to_owned()
        } else {
            let allowed: Vec<_> = roots.iter().map(|root| format!("`{}`", root.display())).collect();
            format!("is not under an allowed directory ({}); `--allow-path DIR` adds one", allowed.join(", "))
        };
        Self::Denied { path: path.display().to_string(), why }
    }

    /// Returns the reason with which an attempt fails that met this error on its input.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let message = gristmill_common::reason::bounded(self.to_string());
        match self {
            Self::InputChanged { .. } => Reason::InputChanged { message },
            _ => Reason::InputUnreadable { message, at: None },
        }
    }

    /// Returns the code under which an API answers this error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::BadUrl { .. } | Self::TooMany { .. } | Self::Broken { .. } => Code::Invalid,
            Self::Unsupported { .. } => Code::Unsupported,
            Self::NotFound { .. } => Code::NotFound,
            Self::Denied { .. } => Code::Forbidden,
            Self::InputChanged { .. } => Code::Stale,
            Self::Exists { .. } => Code::Conflict,
            Self::Full { .. } => Code::StorageFull,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::Forbidden,
                io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => Code::Invalid,
                _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Code::Invalid,
                _ => Code::Internal,
            },
        }
    }

    /// Returns the problem with which an API answers this error.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem::new(self.code(), self.to_string())
    }
}
