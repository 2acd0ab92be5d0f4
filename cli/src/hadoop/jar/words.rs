//! A command as one text, split into program and arguments: at spaces, with '…' and "…", no shell.
//!
//! As Hadoop does, and beyond it `\` before a quote, a space or `\` outside of quotes, and before `"` inside of them:
//! mrjob writes a quote inside of quotes as `'\''`. Any other `\` stays, so that `awk -F\t` is what it was.

/// Splits a command.
pub(super) fn split(command: &str) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (quote, c) {
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') if matches!(next, Some('\'' | '"' | ' ' | '\\')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (Some('"'), '\\') if next == Some('"') => word.get_or_insert_default().extend(chars.next()),
            (Some(open), close) if open == close => quote = None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("`{command}`: a {open} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_at_spaces_outside_of_quotes() {
        let cases: [(&str, &[&str]); 9] = [
            ("cat", &["cat"]),
            ("  ./m.py   -a  ''  b ", &["./m.py", "-a", "", "b"]),
            ("awk '{print $1 \"\\t\" 1}'", &["awk", "{print $1 \"\\t\" 1}"]),
            (r"sh -c 'it'\''s'", &["sh", "-c", "it's"]),
            (r#"grep "a 'b'""#, &["grep", "a 'b'"]),
            (r#"x "say \"no\"" \'"#, &["x", "say \"no\"", "'"]),
            (r"awk -F\t a\.b", &["awk", r"-F\t", r"a\.b"]),
            ("a'b c'd", &["ab cd"]),
            ("", &[]),
        ];
        for (command, words) in cases {
            assert_eq!(split(command).expect(command), words, "{command}");
        }
        assert!(split("sh -c 'open").expect_err("open").contains("not closed"));
    }
}
