//! User code in a job spec: native, command or WebAssembly, and how records are passed to the latter two.
//!
//! Commands and WASI modules share one contract, Hadoop Streaming's (`docs/streaming.md` says it point by point): lines on
//! stdin, lines on stdout, a key up to a separator. What is here is checked, immutable, and copied into the plan as it is.

mod command;
mod streaming;
mod wasm;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::command::{BundleFile, Command};
pub use self::streaming::{InputForm, Order, Partition, Streaming};
pub use self::wasm::{Module, Wasm};
use crate::digest::Digest;
use crate::problem::Problem;

/// What a worker must be able to run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Programs compiled in.
    Native,
    /// Executables, on workers that allow them (`--allow-commands`).
    Command,
    /// WebAssembly modules, on workers built with them.
    Wasm,
}

impl Kind {
    /// Returns the word used in JSON and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Command => "command",
            Self::Wasm => "wasm",
        }
    }
}

/// The program of a step, whatever its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program<'a> {
    /// The name of one that is compiled into workers.
    Native(&'a str),
    /// Executables.
    Command(&'a Command),
    /// WebAssembly modules.
    Wasm(&'a Wasm),
}

impl<'a> Program<'a> {
    /// Returns the one that is there; of a step that was not checked and has none, a native one without a name.
    pub(crate) fn of(native: Option<&'a str>, command: Option<&'a Command>, wasm: Option<&'a Wasm>) -> Self {
        match (native, command, wasm) {
            (_, Some(command), _) => Self::Command(command),
            (_, None, Some(wasm)) => Self::Wasm(wasm),
            (native, None, None) => Self::Native(native.unwrap_or_default()),
        }
    }

    /// Returns its kind.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Native(_) => Kind::Native,
            Self::Command(_) => Kind::Command,
            Self::Wasm(_) => Kind::Wasm,
        }
    }

    /// Returns every bundle that its attempts need: files and archives, and modules.
    #[must_use]
    pub fn bundles(self) -> Vec<Digest> {
        match self {
            Self::Native(_) => Vec::new(),
            Self::Command(command) => command.files.iter().map(|file| file.sha256).collect(),
            Self::Wasm(wasm) => wasm.modules().map(|module| module.module).collect(),
        }
    }
}

fn check_env(env: &BTreeMap<String, String>, at: &str) -> Result<(), Problem> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Problem::at(format!("{at}/env"), format!("`{name}` cannot be a variable of an environment")));
        }
    }
    Ok(())
}
