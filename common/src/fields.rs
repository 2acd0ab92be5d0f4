//! Fields of a key, as Hadoop's KeyFieldBasedPartitioner and KeyFieldBasedComparator cut, hash and compare them.
//!
//! The order is written down as bytes ([`KeyFields::order`]) that compare as unsigned bytes like the keys they stand for,
//! so that runs, merges and keyed outputs need no comparator. Source: KeyFieldHelper, KeyFieldBasedComparator of Hadoop 3.

use std::ops::Range;

/// Some options that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no key option: -k1,2 or -k1.3,2.5nr, -n, -r and -nr are")]
pub struct BadOption(String);

/// A stretch of a key, and how it compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    /// Number of the first field, from 1.
    first: usize,
    /// Its first byte, from 1.
    first_byte: usize,
    /// Number of the last field; 0: to the end of the key.
    last: usize,
    /// Its last byte; 0: to its end.
    last_byte: usize,
    numeric: bool,
    reverse: bool,
}

/// Stretches of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFields {
    fields: Vec<Field>,
    separator: Vec<u8>,
}

/// Ends a string, and sorts before everything that a string may go on with.
const END: [u8; 2] = [0, 0];
/// Stands for a zero byte.
const ZERO: [u8; 2] = [0, 1];

impl KeyFields {
    /// Reads options as `sort` has them: `-k1,2 -k3nr`, `-n`, `-r`, `-nr`; flags without a field hold for fields without.
    ///
    /// # Errors
    /// [`BadOption`] with the one that is wrong.
    pub fn parse(options: &str, separator: &str) -> Result<Self, BadOption> {
        let whole = Field { first: 1, first_byte: 1, last: 0, last_byte: 0, numeric: false, reverse: false };
        let (mut global, mut fields) = (whole, Vec::new());
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let bad = || BadOption(word.to_owned());
            let Some(text) = word.strip_prefix('-') else { return Err(bad()) };
            if let Some(field) = text.strip_prefix('k') {
                let field = if field.is_empty() { words.next().ok_or_else(bad)? } else { field };
                fields.push(field_of(field).ok_or_else(bad)?);
            } else {
                (global.numeric, global.reverse) = merge((global.numeric, global.reverse), text).ok_or_else(bad)?;
            }
        }
        for field in fields.iter_mut().filter(|field| !field.numeric && !field.reverse) {
            (field.numeric, field.reverse) = (global.numeric, global.reverse);
        }
        if fields.is_empty() {
            fields.push(global);
        }
        let separator = if separator.is_empty() { "\t" } else { separator };
        Ok(Self { fields, separator: separator.as_bytes().to_vec() })
    }

    /// Appends bytes that compare like the key. Keys that the options do not tell apart have the same.
    pub fn order(&self, key: &[u8], out: &mut Vec<u8>) {
        let bounds = self.bounds(key);
        for field in &self.fields {
            let start = out.len();
            match field.of(key, &bounds) {
                None => out.push(0),
                Some(range) => {
                    out.push(1);
                    if field.numeric { push_number(&key[range], out) } else { push_string(&key[range], out) }
                }
            }
            if field.reverse {
                out[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
    }

    /// Returns the partition of a key: Java's hash of the bytes of all fields, one after the other.
    #[must_use]
    pub fn partition(&self, key: &[u8], partitions: u32) -> u32 {
        if key.is_empty() {
            return 0;
        }
        let bounds = self.bounds(key);
        let stretches = self.fields.iter().filter_map(|field| field.of(key, &bounds));
        java_partition(stretches.fold(0, |hash, range| java_hash(hash, &key[range])), partitions)
    }

    /// Returns where each field starts and ends.
    fn bounds(&self, key: &[u8]) -> Vec<Range<usize>> {
        let (mut bounds, mut start) = (Vec::new(), 0);
        while let Some(at) = find(&key[start..], &self.separator) {
            bounds.push(start..start + at);
            start += at + self.separator.len();
        }
        bounds.push(start..key.len());
        bounds
    }
}

impl Field {
    /// Returns the stretch of the key; `None` when the key has no such field.
    fn of(&self, key: &[u8], bounds: &[Range<usize>]) -> Option<Range<usize>> {
        let start = bounds.get(self.first - 1)?.start + self.first_byte - 1;
        if start >= key.len() {
            return None;
        }
        let last = if self.last == 0 { None } else { bounds.get(self.last - 1) };
        let end = last.map_or(key.len(), |last| match self.last_byte {
            0 => last.end,
            byte => (last.start + byte).min(key.len()),
        });
        Some(start..end.max(start))
    }
}

fn field_of(text: &str) -> Option<Field> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = |text: &mut &str| -> Option<usize> {
        let (digits, rest) = text.split_at(digits(text));
        *text = rest;
        digits.parse().ok().filter(|&number| number <= 1_000_000)
    };
    let byte = |text: &mut &str, none: usize| -> Option<usize> {
        let Some(rest) = text.strip_prefix('.') else { return Some(none) };
        *text = rest;
        number(text)
    };
    let mut rest = text;
    let first = number(&mut rest).filter(|&first| first > 0)?;
    let first_byte = byte(&mut rest, 1)?.max(1);
    let flags = rest.find(',').unwrap_or(rest.len());
    let (mut flags, after) = rest.split_at(flags);
    let (mut last, mut last_byte) = (0, 0);
    let both = merge((false, false), flags)?;
    if let Some(after) = after.strip_prefix(',') {
        let mut after = after;
        last = number(&mut after)?;
        last_byte = byte(&mut after, 0)?;
        flags = after;
    } else {
        flags = "";
    }
    let (numeric, reverse) = merge(both, flags)?;
    Some(Field { first, first_byte, last, last_byte, numeric, reverse })
}

fn merge((mut numeric, mut reverse): (bool, bool), flags: &str) -> Option<(bool, bool)> {
    for flag in flags.chars() {
        match flag {
            'n' => numeric = true,
            'r' => reverse = true,
            _ => return None,
        }
    }
    Some((numeric, reverse))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Strings end with two zeros and have no other pair like it: none is the beginning of another, so that what follows counts.
pub(crate) fn push_string(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte == 0 { out.extend_from_slice(&ZERO) } else { out.push(byte) }
    }
    out.extend_from_slice(&END);
}

/// A number is text: a minus, digits, a point, digits; it stops at the first other byte. Written as sign, count of digits,
/// digits, digits behind the point, end; all but the sign of a negative number are turned around.
pub(crate) fn push_number(text: &[u8], out: &mut Vec<u8>) {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at(digits(text));
    let part = rest.strip_prefix(b".").map_or(&rest[..0], |rest| &rest[..digits(rest)]);
    let whole = &whole[whole.iter().take_while(|&&byte| byte == b'0').count()..];
    let part = &part[..part.len() - part.iter().rev().take_while(|&&byte| byte == b'0').count()];
    if whole.is_empty() && part.is_empty() {
        out.push(1);
        return;
    }
    out.push(if negative { 0 } else { 2 });
    let start = out.len();
    out.extend_from_slice(&(whole.len() as u32).to_be_bytes());
    out.extend_from_slice(whole);
    out.extend_from_slice(part);
    out.push(0);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Continues Java's hash: `31 * hash + signed byte` for each byte.
#[must_use]
pub fn java_hash(hash: i32, bytes: &[u8]) -> i32 {
    bytes.iter().fold(hash, |hash, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8)))
}

/// Returns the partition for a hash as Hadoop's partitioners do.
#[must_use]
pub fn java_partition(hash: i32, partitions: u32) -> u32 {
    (hash & i32::MAX) as u32 % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    fn fields(options: &str) -> KeyFields {
        KeyFields::parse(options, "\t").expect(options)
    }

    fn sorted(options: &str, keys: &[&str]) -> Vec<String> {
        let fields = fields(options);
        let mut keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        keys.sort_by_key(|key| {
            let mut order = Vec::new();
            fields.order(key.as_bytes(), &mut order);
            order
        });
        keys
    }

    #[test]
    fn numbers_compare_as_text_with_sign_and_point() {
        let keys = [
            "10",
            "9",
            "-1",
            "-10",
            "0.5",
            "-0.5",
            "007",
            "1.25",
            "1.3",
            "x",
            "",
            "1e9",
            "-0",
            "100000000000000000000",
        ];
        let expected = [
            "",
            "-10",
            "-1",
            "-0.5",
            "x",
            "-0",
            "0.5",
            "1e9",
            "1.25",
            "1.3",
            "007",
            "9",
            "10",
            "100000000000000000000",
        ];
        assert_eq!(sorted("-n", &keys), expected);
        let mut reversed = sorted("-nr", &keys);
        // Equal ones keep their order either way.
        reversed.reverse();
        reversed.swap(4, 5);
        assert_eq!(reversed, expected);
    }

    #[test]
    fn fields_are_compared_one_after_the_other() {
        let keys = ["a\t2", "b\t1", "a\t10", "b", "a"];
        assert_eq!(sorted("-k1,1 -k2,2n", &keys), ["a", "a\t2", "a\t10", "b", "b\t1"]);
        assert_eq!(sorted("-k2,2nr -k1,1", &keys), ["a\t10", "a\t2", "b\t1", "a", "b"]);
        assert_eq!(sorted("-k 2n", &keys), ["b", "a", "b\t1", "a\t2", "a\t10"]);
        assert_eq!(sorted("-k1.2,1.3", &["xb9", "xa", "xb1", "xac"]), ["xa", "xac", "xb1", "xb9"]);
        assert_eq!(sorted("", &["b", "a\0", "a", "a\0\0b", "a\u{1}"]), ["a", "a\0", "a\0\0b", "a\u{1}", "b"]);
    }

    #[test]
    fn the_order_of_strings_is_that_of_their_bytes() {
        let strings = ["", "a", "a\0", "a\0\0", "a\0b", "ab", "b", "\u{1}", "é"];
        for left in strings {
            for right in strings {
                let order = |key: &str, options: &str| {
                    let mut out = Vec::new();
                    fields(options).order(key.as_bytes(), &mut out);
                    out
                };
                let expected = left.as_bytes().cmp(right.as_bytes());
                assert_eq!(order(left, "").cmp(&order(right, "")), expected, "{left:?} {right:?}");
                // A key without a field is the smallest one, and so the last when turned around.
                let reversed = order(left, "-r").cmp(&order(right, "-r"));
                assert_eq!(reversed, expected.reverse(), "{left:?} {right:?}");
                assert!(expected != Ordering::Equal || order(left, "-r") == order(right, "-r"));
            }
        }
    }

    #[test]
    fn partitions_are_javas() {
        // "abc".hashCode() is 96354, "b".hashCode() 98.
        assert_eq!(java_hash(0, b"abc"), 96_354);
        assert_eq!(fields("-k1,1").partition(b"abc\tx", 1000), 354);
        assert_eq!(fields("-k2,2").partition(b"abc\tb", 1000), 98);
        assert_eq!(fields("-k3,3").partition(b"abc\tb", 1000), 0, "a missing field is skipped");
        assert_eq!(fields("-k1,1").partition(b"", 1000), 0);
        assert_eq!(fields("-k1.2,1.3").partition(b"abc\tb", 100_000), 31 * 98 + 99);
        assert_eq!(java_hash(1, &[0xff]), 30, "bytes are signed");
        assert!(java_partition(-1, 7) < 7);
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for bad in ["k1", "-k", "-k0", "-kx", "-k1,2q", "-z", "-k1.x", "-k1,"] {
            assert!(KeyFields::parse(bad, "\t").is_err(), "{bad}");
        }
    }
}
