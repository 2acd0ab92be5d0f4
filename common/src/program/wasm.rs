//! WebAssembly modules as the programs of a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Streaming, check_env};
use crate::absent::is_default;
use crate::digest::Digest;
use crate::limits;
use crate::problem::Problem;

/// WebAssembly modules, sandboxed. A module's exports say whether it is a WASI command under the streaming contract or
/// has the batched interface of `docs/wasm.md`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wasm {
    /// The module that maps; absent: records pass as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapper: Option<Module>,
    /// The module that combines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combiner: Option<Module>,
    /// The module that reduces; absent: records pass as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reducer: Option<Module>,
    /// Variables of a WASI module's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How records become lines and lines records, for WASI modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub streaming: Streaming,
    /// Most linear memory of one instance, in bytes.
    #[serde(default = "default_wasm_memory_bytes")]
    pub memory_bytes: u64,
}

/// One WebAssembly module and its arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// The bundle that holds it: a `.wasm` binary.
    pub module: Digest,
    /// Its arguments, without a program name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

fn default_wasm_memory_bytes() -> u64 {
    limits::WASM_MEMORY_BYTES
}

impl Default for Wasm {
    fn default() -> Self {
        Self {
            mapper: None,
            combiner: None,
            reducer: None,
            env: BTreeMap::new(),
            streaming: Streaming::default(),
            memory_bytes: limits::WASM_MEMORY_BYTES,
        }
    }
}

impl Wasm {
    /// Returns its modules, in the order mapper, combiner, reducer.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        [&self.mapper, &self.combiner, &self.reducer].into_iter().flatten()
    }

    /// Checks what the types cannot say; `at` is the pointer to this value.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the first wrong place.
    pub fn check(&self, at: &str) -> Result<(), Problem> {
        if self.mapper.is_none() && self.reducer.is_none() {
            return Err(Problem::at(at, "a mapper or a reducer is needed"));
        }
        check_env(&self.env, at)?;
        self.streaming.check(&format!("{at}/streaming"))?;
        let (least, most) = (limits::WASM_MEMORY_MIN_BYTES, limits::WASM_MEMORY_MAX_BYTES);
        if self.memory_bytes < least || self.memory_bytes > most {
            let detail = format!("{least} to {most} bytes are allowed");
            return Err(Problem::at(format!("{at}/memory_bytes"), detail));
        }
        Ok(())
    }
}
