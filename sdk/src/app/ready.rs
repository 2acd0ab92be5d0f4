//! Ready-made jobs with flags of their own: `run sort -k2n FILE`, and a `--help` that teaches the job.
//!
//! The words behind the job's name are read by a command line that has the job's flags and those of `run` or `submit`. What
//! they say becomes a step; a spec in JSON can say the same.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Args, Command};
use gristmill_common::format::InputFormat;
use gristmill_common::spec::{LEFT, RIGHT, StepSpec};

use super::exit::Usage;
use super::job_args::JobArgs;
use super::run::RunArgs;
use super::submit::SubmitArgs;
use crate::jobs::flags::{self, Flags};

/// A command line that names such a job.
pub enum Line {
    /// `run JOB …`
    Run(Box<RunArgs>),
    /// `submit JOB …`
    Submit(Box<SubmitArgs>),
}

/// A job with flags.
pub(crate) struct Ready {
    pub(crate) name: &'static str,
    about: &'static str,
    examples: &'static str,
    usage: Option<&'static str>,
    augment: fn(Command) -> Command,
    made: fn(&ArgMatches, &InputFormat) -> Result<Made, clap::Error>,
}

/// What the flags ask for.
struct Made {
    steps: Vec<StepSpec>,
    /// What the inputs are joined with.
    right: Vec<String>,
}

impl Ready {
    pub(crate) const fn of<F: Flags>() -> Self {
        Self {
            name: F::NAME,
            about: F::ABOUT,
            examples: F::EXAMPLES,
            usage: F::USAGE,
            augment: F::augment_args,
            made: |matches, format| {
                let flags = F::from_arg_matches(matches)?;
                let wrong = |why| clap::Error::raw(clap::error::ErrorKind::ValueValidation, why + "\n");
                Ok(Made { steps: flags.steps(format).map_err(wrong)?, right: flags.right().to_vec() })
            },
        }
    }
}

/// Command lines that take such a job.
trait Verb: Args {
    const WORD: &'static str;

    fn job(&mut self) -> &mut JobArgs;
}

impl Verb for RunArgs {
    const WORD: &'static str = "run";

    fn job(&mut self) -> &mut JobArgs {
        &mut self.job
    }
}

impl Verb for SubmitArgs {
    const WORD: &'static str = "submit";

    fn job(&mut self) -> &mut JobArgs {
        &mut self.job
    }
}

/// Flags that say what to run: the first word behind them is an input, whatever it is called.
const CODE: [&str; 8] =
    ["mapper", "reducer", "combiner", "each_line", "mapper_wasm", "reducer_wasm", "combiner_wasm", "spec"];

/// Reads `PROGRAM run JOB …` or `PROGRAM submit JOB …` where the job has flags; `None` for any other line.
///
/// # Errors
/// What is wrong with it, or its help.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Option<Result<Line, clap::Error>> {
    let mut words = words.into_iter();
    let (_, verb) = (words.next()?, words.next()?);
    let words: Vec<OsString> = words.collect();
    if verb == RunArgs::WORD {
        return Some(parse_as(find::<RunArgs>(&words)?, words).map(|args| Line::Run(Box::new(args))));
    }
    if verb == SubmitArgs::WORD {
        return Some(parse_as(find::<SubmitArgs>(&words)?, words).map(|args| Line::Submit(Box::new(args))));
    }
    None
}

/// Finds the job that is named, which may stand behind flags of any kind, and where its name is.
fn find<V: Verb>(words: &[OsString]) -> Option<(&'static Ready, usize)> {
    let named = flags::READY.iter().filter(|ready| words.iter().any(|word| word == ready.name));
    named.into_iter().find_map(|ready| {
        let at = first_word(&command::<V>(ready), words)?;
        words.get(at).is_some_and(|word| word == ready.name).then_some((ready, at))
    })
}

/// Returns where the first word is that is no flag and no value of one; `None` where that cannot be told.
fn first_word(command: &Command, words: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let text = word.to_string_lossy();
        let Some(flag) = text.strip_prefix('-').filter(|flag| !flag.is_empty()) else { return Some(at) };
        let takes_next = match flag.strip_prefix('-') {
            Some(long) => {
                let name = long.split('=').next().unwrap_or(long);
                let arg = command.get_arguments().find(|arg| is_long(arg, name))?;
                takes_value(arg)? && !long.contains('=')
            }
            None => short_takes_next(command, flag)?,
        };
        at += 1 + usize::from(takes_next);
    }
    None
}

/// Says whether the value of the last of some short flags is the next word.
fn short_takes_next(command: &Command, flags: &str) -> Option<bool> {
    for (index, flag) in flags.char_indices() {
        let arg = command.get_arguments().find(|arg| {
            arg.get_short() == Some(flag) || arg.get_all_short_aliases().is_some_and(|all| all.contains(&flag))
        })?;
        if takes_value(arg)? {
            return Some(index + flag.len_utf8() == flags.len());
        }
    }
    Some(false)
}

fn is_long(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
}

/// Says whether a flag has a value; `None` for one that says what to run, or takes as many words as there are.
fn takes_value(arg: &Arg) -> Option<bool> {
    let takes_all = arg.get_num_args().is_some_and(|count| count.max_values() > 1);
    (!takes_all && !CODE.contains(&arg.get_id().as_str())).then(|| arg.get_action().takes_values())
}

fn parse_as<V: Verb>((ready, at): (&Ready, usize), mut words: Vec<OsString>) -> Result<V, clap::Error> {
    words.remove(at);
    let mut command = command::<V>(ready);
    let matches = command.try_get_matches_from_mut(words)?;
    let mut args = V::from_arg_matches(&matches)?;
    let job = args.job();
    let wrong = |Usage(why)| clap::Error::raw(clap::error::ErrorKind::ValueValidation, why + "\n");
    let made = job.format.format().map_err(wrong).and_then(|format| (ready.made)(&matches, &format));
    let made = made.map_err(|error| error.format(&mut command))?;
    if !made.right.is_empty() {
        if job.words.is_empty() && job.tagged.is_empty() {
            let hint = "every word behind --with is of the right one: join LEFT… --with RIGHT…";
            return Err(wrong(Usage(format!("the left input is missing; {hint}"))).format(&mut command));
        }
        let tagged = |tag: &str, words: Vec<String>| words.into_iter().map(|word| (tag.to_owned(), word)).collect();
        let sides: [Vec<_>; 2] = [tagged(LEFT, std::mem::take(&mut job.words)), tagged(RIGHT, made.right)];
        job.tagged.splice(0..0, sides.concat());
    }
    job.words.insert(0, ready.name.to_owned());
    job.steps = Some(made.steps);
    Ok(args)
}

fn command<V: Verb>(ready: &Ready) -> Command {
    let name = format!("gristmill {} {}", V::WORD, ready.name);
    let command = Command::new(ready.name).bin_name(&name).no_binary_name(true);
    let command = match ready.usage {
        Some(usage) => command.override_usage(format!("{name} {usage}")),
        None => command,
    };
    let command = V::augment_args((ready.augment)(command).next_help_heading("The job"));
    // Code of one's own, and arguments by `-a`, have no place here.
    let hidden = |arg: &Arg| {
        let code = arg.get_help_heading().is_some_and(|heading| ["Any executable", "WebAssembly"].contains(&heading));
        code || ["spec", "args", "tagged", "map_only", "generate", "split_records"].contains(&arg.get_id().as_str())
    };
    command
        .mut_args(move |arg| if hidden(&arg) { arg.hide(true) } else { arg })
        .mut_arg("words", |arg| {
            let help = "What to read: files, directories, globs in quotes, URLs, or `-` for standard input";
            arg.value_name("INPUT").help(help).help_heading("Arguments")
        })
        .about(ready.about)
        .after_help(ready.examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(line: &str) -> Vec<StepSpec> {
        let words = line.split(' ').map(OsString::from);
        match parse(words).expect("a job with flags").unwrap_or_else(|error| panic!("{line}: {error}")) {
            Line::Run(mut args) => args.job().steps.take().expect("steps"),
            Line::Submit(mut args) => args.job().steps.take().expect("steps"),
        }
    }

    #[test]
    fn the_command_lines_are_consistent_and_teach() {
        for ready in flags::READY {
            command::<RunArgs>(ready).debug_assert();
            command::<SubmitArgs>(ready).debug_assert();
            let help = command::<RunArgs>(ready).render_help().to_string();
            assert!(help.contains("Examples:") && !help.contains("--mapper") && !help.contains("--wasm"), "{help}");
        }
    }

    #[test]
    fn flags_of_jobs_stand_among_those_of_the_command() {
        let order =
            steps("gristmill run sort --quiet -k2,2n -t , in.csv -o out.csv").remove(0).order.expect("an order");
        let json = serde_json::json!({ "key": { "fields": { "options": "-k2,2n", "separator": "," } } });
        assert_eq!(serde_json::to_value(order).expect("JSON"), json);
        let order = steps("gristmill submit sort -r --key-bytes 10 in").remove(0).order.expect("an order");
        assert_eq!(
            serde_json::to_value(order).expect("JSON"),
            serde_json::json!({ "key": { "bytes": 10 }, "reverse": true })
        );
        let order = steps("gristmill run sort --input-format csv --header -k name -k 2,3 -n in").remove(0).order;
        let columns = serde_json::json!([
            { "name": "name", "numeric": true }, { "number": 2, "numeric": true }, { "number": 3, "numeric": true }
        ]);
        assert_eq!(serde_json::json!(order), serde_json::json!({ "key": { "columns": columns } }));
        let wrong = |line: &str| {
            let parsed = parse(line.split(' ').map(OsString::from)).expect("a job with flags");
            parsed.err().expect(line).to_string()
        };
        assert!(wrong("gristmill run sort -k name in").contains("no field of this input has a name"));
        assert!(wrong("gristmill run sort --input-format ndjson -n in").contains("which column"));
        assert!(wrong("gristmill run sort --input-format csv -t ; -k a in").contains("--delimiter"));
        assert!(wrong("gristmill run sort --header in").contains("--input-format csv"));
        let words = |line: &str| parse(line.split(' ').map(OsString::from)).is_some();
        assert!(!words("gristmill run word-count in") && !words("gristmill job sort in") && !words("gristmill"));
        let wrong = parse("gristmill run sort -k0 in".split(' ').map(OsString::from)).expect("sort");
        assert!(wrong.err().expect("no field 0").to_string().contains("-k0"));
    }
    #[test]
    fn flags_may_stand_before_the_name() {
        let expected = steps("gristmill run sort -n -k 2 f");
        for line in ["--memory 512M sort -n -k 2 f", "--memory=512M -q -nk 2 sort f", "-qnk2 --slots 2 sort -o out f"] {
            let line = format!("gristmill run {line}");
            assert_eq!(steps(&line), expected, "{line}");
        }
        steps("gristmill submit --detach --priority -5 top-k f");
        let is_other = |line: &str| parse(line.split(' ').map(OsString::from)).is_none();
        for line in ["--mapper cat sort", "--spec sort", "word-count sort", "-o sort word-count f", "--colour sort f"] {
            assert!(is_other(&format!("gristmill run {line}")), "{line}");
        }
    }

    #[test]
    fn every_job_takes_both_letters_for_the_separator() {
        for line in ["sort -k2 -t , f", "distinct -f 2 -t , f", "count-by-field -t , f", "top-k -t , f"] {
            let (line, other) = (format!("gristmill run {line}"), line.replace("-t", "-d"));
            assert_eq!(steps(&line), steps(&format!("gristmill run {other}")), "{line}");
        }
        for ready in flags::READY {
            let help = command::<RunArgs>(ready).render_help().to_string();
            assert!(help.contains("-t, --field-separator"), "{help}");
        }
    }

    #[test]
    fn a_join_says_which_input_is_left() {
        let missing = parse("gristmill run join --with b a".split(' ').map(OsString::from)).expect("join");
        let missing = missing.err().expect("no left input").to_string();
        assert!(missing.contains("join LEFT… --with RIGHT…"), "{missing}");
        let join = flags::READY.iter().find(|ready| ready.name == "join").expect("it is there");
        let help = command::<RunArgs>(join).render_help().to_string();
        assert!(help.contains("join [OPTIONS] <LEFT>... --with <RIGHT>..."), "{help}");
    }

    #[test]
    fn columns_are_sought_by_the_planner() {
        let sought = |line: &str| serde_json::json!(steps(&format!("gristmill run {line}"))[0].columns);
        let csv = "--input-format csv --header";
        let columns = serde_json::json!([{ "name": "country" }, { "number": 2 }]);
        assert_eq!(sought(&format!("distinct {csv} -f country,2 in")), columns);
        assert_eq!(sought(&format!("count-by-field {csv} -f country,2 --top 3 in")), columns);
        assert_eq!(sought(&format!("top-k {csv} -f n in")), serde_json::json!([{ "name": "n" }]));
        assert_eq!(sought("distinct -f 2 in"), serde_json::json!([]));
    }
}
