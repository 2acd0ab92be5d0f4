//! A job spec from a file: what `POST /v1/jobs` takes, and two things that only a command line can know.
//!
//! A file of a command, or a module, may be named by `"path"`, relative to the spec, instead of its hash: it goes along. And inputs on the
//! command line take the place of the spec's, so that a spec can be kept and used with other inputs.

use std::path::Path;

use anyhow::{Context, Result};
use gristmill_common::JobSpec;
use serde_json::Value;

use super::exit::Usage;
use super::pack::Pack;
use super::wasm_args;

/// Reads a spec and collects the files that go along; `-` is standard input. Without `inputs` if they come from elsewhere.
///
/// # Errors
/// If it cannot be read, is not a spec, or names a file that cannot be read.
pub fn read(file: &Path, inputs_follow: bool, mut pack: Pack) -> Result<(JobSpec, Pack)> {
    let spec = whole(file, inputs_follow, &mut pack)?;
    let spec = JobSpec::from_json(spec.to_string().as_bytes()).map_err(|problem| {
        let at = problem.pointer.as_deref().filter(|at| !at.is_empty()).unwrap_or("its top");
        Usage(format!("{}, at {at}: {}", file.display(), problem.detail))
    })?;
    Ok((spec, pack))
}

/// Reads the JSON and makes of it what the API takes.
fn whole(file: &Path, inputs_follow: bool, pack: &mut Pack) -> Result<Value> {
    let shown = file.display();
    let bytes =
        if file == Path::new("-") { stdin()? } else { std::fs::read(file).with_context(|| unreadable(file))? };
    let mut spec: Value =
        serde_json::from_slice(&bytes).map_err(|error| Usage(format!("{shown} is not JSON: {error}")))?;
    if inputs_follow && let Some(spec) = spec.as_object_mut() {
        // Something valid in its place; the inputs of the command line replace it.
        spec.insert("inputs".to_owned(), Value::from(vec!["file:///"]));
    }
    let here = file.parent().filter(|_| file != Path::new("-")).unwrap_or(Path::new("."));
    let steps = spec.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten();
    for step in steps {
        for file in step.pointer_mut("/command/files").and_then(Value::as_array_mut).into_iter().flatten() {
            resolve(file, here, pack)?;
        }
        for module in ["mapper", "combiner", "reducer"] {
            if let Some(module) = step.pointer_mut(&format!("/wasm/{module}")) {
                resolve_module(module, here, pack)?;
            }
        }
    }
    Ok(spec)
}

/// Replaces the `path` of a module by its hash.
fn resolve_module(module: &mut Value, here: &Path, pack: &mut Pack) -> Result<()> {
    let Some(path) = module.get("path").and_then(Value::as_str).map(|path| here.join(path)) else { return Ok(()) };
    let sha256 = wasm_args::add(&path, pack)?;
    if let Some(module) = module.as_object_mut() {
        module.remove("path");
        module.insert("module".to_owned(), Value::from(sha256.to_string()));
    }
    Ok(())
}

/// Replaces the `path` of a file by its hash.
fn resolve(file: &mut Value, here: &Path, pack: &mut Pack) -> Result<()> {
    let Some(path) = file.get("path").and_then(Value::as_str).map(|path| here.join(path)) else { return Ok(()) };
    let sha256 = pack.hash(&path)?;
    if let Some(file) = file.as_object_mut() {
        file.remove("path");
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        file.entry("name").or_insert_with(|| Value::from(name.unwrap_or_default()));
        file.insert("sha256".to_owned(), Value::from(sha256.to_string()));
    }
    Ok(())
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

fn unreadable(file: &Path) -> String {
    format!("cannot read the spec {}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_hashes_and_inputs_may_follow() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        write("map.py", "#!/usr/bin/env python3\n");
        let text = r#"{"name": "n", "steps": [{"command": {"mapper": ["./map.py"], "files": [{"path": "map.py"}]}}]}"#;
        let file = write("job.json", text);
        let read_it = |follow| {
            let mut pack = Pack::default();
            whole(&file, follow, &mut pack).map(|spec| (spec, pack))
        };
        let (spec, pack) = read_it(true).expect("read");
        let files = &spec["steps"][0]["command"]["files"];
        let sha256 = pack.locals[0].sha256.to_string();
        assert_eq!((pack.locals.len(), files), (1, &serde_json::json!([{ "name": "map.py", "sha256": sha256 }])));
        assert_eq!(
            (spec["inputs"][0].as_str(), &read_it(false).expect("read").0["inputs"]),
            (Some("file:///"), &Value::Null)
        );
        std::fs::write(dir.path().join("m.wasm"), b"\0asm\x01\0\0\0").expect("written");
        let text = r#"{"name": "n", "steps": [{"wasm": {"mapper": {"path": "m.wasm", "args": ["map"]}}}]}"#;
        let mut pack = Pack::default();
        let spec = whole(&write("wasm.json", text), true, &mut pack).expect("read");
        let module = serde_json::json!({ "module": pack.locals[0].sha256.to_string(), "args": ["map"] });
        assert_eq!(spec["steps"][0]["wasm"]["mapper"], module);
        std::fs::remove_file(dir.path().join("map.py")).expect("removed");
        assert!(read_it(true).expect_err("missing").to_string().contains("map.py"));
        write("job.json", "{");
        assert!(read_it(true).expect_err("no JSON").to_string().contains("job.json is not JSON"));
    }
}
