//! Plain columns without frames, as `ls` and `kubectl` print them; hostile text is made harmless.

use comfy_table::{ContentArrangement, Table, presets};

/// Renders rows under a header.
pub(crate) fn render(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| harmless(cell)));
    }
    table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Replaces control characters, which could move a terminal's cursor or recolour it.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Writes milliseconds for people: `320 ms`, `12.4 s`, `3 m 05 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} m {:02} s", ms / 60_000, ms / 1_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let text = render(&["name"], [vec!["a\u{1b}[2Jb".to_owned()]].into_iter());
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([duration(320), duration(12_400), duration(185_000)], ["320 ms", "12.4 s", "3 m 05 s"]);
    }
}
