//! Executables as the programs of a step.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Streaming, check_env};
use crate::absent::is_default;
use crate::digest::Digest;
use crate::limits;
use crate::problem::Problem;

/// Executables that are run once per task, in a working directory of their own.
///
/// ```json
/// { "mapper": ["./mapper.py"], "reducer": ["./reducer.py"], "files": [{ "name": "mapper.py", "sha256": "…" }] }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments that map; absent: records pass as they are. No shell is involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapper: Option<Vec<String>>,
    /// Program and arguments that combine, perhaps several times or never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combiner: Option<Vec<String>>,
    /// Program and arguments that reduce; absent: records pass as they are. `["aggregate"]` is Hadoop's aggregate package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reducer: Option<Vec<String>>,
    /// Files and archives that are linked into the working directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<BundleFile>,
    /// Variables of the environment (`-cmdenv`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Job properties that the environment shows with `_` for other characters (`-D`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// How records become lines and lines records.
    #[serde(default, skip_serializing_if = "is_default")]
    pub streaming: Streaming,
    /// Most memory of all processes of an attempt together, in bytes; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Most bytes that an attempt may write into its working directory.
    #[serde(default = "default_directory_bytes")]
    pub directory_bytes: u64,
    /// Most bytes that an attempt may write to stdout.
    #[serde(default = "default_output_bytes")]
    pub output_bytes: u64,
}

/// A bundle: content that was uploaded once (`PUT /v1/bundles/{sha256}`), and the name it has for the program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleFile {
    /// Name in the working directory: one component, not hidden by `/`.
    pub name: String,
    /// Its content.
    pub sha256: Digest,
    /// Whether it is unpacked into a directory of that name: tar, tar.gz, tgz, zip or jar, known by its content.
    #[serde(default, skip_serializing_if = "is_default")]
    pub archive: bool,
}

fn default_directory_bytes() -> u64 {
    limits::COMMAND_DIRECTORY_BYTES
}

fn default_output_bytes() -> u64 {
    limits::COMMAND_OUTPUT_BYTES
}

impl Default for Command {
    fn default() -> Self {
        Self {
            mapper: None,
            combiner: None,
            reducer: None,
            files: Vec::new(),
            env: BTreeMap::new(),
            properties: BTreeMap::new(),
            streaming: Streaming::default(),
            memory_bytes: None,
            directory_bytes: limits::COMMAND_DIRECTORY_BYTES,
            output_bytes: limits::COMMAND_OUTPUT_BYTES,
        }
    }
}

impl Command {
    /// Checks what the types cannot say; `at` is the pointer to this value.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the first wrong place.
    pub fn check(&self, at: &str) -> Result<(), Problem> {
        for (name, argv) in [("mapper", &self.mapper), ("combiner", &self.combiner), ("reducer", &self.reducer)] {
            let Some(argv) = argv else { continue };
            if argv.first().is_none_or(String::is_empty) {
                return Err(Problem::at(
                    format!("{at}/{name}"),
                    "a program and its arguments are needed, such as [\"./mapper.py\"]",
                ));
            }
            if argv.iter().any(|argument| argument.contains('\0')) {
                return Err(Problem::at(format!("{at}/{name}"), "an argument cannot hold a zero byte"));
            }
        }
        if self.mapper.is_none() && self.reducer.is_none() {
            return Err(Problem::at(at, "a mapper or a reducer is needed"));
        }
        check_files(&self.files, at)?;
        check_env(&self.env, at)?;
        self.streaming.check(&format!("{at}/streaming"))?;
        check_bytes(&format!("{at}/memory_bytes"), self.memory_bytes.unwrap_or(u64::MAX))?;
        check_bytes(&format!("{at}/directory_bytes"), self.directory_bytes)?;
        check_bytes(&format!("{at}/output_bytes"), self.output_bytes)
    }
}

fn check_files(files: &[BundleFile], at: &str) -> Result<(), Problem> {
    if files.len() > limits::BUNDLE_FILES {
        return Err(Problem::at(format!("{at}/files"), format!("at most {} files are allowed", limits::BUNDLE_FILES)));
    }
    let mut names = BTreeSet::new();
    for (index, BundleFile { name, .. }) in files.iter().enumerate() {
        let at = format!("{at}/files/{index}/name");
        if name.is_empty()
            || name.len() > limits::FILE_NAME_BYTES
            || name == "."
            || name == ".."
            || name.contains(['/', '\0'])
        {
            return Err(Problem::at(at, "a name is one component of a path, such as mapper.py"));
        }
        if !names.insert(name) {
            return Err(Problem::at(at, format!("`{name}` is there twice")));
        }
    }
    Ok(())
}

fn check_bytes(at: &str, bytes: u64) -> Result<(), Problem> {
    if bytes < limits::COMMAND_BYTES_MIN {
        return Err(Problem::at(at, format!("at least {} bytes are needed", limits::COMMAND_BYTES_MIN)));
    }
    Ok(())
}
