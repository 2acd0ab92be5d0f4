//! Columns on a command line, of records that are JSON: `amount`, `amount:nr`, `3`, `3nr`, and `"a name in quotes":r` as JSON has it.

use gristmill_common::columns::Column;

/// Reads a list of columns as `cut -f` has fields: `country`, `country,2`, `2-4`.
pub(super) fn listed(list: &str) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for text in list.split(',') {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        match text.split_once('-').map(|(first, last)| (number(first), number(last))) {
            Some((Some(first), Some(last))) if first <= last => columns.extend((first..=last).map(Column::numbered)),
            _ if text.is_empty() || text == "0" => return Err(format!("`{list}` has a column without name or number")),
            _ => columns.push(number(text).map_or_else(|| Column::named(text), Column::numbered)),
        }
    }
    Ok(columns)
}

/// Reads columns with how they compare: `n` for numbers, `r` for the largest first. A field as `sort` has it, `2,3nr`, is the
/// columns from the one to the other.
pub(super) fn sorted(text: &str) -> Result<Vec<Column>, String> {
    let bad = || {
        format!("`{text}` is no column: NAME, NAME:nr, 2 and 2,3nr are, with n for numbers and r for the largest first")
    };
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(text.len());
        let (numbers, flags) = text.split_at(digits);
        let (first, last) = numbers.split_once(',').unwrap_or((numbers, numbers));
        let (first, last): (u32, u32) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if first == 0 || last < first {
            return Err(bad());
        }
        return (first..=last)
            .map(|number| flagged(Column::numbered(number), flags.strip_prefix(':').unwrap_or(flags)))
            .collect::<Option<_>>()
            .ok_or_else(bad);
    }
    let (name, flags) = if text.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = names.next().and_then(Result::ok).ok_or_else(bad)?;
        (name, &text[names.byte_offset()..])
    } else {
        let flags = |flags: &str| !flags.is_empty() && flags.chars().all(|flag| "nr".contains(flag));
        match text.rsplit_once(':') {
            Some((name, last)) if flags(last) => (name.to_owned(), last),
            _ => (text.to_owned(), ""),
        }
    };
    let column = flagged(Column::named(name), flags.strip_prefix(':').unwrap_or(flags));
    column.map(|column| vec![column]).ok_or_else(bad)
}

fn flagged(column: Column, flags: &str) -> Option<Column> {
    flags.chars().try_fold(column, |column, flag| match flag {
        'n' => Some(Column { numeric: true, ..column }),
        'r' => Some(Column { reverse: true, ..column }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_of_names_and_numbers() {
        let expected = [Column::named("a b"), Column::numbered(2), Column::numbered(4), Column::numbered(5)];
        assert_eq!(listed("a b,2,4-5").expect("columns"), expected);
        assert_eq!(listed("x-y").expect("a name"), [Column::named("x-y")]);
        assert!(listed("a,,b").is_err() && listed("0").is_err() && listed("").is_err());
    }

    #[test]
    fn columns_are_names_and_numbers_with_flags() {
        let one = |text: &str| sorted(text).expect(text).remove(0);
        assert_eq!(one("amount"), Column::named("amount"));
        assert_eq!(one("amount:nr"), Column { numeric: true, reverse: true, ..Column::named("amount") });
        assert_eq!(one("a:b"), Column::named("a:b"), "no flags");
        assert_eq!(one("\"3\\n:n\":r"), Column { reverse: true, ..Column::named("3\n:n") });
        assert_eq!(one("3nr"), Column { numeric: true, reverse: true, ..Column::numbered(3) });
        assert_eq!(sorted("2,3n").expect("two"), [2, 3].map(|n| Column { numeric: true, ..Column::numbered(n) }));
        for bad in ["0", "3,2", "2.1", "2x", "\"open", "\"a\":x", "2,"] {
            assert!(sorted(bad).is_err(), "{bad}");
        }
    }
}
