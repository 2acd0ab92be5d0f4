//! The command line behind `hadoop jar …streaming.jar`, read and not yet understood.
//!
//! Generic options (`-D`, `-files`, …) may stand anywhere, though Hadoop wants them first.

use std::collections::BTreeMap;

/// What was asked for, option by option.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Options {
    pub(super) inputs: Vec<String>,
    pub(super) output: Option<String>,
    pub(super) mapper: Option<String>,
    pub(super) combiner: Option<String>,
    pub(super) reducer: Option<String>,
    pub(super) shipped: Vec<Shipped>,
    pub(super) input_format: Option<String>,
    pub(super) output_format: Option<String>,
    pub(super) partitioner: Option<String>,
    pub(super) io: Option<String>,
    /// Of `-D` and `-jobconf`, the later winning.
    pub(super) properties: BTreeMap<String, String>,
    /// Files of properties (`-conf`), which `-D` overrides.
    pub(super) conf_files: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) background: bool,
    pub(super) verbose: bool,
    pub(super) help: bool,
    /// What is taken and has no meaning here.
    pub(super) warnings: Vec<String>,
}

/// A file or archive that goes to the tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shipped {
    /// A path of this machine or of the store.
    pub(super) source: String,
    /// Whether a source without a scheme is in the store (`-cacheFile`) or of this machine.
    pub(super) in_store: bool,
    /// Its name in the working directory.
    pub(super) name: String,
    /// Whether it is unpacked.
    pub(super) archive: bool,
}

impl Options {
    /// Reads the arguments.
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let name = option.strip_prefix("--").or_else(|| option.strip_prefix('-'));
            let Some(name) = name else { return Err(format!("Unexpected {option} while processing the options")) };
            if options.switch(name) {
                continue;
            }
            if let Some(property) = name.strip_prefix('D').filter(|property| property.contains('=')) {
                options.property(property)?;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("Missing argument for option: {name}"))?;
            options.set(name, value)?;
        }
        Ok(options)
    }

    /// Takes an option without a value.
    fn switch(&mut self, name: &str) -> bool {
        match name {
            "background" => self.background = true,
            "verbose" => self.verbose = true,
            "help" | "info" | "h" => self.help = true,
            "debug" => {}
            "lazyOutput" => self.warn("-lazyOutput: parts that are empty are written all the same"),
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let owned = || Some(value.to_owned());
        match name {
            "input" => self.inputs.push(value.to_owned()),
            "output" => self.output = owned(),
            "mapper" => self.mapper = owned(),
            "combiner" => self.combiner = owned(),
            "reducer" => self.reducer = owned(),
            "numReduceTasks" => drop(self.properties.insert("mapreduce.job.reduces".to_owned(), value.to_owned())),
            "file" => self.ship(value, false, false)?,
            "files" => value.split(',').try_for_each(|file| self.ship(file, false, false))?,
            "archives" => value.split(',').try_for_each(|file| self.ship(file, false, true))?,
            "cacheFile" => self.ship(value, true, false)?,
            "cacheArchive" => self.ship(value, true, true)?,
            "inputformat" => self.input_format = owned(),
            "outputformat" => self.output_format = owned(),
            "partitioner" => self.partitioner = owned(),
            "io" => self.io = owned(),
            "D" | "jobconf" => self.property(value)?,
            "conf" => self.conf_files.push(value.to_owned()),
            "cmdenv" => {
                let (name, value) = pair("cmdenv", value)?;
                self.env.insert(name, value);
            }
            "libjars" => {
                self.warn("-libjars: no Java class is loaded here; an option that names one of its own is refused");
            }
            "mapdebug" | "reducedebug" => {
                self.warn(&format!("-{name}: no debug script runs; `gristmill job logs` has what a task wrote"));
            }
            "fs" | "jt" | "dfs" => self.warn(&format!("-{name}: the coordinator is the one of GRISTMILL_URL")),
            "inputreader" => {
                return Err("-inputreader: record readers are Java classes; lines are what is read here".to_owned());
            }
            _ => return Err(format!("Unrecognized option: -{name}")),
        }
        Ok(())
    }

    fn property(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = pair("D", text)?;
        self.properties.insert(name, value);
        Ok(())
    }

    fn ship(&mut self, text: &str, in_store: bool, archive: bool) -> Result<(), String> {
        let (source, name) = text.rsplit_once('#').unwrap_or((text, ""));
        let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = if name.is_empty() { last } else { name };
        if name.is_empty() || name.contains('/') {
            return Err(format!("`{text}`: a file has one name in the working directory, behind `#`"));
        }
        let shipped = Shipped { source: source.to_owned(), in_store, name: name.to_owned(), archive };
        if self.shipped.contains(&shipped) {
            return Ok(());
        }
        if self.shipped.iter().any(|other| other.name == shipped.name) {
            return Err(format!(
                "`{}` would be the name of two files in the working directory; use `#name`",
                shipped.name
            ));
        }
        self.shipped.push(shipped);
        Ok(())
    }

    fn warn(&mut self, what: &str) {
        self.warnings.push(what.to_owned());
    }
}

fn pair(option: &str, text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("-{option} {text}: a name, `=` and a value are expected")),
    }
}
