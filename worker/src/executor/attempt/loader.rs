//! Turns what a step names into a program that runs here: one that is compiled in, executables, or WebAssembly modules.

use std::path::Path;
use std::sync::Arc;

use gristmill_common::Reason;
use gristmill_common::plan::PlannedStep;
use gristmill_common::program::{BundleFile, Program as UserCode, Wasm};

use crate::bundles::Bundles;
use crate::command::{self, CommandProgram, Pool, Trace, WORK, Workplace};
use crate::executor::{Coordinator, Hello};
use crate::program::{Program, Programs};

/// Name of the working directory of the next step's commands, beside [`WORK`].
const NEXT_WORK: &str = "next-work";

/// Loads the programs of one executor.
pub(super) struct Loader<'a> {
    programs: &'a Programs,
    coordinator: Coordinator,
    bundles: Arc<Bundles>,
    commands: Arc<command::Shared>,
    /// Of maps that run in the reduces of the step before, beside those.
    next_commands: Arc<command::Shared>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(hello: &Hello, programs: &'a Programs, coordinator: Coordinator) -> Self {
        let commands = |directory: &str| {
            Arc::new(command::Shared {
                pool: Pool::new(hello.scratch.clone(), hello.sandbox.clone(), hello.groups.clone()),
                workplace: Workplace::new(hello.scratch.join(directory)),
            })
        };
        Self {
            programs,
            coordinator,
            bundles: Arc::new(Bundles::new(&hello.state_dir)),
            commands: commands(WORK),
            next_commands: commands(NEXT_WORK),
        }
    }

    /// Gets the files and modules of a step's program.
    pub(super) fn fetch(&self, step: &PlannedStep, token: &str) -> Result<(), Reason> {
        let bundles = step.program().bundles();
        bundles.into_iter().try_for_each(|sha256| self.bundles.path(&self.coordinator, token, sha256).map(drop))
    }

    /// Lets go of what the last job needed.
    pub(super) fn release(&self) {
        self.bundles.release();
    }

    /// Loads the program of the attempt's own step.
    pub(super) fn load(
        &self,
        step: &PlannedStep,
        token: &str,
        trace: Option<Trace>,
    ) -> Result<Arc<dyn Program>, Reason> {
        self.program(step, token, Arc::clone(&self.commands), trace)
    }

    /// Loads the program of the next step, whose commands work in a directory of their own.
    pub(super) fn load_next(
        &self,
        step: &PlannedStep,
        token: &str,
        trace: Option<Trace>,
    ) -> Result<Arc<dyn Program>, Reason> {
        self.program(step, token, Arc::clone(&self.next_commands), trace)
    }

    fn program(
        &self,
        step: &PlannedStep,
        token: &str,
        commands: Arc<command::Shared>,
        trace: Option<Trace>,
    ) -> Result<Arc<dyn Program>, Reason> {
        match step.program() {
            UserCode::Native(name) => {
                let found = self.programs.find(name).cloned();
                found.ok_or_else(|| Reason::Worker { message: format!("this worker has no program `{name}`") })
            }
            UserCode::Command(command) => {
                let (bundles, coordinator) = (Arc::clone(&self.bundles), self.coordinator.clone());
                let token = token.to_owned();
                let link =
                    move |files: &[BundleFile], directory: &Path| bundles.link(&coordinator, &token, files, directory);
                Ok(Arc::new(CommandProgram::new(command.clone(), commands, Box::new(link), trace)))
            }
            UserCode::Wasm(wasm) => self.wasm(wasm, token),
        }
    }

    #[cfg(feature = "wasm")]
    fn wasm(&self, wasm: &Wasm, token: &str) -> Result<Arc<dyn Program>, Reason> {
        let path = |sha256| self.bundles.path(&self.coordinator, token, sha256);
        Ok(Arc::new(crate::wasm::WasmProgram::new(wasm, path)?))
    }

    #[cfg(not(feature = "wasm"))]
    fn wasm(&self, _: &Wasm, _: &str) -> Result<Arc<dyn Program>, Reason> {
        let message = "this worker is built without WebAssembly: build it with `--features full`";
        Err(Reason::Worker { message: message.to_owned() })
    }
}
