//! Code on the command line: `--mapper`, `--reducer`, `--each-line` and what belongs to them, for `run` and `submit`.
//!
//! A program that is named relative to here goes along by itself; everything else a worker must have, or be given by `--file`.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use gristmill_common::program::{Command, Order, Partition, Streaming, Wasm};
use gristmill_common::quantity;
use gristmill_common::spec::StepSpec;

use super::exit::Usage;
use super::pack::{Pack, no_such};
use super::wasm_args::WasmArgs;
use super::words;

/// Programs that run the script that is their first argument.
const INTERPRETERS: [&str; 10] = ["python", "pypy", "perl", "ruby", "node", "php", "Rscript", "lua", "bash", "sh"];

/// Code that is not compiled in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Any executable")]
pub struct CodeArgs {
    /// Command that maps: lines on stdin, `key TAB value` lines on stdout (as Hadoop Streaming). Split into words as by a
    /// shell, run without one. A script named relative to here (./map.py, python3 map.py) goes along
    #[arg(long, value_name = "COMMAND")]
    pub mapper: Option<String>,

    /// Command that reduces: `key TAB value` lines on stdin, sorted by key; what it prints is the output
    #[arg(long, value_name = "COMMAND")]
    pub reducer: Option<String>,

    /// Command that combines a mapper's output before it travels; may run any number of times
    #[arg(long, value_name = "COMMAND", requires = "mapper")]
    pub combiner: Option<String>,

    /// Run a command for every line of the inputs, each a task of its own: `{}` is the line, else it is the last argument
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["mapper", "reducer", "split_bytes", "partitions", "generate"])]
    pub each_line: Option<String>,

    /// Lines of one task of --each-line; they run one after the other
    #[arg(long, value_name = "N", requires = "each_line", value_parser = clap::value_parser!(u64).range(1..))]
    pub lines_per_task: Option<u64>,

    /// A file for the working directory of the commands, perhaps under another name; may be repeated
    #[arg(long, value_name = "FILE[#NAME]")]
    pub file: Vec<String>,

    /// A tar, tgz or zip that is unpacked there into a directory; may be repeated
    #[arg(long, value_name = "FILE[#DIR]")]
    pub archive: Vec<String>,

    /// A variable of the environment of commands and WASI modules; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,

    /// Between key and value in lines of commands; \t is a tab [default: a tab]
    #[arg(long, value_name = "TEXT")]
    pub separator: Option<String>,

    /// Fields of a mapper's output line that are its key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub key_fields: Option<u32>,

    /// Which fields of the key choose its partition, as sort -k writes them, such as -k1,1
    #[arg(long, value_name = "FIELDS", allow_hyphen_values = true)]
    pub partition_by: Option<String>,

    /// How keys are ordered for the reducer, as sort writes it, such as -k2,2nr
    #[arg(long, value_name = "FIELDS", allow_hyphen_values = true)]
    pub order: Option<String>,

    /// Be exactly as Hadoop Streaming in corner cases that it left odd
    #[arg(long)]
    pub strict: bool,

    /// Most memory of one running command or module, such as 512M
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub command_memory: Option<u64>,

    /// Modules.
    #[command(flatten)]
    pub wasm: WasmArgs,
}

/// Code that is ready to be submitted: the step, and the files that go along.
#[derive(Clone, Debug)]
pub struct Code {
    /// The step, as far as the code shapes it.
    pub step: StepSpec,
    /// A name for people.
    pub name: String,
    /// The files.
    pub pack: Pack,
}

impl CodeArgs {
    /// Says whether the command line has code of its own, so that it names no program.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.mapper.is_some() || self.reducer.is_some() || self.each_line.is_some() || self.wasm.is_given()
    }

    /// Refuses flags that say something about code where there is none.
    ///
    /// # Errors
    /// If one was given.
    pub fn check_absent(&self) -> Result<()> {
        let given = [
            ("--file", !self.file.is_empty()),
            ("--archive", !self.archive.is_empty()),
            ("--env", !self.env.is_empty()),
            ("--separator", self.separator.is_some()),
            ("--key-fields", self.key_fields.is_some()),
            ("--partition-by", self.partition_by.is_some()),
            ("--order", self.order.is_some()),
            ("--strict", self.strict),
            ("--command-memory", self.command_memory.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Usage(format!("{flag} is about code of your own: give it with --mapper, --reducer or --each-line"))
                    .into())
            }
            None => Ok(()),
        }
    }

    /// Collects the files of `--file` and `--archive`.
    ///
    /// # Errors
    /// If one cannot be read, or two have one name.
    pub fn pack(&self) -> Result<Pack> {
        let mut pack = Pack::default();
        for file in &self.file {
            pack.add_named(file, false)?;
        }
        for archive in &self.archive {
            pack.add_named(archive, true)?;
        }
        Ok(pack)
    }

    /// Reads the commands and collects the files that go along.
    ///
    /// # Errors
    /// If a command cannot be split, or a file cannot go along.
    pub fn code(&self) -> Result<Code> {
        let mut pack = self.pack()?;
        let env = self.env.iter().map(|text| variable(text)).collect::<Result<_>>()?;
        if self.wasm.is_given() {
            if !pack.files.is_empty() {
                return Err(Usage("--file and --archive are for commands: modules see no files".to_owned()).into());
            }
            let mut wasm = Wasm { env, streaming: self.streaming(), ..Wasm::default() };
            wasm.memory_bytes = self.command_memory.unwrap_or(wasm.memory_bytes);
            let (step, name) = self.wasm.step(wasm, &mut pack)?;
            return Ok(Code { step, name, pack });
        }
        let mut argv = |flag: &str, text: &Option<String>| match text {
            Some(text) => bring(words::split(flag, text)?, &mut pack).map(Some),
            None => Ok(None),
        };
        let each_line = argv("--each-line", &self.each_line)?;
        let (mapper, combiner) = (argv("--mapper", &self.mapper)?, argv("--combiner", &self.combiner)?);
        let reducer = argv("--reducer", &self.reducer)?;
        let program = each_line.as_ref().or(mapper.as_ref()).or(reducer.as_ref()).and_then(|argv| argv.first());
        let name = program.map_or("job", |program| program.rsplit('/').next().unwrap_or(program)).to_owned();
        let command = Command {
            mapper: each_line.as_deref().map(words::each_line).or(mapper),
            combiner,
            reducer,
            files: pack.files.clone(),
            env,
            streaming: self.streaming(),
            memory_bytes: self.command_memory,
            ..Command::default()
        };
        Ok(Code { step: StepSpec::command(command), name, pack })
    }

    fn streaming(&self) -> Streaming {
        let mut streaming = Streaming { strict: self.strict, ..Streaming::default() };
        let separator = self.separator.as_deref().map_or_else(|| "\t".to_owned(), |text| text.replace("\\t", "\t"));
        if let Some(options) = &self.partition_by {
            streaming.partition = Partition::Fields { options: options.clone(), separator: separator.clone() };
        }
        if let Some(options) = &self.order {
            streaming.order = Order::Fields { options: options.clone(), separator: separator.clone() };
        }
        streaming.map_output_separator.clone_from(&separator);
        streaming.reduce_input_separator.clone_from(&separator);
        streaming.reduce_output_separator.clone_from(&separator);
        streaming.output_separator = separator;
        streaming.map_output_key_fields = self.key_fields.unwrap_or(1);
        streaming
    }
}

fn variable(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Usage(format!("--env {text}: write NAME=VALUE")).into()),
    }
}

/// Puts a script that is named relative to here into the pack, and names it as the working directory will have it.
fn bring(mut argv: Vec<String>, pack: &mut Pack) -> Result<Vec<String>> {
    let program = argv[0].clone();
    if program.starts_with('/') {
        return Ok(argv);
    }
    let inside = program.strip_prefix("./").unwrap_or(&program);
    if pack.has(inside) {
        argv[0] = format!("./{inside}");
        return Ok(argv);
    }
    let unpacked = |path: &str| path.split_once('/').is_some_and(|(first, _)| pack.has(first));
    if program.contains('/') {
        if !Path::new(&program).exists() && !unpacked(inside) {
            return Err(Usage(no_such(Path::new(&program))).into());
        }
        if Path::new(&program).exists() {
            argv[0] = format!("./{}", pack.add_program(Path::new(&program))?);
        }
        return Ok(argv);
    }
    if Path::new(&program).is_file() && !is_in_path(&program) {
        argv[0] = format!("./{}", pack.add_program(Path::new(&program))?);
        return Ok(argv);
    }
    if let Some(script) = script_of(&mut argv).filter(|script| !pack.has(script)) {
        pack.add_named(script, false)?;
        let name = Path::new(script.as_str()).file_name().map(|name| name.to_string_lossy().into_owned());
        *script = name.unwrap_or_default();
    }
    Ok(argv)
}

/// Returns the script that an interpreter is to run, if it is a file named relative to here.
fn script_of(argv: &mut [String]) -> Option<&mut String> {
    let (program, rest) = argv.split_first_mut()?;
    if !INTERPRETERS.contains(&program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        return None;
    }
    let at = rest.iter().position(|word| !word.starts_with('-'))?;
    // The word behind these is code, or the name of a module.
    if rest[..at].iter().any(|flag| ["-c", "-e", "-m"].contains(&flag.as_str())) {
        return None;
    }
    Some(&mut rest[at]).filter(|word| Path::new(word.as_str()).is_relative() && Path::new(word.as_str()).is_file())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        job: crate::app::job_args::JobArgs,
    }

    fn code(args: &[&str]) -> Result<Code> {
        Line::try_parse_from([&["x"], args].concat()).expect("parses").job.code.code()
    }

    fn command(args: &[&str]) -> Command {
        *code(args).expect("code").step.command.expect("a command")
    }

    #[test]
    fn scripts_that_are_named_relative_to_here_go_along() {
        let dir = tempfile::Builder::new().prefix("code-").tempdir_in(".").expect("a directory");
        let path = format!("{}/map.py", dir.path().file_name().expect("a name").to_string_lossy());
        std::fs::write(&path, "#!/usr/bin/env python3\n").expect("written");
        let direct = code(&["--mapper", &format!("./{path} -v"), "--reducer", "sort -u"]).expect("code");
        let made = direct.step.command.expect("a command");
        assert_eq!(made.mapper.expect("one"), ["./map.py", "-v"]);
        assert_eq!(made.reducer.expect("one"), ["sort", "-u"]);
        assert_eq!((made.files.len(), direct.name.as_str(), direct.pack.locals.len()), (1, "map.py", 1));
        let by_interpreter = command(&["--mapper", &format!("python3 -u {path} x")]);
        assert_eq!(by_interpreter.mapper.expect("one"), ["python3", "-u", "map.py", "x"]);
        assert_eq!(by_interpreter.files, made.files);
        let renamed = command(&["--mapper", "./m --fast", "--file", &format!("{path}#m")]);
        assert_eq!((renamed.mapper.expect("one")[0].as_str(), renamed.files[0].name.as_str()), ("./m", "m"));
        let inline = command(&["--mapper", &format!("sh -c ./{path}")]);
        assert_eq!(inline.files, []);
        let error = code(&["--mapper", "./no/such.py"]).expect_err("missing").to_string();
        assert!(error.contains("no such file: ./no/such.py (from /"), "{error}");
    }

    #[test]
    fn flags_become_the_words_of_the_spec() {
        let made = command(&["--mapper", "cat", "--separator", ",", "--key-fields", "2", "--partition-by", "-k1,1"]);
        assert_eq!((made.streaming.map_output_separator.as_str(), made.streaming.map_output_key_fields), (",", 2));
        let fields = Partition::Fields { options: "-k1,1".into(), separator: ",".into() };
        assert_eq!(made.streaming.partition, fields);
        let made = command(&["--mapper", "cat", "--env", "A=b=c", "--command-memory", "64M", "--order", "-nr"]);
        assert_eq!((made.env["A"].as_str(), made.memory_bytes), ("b=c", Some(64 << 20)));
        assert_eq!(made.streaming.order, Order::Fields { options: "-nr".into(), separator: "\t".into() });
        assert!(code(&["--mapper", "cat", "--env", "A"]).is_err());
        let each = command(&["--each-line", "echo {}"]).mapper.expect("one");
        assert!(each[2].contains("'echo' \"$GRISTMILL_LINE\" </dev/null"), "{each:?}");
    }
}
