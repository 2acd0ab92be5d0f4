//! Values as text: JSON, or a field between tabs.

use gristmill_common::csv::push_escaped;
use serde::Serialize;

use crate::rows::Form;
use crate::schema::{Kind, Unit};

const SECONDS_OF_DAY: i64 = 86_400;
/// Julian day of 1970-01-01.
const JULIAN_EPOCH: i64 = 2_440_588;
/// Bytes of the longest decimal: 38 digits.
const DECIMAL_BYTES: usize = 16;

/// Appends a JSON string.
pub(crate) fn push_json(text: &str, out: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends text that needs no escapes.
fn push_quoted(text: &str, form: Form, out: &mut Vec<u8>) {
    match form {
        Form::Json => push_json(text, out),
        Form::Tsv => out.extend_from_slice(text.as_bytes()),
    }
}

pub(crate) fn push_int(kind: Kind, value: i64, unsigned: u64, form: Form, out: &mut Vec<u8>) -> Result<(), String> {
    match kind {
        Kind::Unsigned => out.extend_from_slice(unsigned.to_string().as_bytes()),
        Kind::Decimal { scale } => out.extend_from_slice(decimal(i128::from(value), scale).as_bytes()),
        Kind::Date => push_quoted(&date(value), form, out),
        Kind::Time { unit } => push_quoted(&time(value, unit)?, form, out),
        Kind::Timestamp { unit, is_utc } => push_quoted(&stamp(value, unit, is_utc), form, out),
        Kind::Bool
        | Kind::Int
        | Kind::Float
        | Kind::HalfFloat
        | Kind::OldTimestamp
        | Kind::Text
        | Kind::Bytes
        | Kind::Uuid => out.extend_from_slice(value.to_string().as_bytes()),
    }
    Ok(())
}

/// Appends a number as short as it reads back, and what is no number by its name.
pub(crate) fn push_float(value: f64, as_it_is: &impl Serialize, form: Form, out: &mut Vec<u8>) -> Result<(), String> {
    let name = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return serde_json::to_writer(out, as_it_is).map_err(|error| error.to_string());
    };
    push_quoted(name, form, out);
    Ok(())
}

pub(crate) fn push_bytes(kind: Kind, bytes: &[u8], form: Form, out: &mut Vec<u8>) -> Result<(), String> {
    match kind {
        Kind::Decimal { scale } => {
            if bytes.len() > DECIMAL_BYTES {
                return Err(format!("a decimal of {} bytes", bytes.len()));
            }
            // Big-endian, two's complement.
            let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
            let value = bytes.iter().fold(sign, |value: i128, byte| value << 8 | i128::from(*byte));
            out.extend_from_slice(decimal(value, scale).as_bytes());
        }
        Kind::HalfFloat => {
            let [low, high] = bytes else { return Err(format!("a number of {} bytes", bytes.len())) };
            let value = half(u16::from_le_bytes([*low, *high]));
            push_float(f64::from(value), &value, form, out)?;
        }
        Kind::Uuid => {
            if bytes.len() != 16 {
                return Err(format!("a UUID of {} bytes", bytes.len()));
            }
            let mut text = String::new();
            for (index, byte) in bytes.iter().enumerate() {
                if [4, 6, 8, 10].contains(&index) {
                    text.push('-');
                }
                text.push_str(&format!("{byte:02x}"));
            }
            push_quoted(&text, form, out);
        }
        _ if form == Form::Tsv => push_escaped(bytes, out),
        _ => push_json(std::str::from_utf8(bytes).map_err(|_| "not UTF-8; TSV rows hold any bytes")?, out),
    }
    Ok(())
}

pub(crate) fn push_old_stamp(nanos: u64, day: u32, form: Form, out: &mut Vec<u8>) -> Result<(), String> {
    let nanos = i64::try_from(nanos).ok().filter(|nanos| *nanos < SECONDS_OF_DAY * 1_000_000_000);
    let nanos = nanos.ok_or("a time behind the end of the day")?;
    let text = format!("{}T{}", date(i64::from(day) - JULIAN_EPOCH), clock(nanos, Unit::Nanos));
    push_quoted(&text, form, out);
    Ok(())
}

fn decimal(value: i128, scale: u32) -> String {
    let digits = value.unsigned_abs().to_string();
    let scale = scale as usize;
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, part) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// The day so many days after 1970-01-01, in the Gregorian calendar extended to all years.
fn date(days: i64) -> String {
    // Years begin in March here, so that a leap day is the last of one; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn time(value: i64, unit: Unit) -> Result<String, String> {
    if (0..SECONDS_OF_DAY * unit.per_second()).contains(&value) {
        Ok(clock(value, unit))
    } else {
        Err("a time behind the end of the day".to_owned())
    }
}

/// A time of a day.
fn clock(value: i64, unit: Unit) -> String {
    let (seconds, part) = (value / unit.per_second(), value % unit.per_second());
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let digits = match unit {
        Unit::Millis => 3,
        Unit::Micros => 6,
        Unit::Nanos => 9,
    };
    format!("{hours:02}:{minutes:02}:{seconds:02}.{part:0digits$}")
}

fn stamp(value: i64, unit: Unit, is_utc: bool) -> String {
    let day = SECONDS_OF_DAY * unit.per_second();
    let zone = if is_utc { "Z" } else { "" };
    format!("{}T{}{zone}", date(value.div_euclid(day)), clock(value.rem_euclid(day), unit))
}

/// A number of IEEE 754's 16 bits.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1_024.0) * 2_f32.powi(exponent - 15),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (-719_468, "0000-03-01"),
            (20_785, "2026-11-28"),
            (-141_427, "1582-10-15"),
        ] {
            assert_eq!(date(days), text);
        }
        assert_eq!(stamp(-1, Unit::Micros, true), "1969-12-31T23:59:59.999999Z");
        assert_eq!(stamp(1_500, Unit::Millis, false), "1970-01-01T00:00:01.500");
        assert!(stamp(i64::MIN, Unit::Nanos, true).starts_with("1677-09-21T00:12:43"));
        assert!(time(SECONDS_OF_DAY * 1_000, Unit::Millis).is_err());
        stamp(i64::MAX, Unit::Millis, true);
        date(i64::from(i32::MIN));
    }

    #[test]
    fn decimals_keep_their_digits() {
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(12_345, 0), "12345");
        assert_eq!(decimal(i128::MIN, 38), "-1.70141183460469231731687303715884105728");
        let mut out = Vec::new();
        push_bytes(Kind::Decimal { scale: 1 }, &[0xff, 0x00], Form::Json, &mut out).expect("read");
        assert_eq!(out, b"-25.6");
    }

    #[test]
    fn halves_are_numbers() {
        assert_eq!([0x3c00, 0xc000, 0x0001, 0x7bff].map(half), [1.0, -2.0, 5.960_464_5e-8, 65_504.0]);
        assert!(half(0x7e00).is_nan() && half(0xfc00).is_infinite());
    }
}
