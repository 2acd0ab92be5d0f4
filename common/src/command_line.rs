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

/// Splits at spaces, tabs and line ends. `'…'` is taken as it is; within `"…"` a backslash quotes `"`, `\`, `$` and a
/// backquote, outside of quotes any character. Nothing is expanded: no variables, no globs, no commands.
///
/// # Errors
/// [`CommandLineError`], when quotes do not match or no word is there.
pub fn split_command_line(line: &str) -> Result<Vec<String>, CommandLineError> {
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
                            if !"\"\\$`".contains(quoted) {
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
                word.get_or_insert_default().push(quoted);
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

    #[test]
    fn words_are_split_as_by_a_shell_and_nothing_is_expanded() {
        let cases: [(&str, &[&str]); 7] = [
            ("./mapper.py -v", &["./mapper.py", "-v"]),
            ("  a\t b \n", &["a", "b"]),
            ("awk '{print $1}' \"two words\"", &["awk", "{print $1}", "two words"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("a '' b", &["a", "", "b"]),
            (r#"a\ b "c\"d\e" 'f\g'"#, &["a b", "c\"d\\e", "f\\g"]),
            ("cat *.txt | sort > $HOME", &["cat", "*.txt", "|", "sort", ">", "$HOME"]),
        ];
        for (line, words) in cases {
            assert_eq!(
                split_command_line(line).as_deref(),
                Ok(words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>().as_slice()),
                "{line}"
            );
        }
    }

    #[test]
    fn lines_that_mean_nothing_are_refused() {
        assert_eq!(split_command_line("a 'b"), Err(CommandLineError::OpenQuote(2)));
        assert_eq!(split_command_line("a \"b\\\""), Err(CommandLineError::OpenQuote(2)));
        assert_eq!(split_command_line("a \\"), Err(CommandLineError::Backslash));
        assert_eq!(split_command_line(" \t"), Err(CommandLineError::Empty));
    }
}
