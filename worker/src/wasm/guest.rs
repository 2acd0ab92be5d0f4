//! A running module as a coroutine: it runs when it is given input, and stops when it wants more.
//!
//! That it runs on a stack of its own is what lets a WASI command, which reads when it likes, run on the executor's thread
//! between two blocks of the input, without a thread or a pipe of the system.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gristmill_common::{Reason, limits};

use super::engine::{self, Interface, Loaded, Ticking};
use super::host::{Host, Settings, Stop, reason_of};
use super::locate::{self, Locate};
use super::pipes::Pipes;
use super::{batched, wasi};
use crate::log::AttemptLog;
use crate::streaming::{Peer, Take};

type Running = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// What a module is asked to do; the batched interface has a function for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Map,
    /// Also combines.
    Reduce,
}

/// How to start a module.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) loaded: Arc<Loaded>,
    pub(super) role: Role,
    pub(super) settings: Settings,
    pub(super) log: AttemptLog,
}

/// A running module.
pub(super) struct Guest {
    recipe: Recipe,
    /// `None` once it has ended.
    running: Option<Running>,
    pipes: Pipes,
    output: Vec<u8>,
    written: u64,
    locate: Option<Locate>,
    _ticking: Ticking,
}

impl Recipe {
    /// Starts the module; it runs when it is fed.
    pub(super) fn start(&self) -> Result<Guest, Reason> {
        let pipes = Pipes::new(self.log.clone());
        let store = Host::store(&self.loaded, &self.settings, pipes.clone());
        let running: Running = match self.loaded.interface {
            Interface::Command => Box::pin(wasi::run(store, Arc::clone(&self.loaded))),
            Interface::Batched => Box::pin(batched::run(store, Arc::clone(&self.loaded), self.role, pipes.clone())),
        };
        let ticking = engine::ticking()?;
        Ok(Guest {
            recipe: self.clone(),
            running: Some(running),
            pipes,
            output: Vec::new(),
            written: 0,
            locate: None,
            _ticking: ticking,
        })
    }
}

impl Guest {
    /// Makes failures name the record of the input they happened at.
    pub(super) fn locating(mut self, locate: Locate) -> Self {
        self.locate = Some(locate);
        self
    }

    /// Runs it until it wants input or has ended.
    pub(super) fn advance(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        let mut context = Context::from_waker(Waker::noop());
        while let Some(running) = &mut self.running {
            let polled = running.as_mut().poll(&mut context);
            self.pipes.output(&mut self.output);
            let wrote = !self.output.is_empty();
            if wrote {
                self.written += self.output.len() as u64;
                if self.written > limits::WASM_OUTPUT_BYTES {
                    let message = format!("the module emitted more than {} bytes", limits::WASM_OUTPUT_BYTES);
                    return Err(Failure::Outside(Reason::Limit { message, at: None }));
                }
                take(&self.output).map_err(Failure::Outside)?;
            }
            match polled {
                // Room for more output, or the input is used up.
                Poll::Pending if wrote => {}
                Poll::Pending => break,
                Poll::Ready(result) => {
                    self.running = None;
                    return match result {
                        Err(error) if matches!(error.downcast_ref(), Some(Stop::Exit(0))) => Ok(()),
                        Err(error) => Err(Failure::Guest(error)),
                        Ok(()) => Ok(()),
                    };
                }
            }
        }
        if self.running.is_none() {
            self.pipes.clear();
        }
        Ok(())
    }

    /// Gives it bytes and runs it.
    pub(super) fn give(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<(), Failure> {
        if !bytes.is_empty() && self.running.is_some() {
            self.pipes.put(bytes);
        }
        self.advance(take)
    }
}

/// Why a guest did not go on.
pub(super) enum Failure {
    /// It failed.
    Guest(wasmtime::Error),
    /// What took its output did.
    Outside(Reason),
}

impl Peer for Guest {
    fn feed(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<(), Reason> {
        self.give(bytes, take).map_err(|failure| match failure {
            Failure::Outside(reason) => reason,
            Failure::Guest(error) => {
                if let Some(locate) = &self.locate {
                    locate::name_record(&self.recipe, locate, &error, bytes);
                }
                reason_of(&error)
            }
        })
    }

    fn finish(&mut self, take: &mut Take<'_>) -> Result<(), Reason> {
        self.pipes.end();
        self.advance(take).map_err(|failure| match failure {
            Failure::Outside(reason) => reason,
            Failure::Guest(error) => reason_of(&error),
        })
    }

    fn counters(&mut self) -> Vec<(String, i64)> {
        self.pipes.counts()
    }
}
