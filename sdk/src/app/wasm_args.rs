//! WebAssembly modules on the command line: `--mapper-wasm`, `--combiner-wasm`, `--reducer-wasm`.
//!
//! What can be told of a file without a compiler is told here, before anything is uploaded; what its exports say, by workers.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use gristmill_common::JobSpec;
use gristmill_common::limits;
use gristmill_common::program::{Kind, Module, Wasm};
use gristmill_common::spec::StepSpec;

use super::exit::Usage;
use super::pack::{Pack, no_such};
use super::words;

/// Modules that map, combine and reduce.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "WebAssembly")]
pub struct WasmArgs {
    /// Module that maps, and its arguments: a WASI command that reads lines and prints `key TAB value`, or one with the
    /// batched interface; its exports say which
    #[arg(long, value_name = "FILE [ARG…]", conflicts_with_all = ["mapper", "combiner", "reducer", "each_line"])]
    pub mapper_wasm: Option<String>,

    /// Module that reduces, and its arguments
    #[arg(long, value_name = "FILE [ARG…]", conflicts_with_all = ["mapper", "combiner", "reducer", "each_line"])]
    pub reducer_wasm: Option<String>,

    /// Module that combines a mapper's output before it travels, and its arguments; may run any number of times
    #[arg(long, value_name = "FILE [ARG…]", requires = "mapper_wasm")]
    pub combiner_wasm: Option<String>,
}

impl WasmArgs {
    /// Says whether the command line has modules.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.mapper_wasm.is_some() || self.reducer_wasm.is_some()
    }

    /// Reads the modules into `wasm`, and puts their files into the pack. Returns the step and a name for people.
    ///
    /// # Errors
    /// If one cannot be read, or is no module.
    pub fn step(&self, mut wasm: Wasm, pack: &mut Pack) -> Result<(StepSpec, String)> {
        let mut name = None;
        let mut module = |flag: &str, text: &Option<String>| match text {
            Some(text) => {
                let mut words = words::split(flag, text)?;
                let path = words.remove(0);
                name.get_or_insert_with(|| path.rsplit('/').next().unwrap_or(&path).to_owned());
                Ok::<_, anyhow::Error>(Some(Module { module: add(Path::new(&path), pack)?, args: words }))
            }
            None => Ok(None),
        };
        wasm.mapper = module("--mapper-wasm", &self.mapper_wasm)?;
        wasm.combiner = module("--combiner-wasm", &self.combiner_wasm)?;
        wasm.reducer = module("--reducer-wasm", &self.reducer_wasm)?;
        Ok((StepSpec::wasm(wasm), name.unwrap_or_default()))
    }
}

/// Adds a module to the pack and returns its hash.
///
/// # Errors
/// If it cannot be read, or is no module.
pub fn add(path: &Path, pack: &mut Pack) -> Result<gristmill_common::Digest> {
    check(path)?;
    pack.hash(path)
}

/// Refuses what no worker could run, in words that say how to mend it.
fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    let file = std::fs::File::open(path).with_context(|| no_such(path))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {shown}"))?;
    let mut head = Vec::new();
    if metadata.is_file() {
        file.take(8).read_to_end(&mut head).with_context(|| format!("cannot read {shown}"))?;
    }
    let why = match head.split_first_chunk::<4>() {
        Some((b"\0asm", [1, 0, 0, 0])) if metadata.len() > limits::WASM_MODULE_BYTES => {
            let (bytes, most) = (metadata.len(), limits::WASM_MODULE_BYTES);
            format!("has {bytes} bytes, {most} are allowed: build it without debug information")
        }
        Some((b"\0asm", [1, 0, 0, 0])) => return Ok(()),
        Some((b"\0asm", [_, 0, 1, 0])) => {
            "is a component: build a core module, such as for the target wasm32-wasip1".to_owned()
        }
        _ if head.trim_ascii_start().starts_with(b"(") => {
            "is a module in text: make it binary with `wat2wasm`".to_owned()
        }
        _ => "is no WebAssembly module: a compiler makes one for a target such as wasm32-wasi".to_owned(),
    };
    Err(Usage(format!("{shown} {why}")).into())
}

/// Refuses to run modules in this process if it cannot.
///
/// # Errors
/// If a step of the spec has some.
pub fn check_built_in(spec: &JobSpec) -> Result<()> {
    let has_modules = spec.steps.iter().any(|step| step.program().kind() == Kind::Wasm);
    if has_modules && !cfg!(feature = "wasm") {
        let what = "this program is built without WebAssembly: build it with the feature `wasm` (gristmill itself with \
                    `cargo build --release --features full`), or submit the job to workers that have it";
        return Err(Usage(what.to_owned()).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused = |bytes: &[u8]| {
            let path = dir.path().join("m.wasm");
            std::fs::write(&path, bytes).expect("written");
            add(&path, &mut Pack::default()).expect_err("refused").to_string()
        };
        assert!(refused(b"\0asm\x0d\0\x01\0").contains("wasm32-wasip1"));
        assert!(refused(b" (module)").contains("wat2wasm"));
        assert!(refused(b"int main() {}").contains("is no WebAssembly module"));
        assert!(refused(b"").contains("is no WebAssembly module"));
        assert!(add(dir.path(), &mut Pack::default()).is_err(), "a directory");
        let missing = add(Path::new("no/such.wasm"), &mut Pack::default()).expect_err("missing").to_string();
        assert!(missing.contains("no such file: no/such.wasm"), "{missing}");
        let path = dir.path().join("m.wasm");
        std::fs::write(&path, b"\0asm\x01\0\0\0").expect("written");
        let mut pack = Pack::default();
        let args = WasmArgs {
            mapper_wasm: Some(format!("'{}' map 'a b'", path.display())),
            reducer_wasm: Some(format!("{} reduce", path.display())),
            combiner_wasm: None,
        };
        let (step, name) = args.step(Wasm::default(), &mut pack).expect("a step");
        let wasm = step.wasm.expect("modules");
        assert_eq!(
            (wasm.mapper.expect("one").args, name.as_str()),
            (vec!["map".to_owned(), "a b".to_owned()], "m.wasm")
        );
        assert_eq!((wasm.reducer.expect("one").args, pack.locals.len()), (vec!["reduce".to_owned()], 1));
        assert_eq!(pack.files, [], "a module is in no working directory");
    }
}
