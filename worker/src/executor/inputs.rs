//! Opens the input files of map attempts: from this machine under its allowed directories, or from the coordinator's store.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use gristmill_client::ClientError;
use gristmill_common::plan::PinnedFile;
use gristmill_common::reason::bounded;
use gristmill_common::wire::NamedFile;
use gristmill_common::{Code, Reason};
use gristmill_storage::{Location, Roots, StorageError, open_pinned};

use super::coordinator::{Coordinator, RemoteReader};
use crate::program::Inputs;

/// The files of one attempt.
pub(crate) struct GrantInputs<'a> {
    coordinator: &'a Coordinator,
    roots: &'a Roots,
    token: &'a str,
    /// Their numbers in the plan, by URL.
    numbers: BTreeMap<&'a str, u32>,
}

impl<'a> GrantInputs<'a> {
    pub(crate) fn new(
        coordinator: &'a Coordinator,
        roots: &'a Roots,
        token: &'a str,
        files: impl IntoIterator<Item = &'a NamedFile>,
    ) -> Self {
        let numbers = files.into_iter().map(|named| (named.file.url.as_str(), named.index)).collect();
        Self { coordinator, roots, token, numbers }
    }

    fn open_stored(&self, file: &PinnedFile, from: u64) -> Result<Box<dyn Read + Send>, Reason> {
        let Some(&number) = self.numbers.get(file.url.as_str()) else {
            return Err(Reason::Worker { message: format!("{} is not a file of this grant", file.url) });
        };
        let (coordinator, token) = (self.coordinator.clone(), self.token.to_owned());
        let open = move |from| {
            coordinator.try_call(|client| {
                let token = token.clone();
                async move { client.input(&token, number, from).await }
            })
        };
        let url = file.url.clone();
        let explain = Box::new(move |error: &ClientError| refusal(&url, error));
        let size = Some(file.bytes);
        Ok(Box::new(RemoteReader::open(self.coordinator.clone(), Box::new(open), explain, from, size)?))
    }
}

/// What the coordinator says about a file of its store, as the attempt's reason.
fn refusal(url: &str, error: &ClientError) -> Reason {
    let message = bounded(format!("{url}: {error}"));
    match error.code() {
        Some(Code::Stale) => Reason::InputChanged { message },
        Some(Code::NotFound) => Reason::InputUnreadable { message, at: None },
        _ => Reason::Worker { message },
    }
}

impl Inputs for GrantInputs<'_> {
    fn open(&self, file: &PinnedFile, from: u64) -> Result<Box<dyn Read + Send>, Reason> {
        match Location::parse(&file.url).map_err(|error| error.reason())? {
            Location::Store(_) if from >= file.bytes && from > 0 => Ok(Box::new(std::io::empty())),
            Location::Store(_) => self.open_stored(file, from),
            _ => {
                let mut opened = open_pinned(file, self.roots).map_err(|error| error.reason())?;
                let seek = opened.seek(SeekFrom::Start(from));
                seek.map_err(|error| StorageError::io("read", file.url.as_ref(), error).reason())?;
                Ok(Box::new(opened))
            }
        }
    }

    fn recheck(&self, file: &PinnedFile) -> Result<(), Reason> {
        match Location::parse(&file.url).map_err(|error| error.reason())? {
            // The coordinator compares the version at each request.
            Location::Store(_) => Ok(()),
            _ => open_pinned(file, self.roots).map(drop).map_err(|error| error.reason()),
        }
    }
}
