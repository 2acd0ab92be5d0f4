//! Splits a command line into arguments as Hadoop Streaming and POSIX shells do, without a shell.

/// Why a command line cannot be split.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandLineError {
    /// A quote is opened and never closed.
    #[error("the quote that is opened at byte {0} is never closed")]
    OpenQuote(usize),
    /// The line ends in a backslash.
    #[error("the line ends in a backslash")]
    Backslash,
    /// There is no word in it.
    #[error("the command line is empty")]
    Empty,
}

/// What a backslash quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backslash {
    /// As in a POSIX shell: any character outside of quotes; within `"…"` one of `"`, `\`, `$` and a backquote.
    Shell,
    /// Hadoop Streaming knows no backslash, and mrjob writes `'\''`: quotes, spaces and `\` outside of quotes, `"` within
    /// `"…"`. `awk -F\t` stays what it is.
    Hadoop,
}

impl Backslash {
    fn quotes(self, c: char, within: bool) -> bool {
        match (self, within) {
            (Self::Shell, false) => true,
            (Self::Shell, true) => "\"\\$`".contains(c),
            (Self::Hadoop, false) => "'\" \\".contains(c),
            (Self::Hadoop, true) => c == '"',
        }
    }
}

/// Splits at spaces, tabs and line ends. `'…'` is taken as it is. Nothing is expanded, nothing is a comment: no variables, no
/// globs, no commands.
///
/// # Errors
/// [`CommandLineError`], when quotes do not match or no word is there.
pub fn split_command_line(line: &str, backslash: Backslash) -> Result<Vec<String>, CommandLineError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or(CommandLineError::OpenQuote(at))?.1 {
                        c if c == quote => break,
                        '\\' if quote == '"' => {
                            let (_, quoted) = rest.next().ok_or(CommandLineError::OpenQuote(at))?;
                            if !backslash.quotes(quoted, true) {
                                word.push('\\');
                            }
                            word.push(quoted);
                        }
                        c => word.push(c),
                    }
                }
            }
            '\\' => {
                let (_, quoted) = rest.next().ok_or(CommandLineError::Backslash)?;
                let word = word.get_or_insert_default();
                if !backslash.quotes(quoted, false) {
                    word.push('\\');
                }
                word.push(quoted);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if words.is_empty() { Err(CommandLineError::Empty) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &[&str])], backslash: Backslash) {
        for (line, words) in cases {
            assert_eq!(split_command_line(line, backslash).expect(line), *words, "{line}");
        }
    }

    #[test]
    fn words_are_split_as_by_a_shell_and_nothing_is_expanded() {
        let cases: [(&str, &[&str]); 8] = [
            ("./mapper.py -v", &["./mapper.py", "-v"]),
            ("  a\t b \n", &["a", "b"]),
            ("awk '{print $1}' \"two words\"", &["awk", "{print $1}", "two words"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("a '' b", &["a", "", "b"]),
            ("grep #x # y", &["grep", "#x", "#", "y"]),
            (r#"a\ b "c\"d\e" 'f\g'"#, &["a b", "c\"d\\e", "f\\g"]),
            ("cat *.txt | sort > $HOME", &["cat", "*.txt", "|", "sort", ">", "$HOME"]),
        ];
        check(&cases, Backslash::Shell);
    }

    #[test]
    fn hadoop_leaves_a_backslash_where_it_is() {
        let cases: [(&str, &[&str]); 7] = [
            ("  ./m.py   -a  ''  b ", &["./m.py", "-a", "", "b"]),
            ("awk '{print $1 \"\\t\" 1}'", &["awk", "{print $1 \"\\t\" 1}"]),
            (r"sh -c 'it'\''s'", &["sh", "-c", "it's"]),
            (r#"grep "a 'b'""#, &["grep", "a 'b'"]),
            (r#"x "say \"no\"" \'"#, &["x", "say \"no\"", "'"]),
            (r"awk -F\t a\.b", &["awk", r"-F\t", r"a\.b"]),
            ("a'b c'd", &["ab cd"]),
        ];
        check(&cases, Backslash::Hadoop);
    }

    #[test]
    fn lines_that_mean_nothing_are_refused() {
        for backslash in [Backslash::Shell, Backslash::Hadoop] {
            let split = |line| split_command_line(line, backslash);
            assert_eq!(split("a 'b"), Err(CommandLineError::OpenQuote(2)));
            assert_eq!(split("a \"b\\\""), Err(CommandLineError::OpenQuote(2)));
            assert_eq!(split("a \\"), Err(CommandLineError::Backslash));
            assert_eq!(split(" \t"), Err(CommandLineError::Empty));
        }
    }
}
