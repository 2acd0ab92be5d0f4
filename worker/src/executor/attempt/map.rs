//! The attempts of map tasks.

use std::sync::Arc;

use gristmill_client::ClientError;
use gristmill_common::Reason;
use gristmill_common::plan::{Piece, SplitInput};
use gristmill_common::wire::{NamedFile, SplitsAnswer};

use super::batch::{find, split};
use super::{Attempts, Turn, is_to_narrow};
use crate::executor::guard::guarded;
use crate::executor::inputs::GrantInputs;
use crate::executor::{RemoteReader, worker_failure};
use crate::program::{InputPiece, MapInput, MapTask, TaskDone};
use crate::skip::{Skips, narrowed};

impl Attempts<'_> {
    pub(super) fn map(&self, turn: &Turn<'_>, splits: &SplitsAnswer, skips: &Skips) -> Result<TaskDone, Reason> {
        match self.map_once(turn, splits, skips) {
            Err(reason) if is_to_narrow(skips, &reason) => Err(narrowed(skips, reason, |skips| {
                self.clean();
                self.map_once(turn, splits, skips)
            })),
            done => done,
        }
    }

    fn map_once(&self, turn: &Turn<'_>, splits: &SplitsAnswer, skips: &Skips) -> Result<TaskDone, Reason> {
        let Turn { program, batch, step, task, fence } = *turn;
        let inputs;
        let input = match split(splits, &batch.grant, task) {
            None => return Err(Reason::Worker { message: format!("the plan has no split for task {task}") }),
            Some(&SplitInput::Generated { first, count }) => MapInput::Generated { first, count },
            Some(&SplitInput::Part { part }) => MapInput::Part { part, text: Box::new(self.part(&batch.token, part)?) },
            Some(SplitInput::Files(pieces)) => {
                let named = pieces.iter().map(|piece| find(splits, piece.file)).collect::<Result<Vec<_>, _>>()?;
                let pieces = named.iter().zip(pieces).map(|(named, piece)| input_piece(named, piece)).collect();
                inputs = GrantInputs::new(&self.coordinator, &self.roots, &batch.token, named);
                MapInput::Pieces { pieces, inputs: &inputs }
            }
        };
        let map = MapTask {
            job: batch.grant.job,
            name: batch.grant.task(task),
            fence,
            step,
            input,
            output: &self.made,
            scratch: &self.spills,
            packs: self.packs,
            position: Arc::clone(&self.position),
            log: self.log.clone(),
            cancel: Arc::clone(&self.cancel),
            skips,
        };
        guarded(|| program.map(&step.args, map)).unwrap_or_else(|message| Err(self.panicked(message, Some(splits))))
    }

    /// The text of a part of the step before.
    fn part(&self, token: &str, part: u32) -> Result<RemoteReader, Reason> {
        let (coordinator, token) = (self.coordinator.clone(), token.to_owned());
        let open = move |from| {
            coordinator.try_call(|client| {
                let token = token.clone();
                async move { client.part(&token, part, from).await }
            })
        };
        let explain = Box::new(|error: &ClientError| worker_failure("read a part of the step before", error));
        RemoteReader::open(self.coordinator.clone(), Box::new(open), explain, 0, None)
    }
}

fn input_piece<'a>(named: &'a NamedFile, piece: &Piece) -> InputPiece<'a> {
    InputPiece { index: piece.file, file: &named.file, start: piece.start, end: piece.end, unpacked: piece.unpacked }
}
