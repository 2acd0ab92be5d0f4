//! The same work for every part of an output, with a few at a time: while one waits for the disk another is read.

use std::io;
use std::sync::{Mutex, PoisonError};

use gristmill_storage::StorageError;

use super::{CommitError, Steps};

/// Parts worked on at a time: more only wait for each other where they are written into one file. A test stops between two.
const AT_A_TIME: usize = if cfg!(test) { 1 } else { 2 };

/// What is to be done, and what came of it, in the order of the parts.
struct Work<'a, P, T> {
    rest: std::slice::Iter<'a, P>,
    done: Vec<Option<T>>,
    steps: Steps<'a>,
}

/// Does the work for every part, each a step of this name, and returns what it makes in the order of the parts. After an error
/// no other part is begun.
pub(super) fn each<P: Sync, T: Send>(
    parts: &[P],
    steps: Steps<'_>,
    step: &'static str,
    work: impl Fn(&P) -> Result<T, CommitError> + Sync,
) -> Result<Vec<T>, CommitError> {
    let shared = Mutex::new(Work { rest: parts.iter(), done: Vec::with_capacity(parts.len()), steps });
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || -> Result<Option<(usize, &P)>, CommitError> {
        let mut all = lock();
        let Some(part) = all.rest.next() else { return Ok(None) };
        (all.steps)(step)?;
        all.done.push(None);
        Ok(Some((all.done.len() - 1, part)))
    };
    let run = || -> Result<(), CommitError> {
        while let Some((number, part)) = next()? {
            match work(part) {
                Ok(done) => lock().done[number] = Some(done),
                Err(error) => {
                    lock().rest = [].iter();
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..AT_A_TIME.min(parts.len())).map(|_| scope.spawn(run)).collect();
        others.into_iter().fold(run(), |result, other| result.and(other.join().unwrap_or_else(|_| Err(panicked()))))
    })?;
    Ok(shared.into_inner().unwrap_or_else(PoisonError::into_inner).done.into_iter().flatten().collect())
}

fn panicked() -> CommitError {
    StorageError::io("write", "a part".as_ref(), io::Error::other("the thread that wrote it panicked")).into()
}
