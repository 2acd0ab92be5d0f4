//! Command lines that users give in one argument: split into words as a POSIX shell would, but no shell runs them.
//!
//! `--each-line` is one of them with a hole: `{}` is where the line goes.

use anyhow::Result;
use gristmill_common::command_line::CommandLineError;
use gristmill_common::{Backslash, split_command_line};

use super::exit::Usage;

/// What people expect a shell to do, written as a word of its own.
const OPERATORS: [&str; 9] = ["|", "||", "&&", "&", ";", "<", ">", ">>", "2>&1"];

/// Where the line goes.
const HOLE: &str = "{}";

/// Splits a command line; `flag` names where it came from.
///
/// # Errors
/// If a quote does not end, there is no word, or it needs a shell.
pub fn split(flag: &str, text: &str) -> Result<Vec<String>> {
    let words = split_command_line(text, Backslash::Shell).map_err(|error| match error {
        CommandLineError::Empty => {
            Usage(format!("{flag} is empty: give a program and its arguments, such as './mapper.py'"))
        }
        error => Usage(format!("{flag} {text:?}: {error}")),
    })?;
    let bare =
        |operator: &&&str| words.iter().any(|word| word == **operator) && text.split(' ').any(|w| w == **operator);
    if let Some(operator) = OPERATORS.iter().find(bare) {
        let why = "no shell reads it: put the line into a script, or write sh -c '…'";
        return Err(Usage(format!("{flag} {text:?} has `{operator}`, and {why}")).into());
    }
    Ok(words)
}

/// Makes the mapper that runs a command once for every line it is given.
///
/// The loop is the shell's, whose `read -r` takes a line as it is; the line is only ever the value of a quoted variable,
/// so that nothing in it is code. Where no word has `{}`, the line is the last argument. It is `$GRISTMILL_LINE` too.
#[must_use]
pub fn each_line(words: &[String]) -> Vec<String> {
    let mut command: Vec<String> = words.iter().map(|word| with_line(word)).collect();
    if !words.iter().any(|word| word.contains(HOLE)) {
        command.push(with_line(HOLE));
    }
    let script = format!(
        "while IFS= read -r GRISTMILL_LINE || [ -n \"$GRISTMILL_LINE\" ]; do export GRISTMILL_LINE; {} </dev/null || exit; done",
        command.join(" ")
    );
    ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
}

/// Quotes a word for the shell, but for its holes.
fn with_line(word: &str) -> String {
    let quoted =
        |text: &str| if text.is_empty() { String::new() } else { format!("'{}'", text.replace('\'', "'\\''")) };
    let pieces: Vec<String> = word.split(HOLE).map(quoted).collect();
    let whole = pieces.join("\"$GRISTMILL_LINE\"");
    if whole.is_empty() { "''".to_owned() } else { whole }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn words_are_what_a_shell_makes_of_them() {
        let words = split("--mapper", r#"./map.py -x "a b" 'c | d' e\ f"#).expect("split");
        assert_eq!(words, ["./map.py", "-x", "a b", "c | d", "e f"]);
        assert_eq!(
            split("--mapper", "cut -d '|' -f 2").expect("a quoted bar is a word"),
            ["cut", "-d", "|", "-f", "2"]
        );
        for (text, part) in [("'open", "quote"), ("  ", "empty"), ("sort | uniq -c", "sh -c"), ("a > b", "sh -c")] {
            let error = split("--mapper", text).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("--mapper"), "{error}");
        }
    }

    fn lines(command: &str, input: &[u8]) -> (String, Option<i32>) {
        let argv = each_line(&split("--each-line", command).expect("split"));
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        child.stdin.take().expect("piped").write_all(input).expect("written");
        let output = child.wait_with_output().expect("ended");
        (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code())
    }

    #[test]
    fn every_line_is_one_argument_whatever_is_in_it() {
        let hostile = b"a b\n$(touch x) `id` \"q\" 'p'\n  spaces \n\\n*\n-n\nlast";
        let (printed, code) = lines("printf '<%s>\\n'", hostile);
        assert_eq!(printed, "<a b>\n<$(touch x) `id` \"q\" 'p'>\n<  spaces >\n<\\n*>\n<-n>\n<last>\n");
        assert_eq!(code, Some(0));
        let (printed, _) = lines("printf '%s-%s|' {} \"it's {}.png\" ", b"a\n\nb\n");
        assert_eq!(printed, "a-it's a.png|-it's .png|b-it's b.png|", "an empty line is a line");
        let (printed, _) = lines("sh -c 'cat; echo $GRISTMILL_LINE'", b"a\nb\n");
        assert_eq!(printed, "a\nb\n", "a command cannot eat the lines behind its own");
    }

    #[test]
    fn the_first_line_that_fails_ends_it_with_its_code() {
        let (printed, code) = lines("sh -c 'echo $1; exit $1' sh {}", b"0\n7\n0\n");
        assert_eq!((printed.as_str(), code), ("0\n7\n", Some(7)));
        assert_eq!(lines("true", b""), (String::new(), Some(0)));
    }
}
