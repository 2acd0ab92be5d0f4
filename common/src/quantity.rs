//! Bytes and times as people write them: `64M`, `1.5GiB`, `500ms`, `10m`.
//!
//! Sizes are binary whatever the spelling, since every limit here is; a time needs its unit, so that nobody has to guess.

/// Powers of 1024 by their letter.
const SIZES: [(&str, u32); 5] = [("k", 1), ("m", 2), ("g", 3), ("t", 4), ("p", 5)];
/// Units of time in milliseconds.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a number of bytes: `4096`, `64K`, `64M`, `1.5GiB`.
///
/// # Errors
/// A sentence that says how to write it.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text);
    let letter = unit.to_ascii_lowercase();
    let letter = letter.strip_suffix("ib").or_else(|| letter.strip_suffix('b')).unwrap_or(&letter);
    let power = if letter.is_empty() { Some(0) } else { SIZES.iter().find(|(name, _)| *name == letter).map(|s| s.1) };
    let bytes = power.and_then(|power| scaled(number, 1_u64 << (10 * power)));
    bytes.ok_or_else(|| format!("`{text}` is no size: write bytes, or a number with K, M, G or T, such as 64M"))
}

/// Reads a time in milliseconds: `500ms`, `30s`, `10m`, `2h`.
///
/// # Errors
/// A sentence that says how to write it.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text);
    let unit = TIMES.iter().find(|(name, _)| *name == unit);
    let time = unit.and_then(|(_, ms)| scaled(number, *ms));
    time.ok_or_else(|| format!("`{text}` is no time: write a number with ms, s, m, h or d, such as 30s"))
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Multiplies a decimal number, of up to nine digits behind the point, without rounding what is in front of it.
fn scaled(number: &str, by: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(by)?;
    if part.is_empty() {
        return (!number.ends_with('.')).then_some(whole);
    }
    let digits = u32::try_from(part.len()).ok().filter(|digits| *digits <= 9)?;
    let part = u128::from(part.parse::<u64>().ok()?) * u128::from(by) / 10_u128.pow(digits);
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Writes bytes for people, in binary units.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Writes bytes as [`bytes`] reads them, in the largest unit that says them exactly: `128M`, `100`.
#[must_use]
pub fn exact(bytes: u64) -> String {
    let mut units = ["T", "G", "M", "K"].into_iter().zip([40, 30, 20, 10]);
    let unit = units.find(|(_, power)| bytes > 0 && bytes.trailing_zeros() >= *power);
    unit.map_or_else(|| bytes.to_string(), |(unit, power)| format!("{}{unit}", bytes >> power))
}

/// Writes how many there are: `1 file`, `48,587 records`.
#[must_use]
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Writes a number with its thousands apart: `48,587`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([grouped(7), grouped(48587), grouped(1_000_000)], ["7", "48,587", "1,000,000"]);
        assert_eq!([size(12), size(1536), size(5 << 30)], ["12 B", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn sizes_are_binary() {
        let read = ["0", "4096", "64K", "64kb", "1.5GiB", "2 M", "1T"].map(|text| bytes(text).expect(text));
        assert_eq!(read, [0, 4_096, 65_536, 65_536, 1_610_612_736, 2_097_152, 1 << 40]);
        for text in ["0", "100", "1025", "64K", "128M", "3G", "5T", "1048577"] {
            assert_eq!(exact(bytes(text).expect(text)), text);
        }
        for text in ["", "M", "-1", "1.", ".5", "1X", "1e9", "99999999P", "1.2.3", "1Mi b"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        let read = ["500ms", "30s", "1.5m", "2h", "1d"].map(|text| milliseconds(text).expect(text));
        assert_eq!(read, [500, 30_000, 90_000, 7_200_000, 86_400_000]);
        for text in ["", "30", "s", "-1s", "1w", "999999999999d"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
