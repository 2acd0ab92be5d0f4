//! Sends held map outputs to the coordinator's store when a reduce elsewhere needs them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use gristmill_client::{ClientError, WorkerClient};
use gristmill_common::wire::PutOutput;
use gristmill_common::{Code, JobId};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

use crate::exchange::HeldGrant;
use crate::executor::file_body;
use crate::state_dir::StateDir;

/// Outputs sent at a time: enough to fill a line, few enough to leave polls room on it.
const AT_A_TIME: usize = 4;

/// The relays under way.
pub(crate) struct Relays {
    client: WorkerClient,
    state: Arc<StateDir>,
    /// Told of jobs whose outputs turn out not to be there.
    lose: UnboundedSender<JobId>,
    room: Arc<Semaphore>,
    /// By token, so that an output that is asked for in every answer is sent once.
    under_way: Arc<Mutex<BTreeSet<String>>>,
}

impl Relays {
    pub(crate) fn new(client: WorkerClient, state: Arc<StateDir>, lose: UnboundedSender<JobId>) -> Self {
        Self { client, state, lose, room: Arc::new(Semaphore::new(AT_A_TIME)), under_way: Arc::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Starts sending an output, unless it is being sent. One that fails is asked for again by a later answer.
    pub(crate) fn start(&self, grant: Arc<HeldGrant>) {
        if !self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(grant.token.clone()) {
            return;
        }
        let (client, state, room) = (self.client.clone(), Arc::clone(&self.state), Arc::clone(&self.room));
        let (under_way, lose) = (Arc::clone(&self.under_way), self.lose.clone());
        tokio::spawn(async move {
            let _room = room.acquire().await;
            match send(&client, &state, &grant).await {
                Ok(()) => {}
                Err(Failed::Gone(why)) => {
                    tracing::error!(job = %grant.name.job, map = grant.name.tasks.first, why, "a map output cannot be relayed");
                    let _ = lose.send(grant.name.job);
                }
                Err(Failed::Later(error)) => {
                    tracing::warn!(job = %grant.name.job, map = grant.name.tasks.first, %error, "cannot relay a map output now");
                }
            }
            under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&grant.token);
        });
    }
}

enum Failed {
    /// It never will be: there is no such file, or what is there is damaged.
    Gone(String),
    /// It is asked for again.
    Later(ClientError),
}

async fn send(client: &WorkerClient, state: &StateDir, grant: &HeldGrant) -> Result<(), Failed> {
    let map = grant.name.tasks.first;
    let path = state.output(&grant.name, map).ok_or_else(|| Failed::Gone("its grant names no task".to_owned()))?;
    let found = tokio::fs::metadata(&path).await;
    let bytes = found.map_err(|error| Failed::Gone(format!("{}: {error}", path.display())))?.len();
    client.put_output(&grant.token, map, &PutOutput::default(), file_body(&path, || ()), bytes).await.map_err(|error| {
        match error.code() {
            Some(Code::Invalid) => Failed::Gone(error.to_string()),
            _ => Failed::Later(error),
        }
    })
}
