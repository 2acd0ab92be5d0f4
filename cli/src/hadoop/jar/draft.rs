//! From options to a job: everything that can be known without a coordinator or a file.

use std::fmt::Display;

use gristmill_common::program::{Command, InputForm, Order, Partition, Streaming};
use gristmill_common::spec::{JobSpec, StepSpec};
use gristmill_common::{Backslash, limits, split_command_line};

use super::classes::{self, Class};
use super::options::{Options, Shipped};
use super::properties::Properties;
use crate::hadoop::place::{Place, Where, alternatives};

/// A job that lacks its inputs' URLs and its bundles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Draft {
    /// The job, without inputs.
    pub(super) spec: JobSpec,
    /// What it reads, in order.
    pub(super) inputs: Vec<Where>,
    /// Where its output goes: a directory.
    pub(super) output: Place,
    /// What its tasks find in their working directory, and where that is now.
    pub(super) shipped: Vec<(Shipped, Where)>,
    /// What is taken and has no meaning here.
    pub(super) warnings: Vec<String>,
}

/// Longest time without progress that a spec takes, in milliseconds: Hadoop's 0 means never.
const TIMEOUT_MAX_MS: u64 = 7 * 24 * 3_600_000;

/// Makes a job of the options; `user` is whose home relative paths are in.
pub(super) fn draft(options: &Options, properties: &Properties, user: &str) -> Result<Draft, String> {
    let input_property = properties.text("mapreduce.input.fileinputformat.inputdir").map(str::to_owned);
    let inputs = if options.inputs.is_empty() { input_property.into_iter().collect() } else { options.inputs.clone() };
    if inputs.is_empty() {
        return Err("Required argument: -input <name>".to_owned());
    }
    let inputs = inputs.iter().flat_map(|input| paths(input));
    let inputs = inputs.map(|path| Where::parse(&path, user)).collect::<Result<Vec<_>, _>>()?;
    let mut draft = Draft {
        spec: JobSpec::new(name(properties), Vec::new(), Vec::new()),
        inputs,
        output: output(options, properties, user)?,
        shipped: options
            .shipped
            .iter()
            .map(|file| Ok((file.clone(), source(file, user)?)))
            .collect::<Result<_, String>>()?,
        warnings: options.warnings.clone(),
    };
    let mut step = step(options, properties)?;
    if let Some(command) = &mut step.command {
        command.properties.clone_from(properties.all());
        command.properties.entry("mapreduce.job.name".to_owned()).or_insert_with(|| draft.spec.name.clone());
    }
    draft.spec.steps = vec![step];
    draft.spec.output.url = Some(format!("{}/", draft.output.literal_url()));
    policies(&mut draft.spec, options, properties)?;
    draft.warnings.extend(ignored(properties));
    Ok(draft)
}

/// Splits a list of paths at commas that are not inside of `{…}`.
fn paths(list: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let parts = list.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth <= 0
    });
    parts.filter(|part| !part.is_empty()).flat_map(alternatives).collect()
}

fn name(properties: &Properties) -> String {
    let name: String = properties.text("mapreduce.job.name").unwrap_or("streamjob.jar").chars().take(200).collect();
    let name = name.replace(char::is_control, " ");
    if name.trim().is_empty() { "streamjob.jar".to_owned() } else { name }
}

fn output(options: &Options, properties: &Properties, user: &str) -> Result<Place, String> {
    let output = options.output.as_deref().or(properties.text("mapreduce.output.fileoutputformat.outputdir"));
    match Where::parse(output.ok_or("Required argument: -output <name>")?, user)? {
        Where::Store(place) if place.names.is_empty() => Err("-output: the root is no place for an output".to_owned()),
        Where::Store(place) => Ok(place),
        Where::Local(path) => Err(format!(
            "-output file://{}: the coordinator has no access to files of this machine; write to an hdfs:// path and \
             fetch it with `hadoop fs -get`",
            path.display()
        )),
    }
}

/// Says where a file for the tasks is: of this machine unless it has a scheme or was said to be in the store.
fn source(file: &Shipped, user: &str) -> Result<Where, String> {
    if file.in_store || file.source.contains(":/") {
        return Where::parse(&file.source, user);
    }
    Ok(Where::Local(file.source.clone().into()))
}

fn step(options: &Options, properties: &Properties) -> Result<StepSpec, String> {
    if let Some(io) = options.io.as_deref().filter(|io| *io != "text") {
        return Err(format!("-io {io}: only `text` is built; typed and raw bytes are not"));
    }
    let none = options.reducer.as_deref() == Some("NONE");
    let reduces = properties.number("mapreduce.job.reduces")?.unwrap_or(1);
    let is_map_only = none || reduces == 0;
    let program = |option: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(None),
        Some("NONE") if option == "reducer" => Ok(None),
        Some(text) => command(option, text, &options.shipped),
    };
    let mut command = Command {
        mapper: program("mapper", &options.mapper)?,
        combiner: program("combiner", &options.combiner)?,
        reducer: if is_map_only { None } else { program("reducer", &options.reducer)? },
        env: options.env.clone(),
        streaming: streaming(options, properties)?,
        ..Command::default()
    };
    if is_map_only {
        command.combiner = None;
    }
    if command.mapper.is_none() && command.reducer.is_none() {
        command.mapper = Some(vec!["cat".to_owned()]);
    }
    let megabytes = ["mapreduce.map.memory.mb", "mapreduce.reduce.memory.mb"];
    let megabytes = megabytes.iter().map(|name| properties.number(name)).collect::<Result<Vec<_>, _>>()?;
    command.memory_bytes = megabytes.into_iter().flatten().max().filter(|most| *most > 0).map(|most| most << 20);
    let mut step = StepSpec::command(command);
    step.reduce = !is_map_only;
    if step.reduce {
        step.partitions = Some(u32::try_from(reduces).unwrap_or(u32::MAX));
    }
    Ok(step)
}

/// Reads a program: a class that is known, or a command whose program is called by its name if it was shipped.
fn command(option: &str, text: &str, shipped: &[Shipped]) -> Result<Option<Vec<String>>, String> {
    match classes::find(text) {
        Some(Class::IdentityMapper) if option == "mapper" => return Ok(None),
        Some(Class::IdentityReducer) if option != "mapper" => return Ok(None),
        _ if classes::is_java(text) => {
            return Err(classes::unknown(option, text, "IdentityMapper and IdentityReducer"));
        }
        _ => {}
    }
    let words = split_command_line(text, Backslash::Hadoop);
    let mut words = words.map_err(|error| format!("-{option} `{text}`: {error}"))?;
    if let Some(file) = shipped.iter().find(|file| !file.archive && file.source == words[0]) {
        words[0].clone_from(&file.name);
    }
    Ok(Some(words))
}

fn streaming(options: &Options, properties: &Properties) -> Result<Streaming, String> {
    let mut streaming = Streaming { partition: Partition::Java, ..Streaming::default() };
    let texts = [
        ("stream.map.input.field.separator", &mut streaming.map_input_separator),
        ("stream.map.output.field.separator", &mut streaming.map_output_separator),
        ("stream.reduce.input.field.separator", &mut streaming.reduce_input_separator),
        ("stream.reduce.output.field.separator", &mut streaming.reduce_output_separator),
        ("mapreduce.output.textoutputformat.separator", &mut streaming.output_separator),
    ];
    for (name, separator) in texts {
        if let Some(text) = properties.text(name) {
            text.clone_into(separator);
        }
    }
    let counts = [
        ("stream.num.map.output.key.fields", &mut streaming.map_output_key_fields),
        ("stream.num.reduce.output.key.fields", &mut streaming.reduce_output_key_fields),
    ];
    for (name, fields) in counts {
        if let Some(count) = properties.number(name)? {
            *fields = u32::try_from(count).unwrap_or(u32::MAX);
        }
    }
    streaming.input = input(options, properties)?;
    streaming.partition = partition(options, properties)?;
    streaming.order = order(properties)?;
    streaming.ignore_exit_code = properties.flag("stream.non.zero.exit.is.failure") == Some(false);
    streaming.strict = properties.flag("gristmill.strict") == Some(true);
    if let Some(format) = &options.output_format
        && classes::find(format) != Some(Class::TextOutput)
    {
        return Err(classes::unknown("outputformat", format, "TextOutputFormat"));
    }
    Ok(streaming)
}

fn input(options: &Options, properties: &Properties) -> Result<InputForm, String> {
    let format = options.input_format.as_deref().unwrap_or("TextInputFormat");
    let without_key = properties.flag("stream.map.input.ignoreKey");
    match classes::find(format) {
        Some(Class::TextInput) if without_key == Some(false) => Ok(InputForm::OffsetLine),
        Some(Class::TextInput) => Ok(InputForm::Line),
        Some(Class::NLineInput) if without_key == Some(true) => Ok(InputForm::Line),
        Some(Class::NLineInput) => Ok(InputForm::OffsetLine),
        Some(Class::KeyValueInput) => {
            let separator = properties.text("mapreduce.input.keyvaluelinerecordreader.key.value.separator");
            match separator {
                None | Some("\t") => Ok(InputForm::KeyValue),
                Some(other) => {
                    Err(format!("KeyValueTextInputFormat is built for tabs only, not for `{other}` as separator"))
                }
            }
        }
        _ => Err(classes::unknown(
            "inputformat",
            format,
            "TextInputFormat, KeyValueTextInputFormat and NLineInputFormat",
        )),
    }
}

fn partition(options: &Options, properties: &Properties) -> Result<Partition, String> {
    let named = options.partitioner.as_deref().or(properties.text("mapreduce.job.partitioner.class"));
    let Some(name) = named else { return Ok(Partition::Java) };
    match classes::find(name) {
        Some(Class::HashPartitioner) => Ok(Partition::Java),
        Some(Class::FieldPartitioner) => {
            let fields = properties.number("num.key.fields.for.partition")?.map(|count| format!("-k1,{count}"));
            let options = properties.text("mapreduce.partition.keypartitioner.options").map(str::to_owned);
            let options = options.filter(|options| !options.trim().is_empty()).or(fields);
            // Without options the whole key counts.
            let options = options.unwrap_or_else(|| "-k1".to_owned());
            Ok(Partition::Fields { options, separator: field_separator(properties) })
        }
        _ => Err(classes::unknown("partitioner", name, "HashPartitioner and KeyFieldBasedPartitioner")),
    }
}

fn order(properties: &Properties) -> Result<Order, String> {
    let name = "mapreduce.job.output.key.comparator.class";
    let Some(class) = properties.text(name) else { return Ok(Order::Bytes) };
    match classes::find(class) {
        Some(Class::BytesComparator) => Ok(Order::Bytes),
        Some(Class::FieldComparator) => {
            let options = properties.text("mapreduce.partition.keycomparator.options").unwrap_or_default().to_owned();
            if options.trim().is_empty() {
                return Ok(Order::Bytes);
            }
            Ok(Order::Fields { options, separator: field_separator(properties) })
        }
        _ => Err(classes::unknown(&format!("D {name}"), class, "KeyFieldBasedComparator")),
    }
}

fn field_separator(properties: &Properties) -> String {
    properties.text("mapreduce.map.output.key.field.separator").unwrap_or("\t").to_owned()
}

/// Sets what is about the job and not about its bytes.
fn policies(spec: &mut JobSpec, options: &Options, properties: &Properties) -> Result<(), String> {
    let attempts = ["mapreduce.map.maxattempts", "mapreduce.reduce.maxattempts"];
    let attempts = attempts.iter().map(|name| properties.number(name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(most) = attempts.into_iter().flatten().max() {
        spec.attempts = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, limits::ATTEMPTS_MAX);
    }
    if let Some(timeout_ms) = properties.number("mapreduce.task.timeout")? {
        spec.progress_timeout_ms = if timeout_ms == 0 { TIMEOUT_MAX_MS } else { timeout_ms.clamp(100, TIMEOUT_MAX_MS) };
    }
    if let Some(bytes) = properties.number("mapreduce.input.fileinputformat.split.maxsize")? {
        spec.split.bytes = Some(bytes.max(limits::SPLIT_FLOOR_BYTES));
    }
    if options.input_format.as_deref().and_then(classes::find) == Some(Class::NLineInput) {
        spec.split.lines = Some(properties.number("mapreduce.input.lineinputformat.linespermap")?.unwrap_or(1).max(1));
    }
    let off = |name| properties.flag(name) == Some(false);
    if off("mapreduce.map.speculative") && off("mapreduce.reduce.speculative") {
        spec.backups = false;
    }
    spec.priority = match properties.text("mapreduce.job.priority") {
        Some("VERY_HIGH") => 200,
        Some("HIGH") => 100,
        Some("LOW") => -100,
        Some("VERY_LOW") => -200,
        _ => 0,
    };
    Ok(())
}

/// Names what is set and has no effect that its user would miss silently.
fn ignored(properties: &Properties) -> Vec<String> {
    let note = |name: &str, why: &dyn Display| format!("-D {name}: {why}");
    let mut notes = Vec::new();
    let compress = "mapreduce.output.fileoutputformat.compress";
    if properties.flag(compress) == Some(true) {
        notes.push(note(compress, &"outputs are not compressed: parts are plain text"));
    }
    for name in ["mapreduce.map.failures.maxpercent", "mapreduce.reduce.failures.maxpercent"] {
        if properties.text(name).is_some_and(|text| text.trim() != "0") {
            notes.push(note(name, &"a task that fails for good fails the job"));
        }
    }
    for name in ["mapreduce.map.skip.maxrecords", "mapreduce.reduce.skip.maxgroups"] {
        if properties.text(name).is_some() {
            notes.push(note(name, &"bad records are not skipped here; a job spec has `on_bad_record`"));
        }
    }
    notes
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
