//! User code in a job spec: native, command or WebAssembly, and how records are passed to the latter two.
//!
//! Commands and WASI modules share one contract, Hadoop Streaming's (`docs/streaming.md` says it point by point): lines on
//! stdin, lines on stdout, a key up to a separator. What is here is checked, immutable, and copied into the plan as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::absent::is_default;
use crate::digest::Digest;
use crate::fields::KeyFields;
use crate::limits;
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

/// How records become lines and lines records. The defaults are Hadoop Streaming's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streaming {
    /// What a mapper is given of an input record.
    pub input: InputForm,
    /// Between key and value on a mapper's stdin, where it is given both (`stream.map.input.field.separator`).
    pub map_input_separator: String,
    /// Ends the key in a mapper's output (`stream.map.output.field.separator`).
    pub map_output_separator: String,
    /// Which occurrence of it does (`stream.num.map.output.key.fields`).
    pub map_output_key_fields: u32,
    /// Between key and value on a reducer's stdin (`stream.reduce.input.field.separator`).
    pub reduce_input_separator: String,
    /// Ends the key in a reducer's output (`stream.reduce.output.field.separator`).
    pub reduce_output_separator: String,
    /// Which occurrence of it does (`stream.num.reduce.output.key.fields`).
    pub reduce_output_key_fields: u32,
    /// Between key and value in the written output (`mapreduce.output.textoutputformat.separator`).
    pub output_separator: String,
    /// Which partition a key belongs to.
    pub partition: Partition,
    /// In which order a reducer sees keys.
    pub order: Order,
    /// Exactly as Hadoop: a line without separator gains one in the output, a mapper must read all its input.
    pub strict: bool,
    /// Whether an exit code other than 0 is no failure (`stream.non.zero.exit.is.failure=false`).
    pub ignore_exit_code: bool,
}

/// What a mapper is given of an input record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputForm {
    /// The line (TextInputFormat).
    #[default]
    Line,
    /// Byte offset, separator, line (NLineInputFormat).
    OffsetLine,
    /// The line up to the first tab, separator, the rest (KeyValueTextInputFormat).
    KeyValue,
}

/// Which partition a key belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Partition {
    /// By XXH3 of the whole key.
    #[default]
    Hash,
    /// By Java's hash of the key as Hadoop's `Text`: the same part files as Hadoop.
    Java,
    /// By fields of the key (KeyFieldBasedPartitioner).
    Fields {
        /// As `sort -k`: `-k1,2`, several separated by spaces.
        options: String,
        /// Between the fields (`mapreduce.map.output.key.field.separator`).
        separator: String,
    },
}

/// In which order a reducer sees keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// By their bytes.
    #[default]
    Bytes,
    /// By fields (KeyFieldBasedComparator).
    Fields {
        /// As `sort`: `-n`, `-r`, `-k2,2nr`, several separated by spaces.
        options: String,
        /// Between the fields (`mapreduce.map.output.key.field.separator`).
        separator: String,
    },
}

impl Default for Streaming {
    fn default() -> Self {
        let tab = || "\t".to_owned();
        Self {
            input: InputForm::Line,
            map_input_separator: tab(),
            map_output_separator: tab(),
            map_output_key_fields: 1,
            reduce_input_separator: tab(),
            reduce_output_separator: tab(),
            reduce_output_key_fields: 1,
            output_separator: tab(),
            partition: Partition::Hash,
            order: Order::Bytes,
            strict: false,
            ignore_exit_code: false,
        }
    }
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
        if self.memory_bytes < 1 << 16 || self.memory_bytes > limits::WASM_MEMORY_MAX_BYTES {
            let detail = format!("65536 to {} bytes are allowed", limits::WASM_MEMORY_MAX_BYTES);
            return Err(Problem::at(format!("{at}/memory_bytes"), detail));
        }
        Ok(())
    }
}

impl Streaming {
    fn check(&self, at: &str) -> Result<(), Problem> {
        let separators = [
            ("map_input_separator", &self.map_input_separator),
            ("map_output_separator", &self.map_output_separator),
            ("reduce_input_separator", &self.reduce_input_separator),
            ("reduce_output_separator", &self.reduce_output_separator),
            ("output_separator", &self.output_separator),
        ];
        for (name, separator) in separators {
            if separator.len() > limits::SEPARATOR_BYTES || separator.contains('\n') {
                let detail = format!("a separator is at most {} bytes without a line feed", limits::SEPARATOR_BYTES);
                return Err(Problem::at(format!("{at}/{name}"), detail));
            }
        }
        for (name, separator) in &separators[1..2] {
            if separator.is_empty() {
                return Err(Problem::at(format!("{at}/{name}"), "an empty separator ends no key"));
            }
        }
        let fields = [
            ("map_output_key_fields", self.map_output_key_fields),
            ("reduce_output_key_fields", self.reduce_output_key_fields),
        ];
        for (name, count) in fields {
            if count == 0 || count > limits::KEY_FIELDS {
                return Err(Problem::at(
                    format!("{at}/{name}"),
                    format!("1 to {} fields are allowed", limits::KEY_FIELDS),
                ));
            }
        }
        let partition = match &self.partition {
            Partition::Fields { options, separator } => Some(("partition", options, separator)),
            Partition::Hash | Partition::Java => None,
        };
        let order = match &self.order {
            Order::Fields { options, separator } => Some(("order", options, separator)),
            Order::Bytes => None,
        };
        for (name, options, separator) in partition.into_iter().chain(order) {
            if let Err(error) = KeyFields::parse(options, separator) {
                return Err(Problem::at(format!("{at}/{name}/fields/options"), error.to_string()));
            }
        }
        Ok(())
    }
}

fn check_files(files: &[BundleFile], at: &str) -> Result<(), Problem> {
    if files.len() > limits::BUNDLE_FILES {
        return Err(Problem::at(format!("{at}/files"), format!("at most {} files are allowed", limits::BUNDLE_FILES)));
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, BundleFile { name, .. }) in files.iter().enumerate() {
        let at = format!("{at}/files/{index}/name");
        if name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(Problem::at(at, "a name is one component of a path, such as mapper.py"));
        }
        if !names.insert(name) {
            return Err(Problem::at(at, format!("`{name}` is there twice")));
        }
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>, at: &str) -> Result<(), Problem> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Problem::at(format!("{at}/env"), format!("`{name}` cannot be a variable of an environment")));
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

fn default_directory_bytes() -> u64 {
    limits::COMMAND_DIRECTORY_BYTES
}

fn default_output_bytes() -> u64 {
    limits::COMMAND_OUTPUT_BYTES
}

fn default_wasm_memory_bytes() -> u64 {
    limits::WASM_MEMORY_BYTES
}
