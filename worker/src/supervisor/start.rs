//! How a worker begins: it claims its place, takes up what an earlier life left there, and starts its slots.

use std::sync::Arc;

use gristmill_client::{Backoff, WorkerClient};
use gristmill_common::JobId;
use gristmill_storage::Roots;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::clock::{self, Stopwatch};
use super::disk::Disk;
use super::host::Maker;
use super::polls::{Answered, Polls};
use super::relays::Relays;
use super::slot::{FromSlot, Slot};
use super::{SlotHandle, Supervisor, WorkerError, identity, io_error, shuffle};
use crate::config::WorkerConfig;
use crate::exchange::Exchange;
use crate::executor::Hello;
use crate::outbox::Outbox;
use crate::program::Programs;
use crate::state_dir::StateDir;

impl Supervisor {
    pub(super) fn start(
        config: &WorkerConfig,
        programs: Programs,
        answers: UnboundedSender<Answered>,
        say: UnboundedSender<FromSlot>,
        lose: UnboundedSender<JobId>,
    ) -> Result<Self, WorkerError> {
        let client = WorkerClient::new(config.endpoint.clone()).map_err(WorkerError::Rejected)?;
        let state = Arc::new(StateDir::claim(&config.state_dir, clock::fresh_id())?);
        let roots = Roots::new(&config.roots, [&config.state_dir])?;
        let shuffle = config.shuffle.as_ref().map(|listen| shuffle::start(listen, state.outputs())).transpose()?;
        let served_at = shuffle.as_ref().map(|listening| listening.address.clone());
        let identity =
            identity::of(config, &state, &roots, &programs, served_at).map_err(io_error("tell who this worker is"))?;
        tracing::info!(
            worker = %identity.worker, name = identity.about.name, slots = config.slots, state = %state.path().display(),
            coordinator = %config.endpoint, "worker started"
        );
        let (outbox, reports) = Outbox::open(state.outbox()).map_err(io_error("open the outbox"))?;
        let mut exchange = Exchange::new(identity);
        exchange.restore(reports);
        for job in state.held_jobs() {
            exchange.hold_job(job);
        }
        let maker = Maker { executors: config.executors.clone(), programs, hello: hello(config, &state) };
        let slots =
            (0..config.slots as usize).map(|number| start_slot(number, &maker, &state, &say, &client)).collect();
        Ok(Self {
            shuffle,
            relays: Relays::new(client.clone(), Arc::clone(&state), lose),
            polls: Polls::new(client, answers),
            state,
            exchange,
            outbox,
            slots,
            clock: Stopwatch::start(),
            disk: Disk::new(config.state_dir.clone(), config.reserve_bytes),
            draining_ms: None,
            dismissed: false,
            said_alone: false,
        })
    }
}

fn hello(config: &WorkerConfig, state: &StateDir) -> Hello {
    Hello {
        url: config.endpoint.address(),
        pin: config.endpoint.pin,
        plain_allowed: config.endpoint.allows_plain_http(),
        direct: config.shuffle.is_some(),
        packs: config.packs,
        worker: state.id(),
        roots: config.roots.clone(),
        state_dir: config.state_dir.clone(),
        outputs: state.outputs(),
        scratch: state.scratch(),
        sandbox: config.sandbox.clone(),
        groups: config.groups.clone(),
    }
}

fn start_slot(
    number: usize,
    maker: &Maker,
    state: &StateDir,
    say: &UnboundedSender<FromSlot>,
    client: &WorkerClient,
) -> SlotHandle {
    let (orders, receive) = unbounded_channel();
    let slot = Slot {
        number,
        maker: maker.clone(),
        scratch: state.scratch(),
        orders: receive,
        say: say.clone(),
        started: 0,
        backoff: Backoff::default(),
        client: client.clone(),
    };
    SlotHandle { orders, task: tokio::spawn(slot.run()), work: None }
}
