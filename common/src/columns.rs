//! Columns of records that have such: members of JSON objects and elements of JSON arrays, which rows of csv are given as too.
//!
//! Values are written down as bytes that compare as the values do: null and what is not there, false, true, numbers, strings,
//! arrays, objects (the order of `jq`). Column 1 of an object is its first member.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fields::{push_number, push_string};
use crate::limits;
use crate::problem::Problem;

/// A column, and how it compares. One of `name` and `number` is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Column {
    /// Name of a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of an element or member, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Whether strings compare as the numbers that they are text of, as fields of csv always are; text that is none is 0.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub numeric: bool,
    /// Whether the largest comes first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
}

impl Column {
    /// Makes the column of this name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Makes the column of this number, from 1.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self { number: Some(number), ..Self::default() }
    }

    fn is(&self, name: Option<&str>, number: u32) -> bool {
        self.number == Some(number) || self.name.is_some() && self.name.as_deref() == name
    }

    /// Appends what compares like the value.
    fn order(&self, value: Option<&str>, out: &mut Vec<u8>) {
        let start = out.len();
        let value = value.map_or(Value::Null, Value::of);
        if self.numeric {
            value.push_numeric(out);
        } else {
            value.push(out);
        }
        if self.reverse {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

/// Checks columns; `at` is the pointer to them.
///
/// # Errors
/// An `invalid` problem whose pointer names the wrong one.
pub fn check(columns: &[Column], at: &str) -> Result<(), Problem> {
    if columns.is_empty() || columns.len() > limits::KEY_FIELDS as usize {
        return Err(Problem::at(at, format!("1 to {} columns are allowed", limits::KEY_FIELDS)));
    }
    let wrong = |column: &Column| column.name.is_some() == column.number.is_some() || column.number == Some(0);
    match columns.iter().position(wrong) {
        Some(index) => Err(Problem::at(format!("{at}/{index}"), "a column has a `name`, or a `number` counted from 1")),
        None => Ok(()),
    }
}

/// Appends bytes that compare like the columns, one after the other. Of what is no JSON nothing is there.
pub fn order(columns: &[Column], record: &[u8], out: &mut Vec<u8>) {
    let found = find(columns, record);
    for (index, column) in columns.iter().enumerate() {
        column.order(found.get(index).copied().flatten(), out);
    }
}

/// Returns the JSON text of each column, where there is one.
#[must_use]
pub fn find<'r>(columns: &[Column], record: &'r [u8]) -> Vec<Option<&'r str>> {
    let mut reader = serde_json::Deserializer::from_slice(record);
    reader.deserialize_any(Find(columns)).unwrap_or_default()
}

/// Returns a value of JSON as text: a string without its quotes, anything else as it is written; null is nothing.
#[must_use]
pub fn text(value: &str) -> Cow<'_, str> {
    match Value::of(value) {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => text,
        Value::False | Value::True | Value::Number(_) | Value::Array(_) | Value::Object(_) => Cow::Borrowed(value),
    }
}

/// Looks for columns in one record.
struct Find<'c>(&'c [Column]);

impl Find<'_> {
    fn note<'r>(&self, found: &mut [Option<&'r str>], name: Option<&str>, number: u32, value: &'r RawValue) {
        let wanted = self.0.iter().zip(found).filter(|(column, _)| column.is(name, number));
        wanted.for_each(|(_, found)| *found = Some(value.get()));
    }

    fn wants(&self, name: Option<&str>, number: u32) -> bool {
        self.0.iter().any(|column| column.is(name, number))
    }
}

/// A name that is not copied unless it has escapes.
#[derive(Deserialize)]
struct Name<'r>(#[serde(borrow)] Cow<'r, str>);

impl<'r> Visitor<'r> for Find<'_> {
    type Value = Vec<Option<&'r str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        let mut number = 0;
        while let Some(Name(name)) = members.next_key()? {
            number += 1;
            if self.wants(Some(&name), number) {
                self.note(&mut found, Some(&name), number, members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'r>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        let mut number = 0;
        while let Some(value) = elements.next_element()? {
            number += 1;
            self.note(&mut found, None, number, value);
        }
        Ok(found)
    }
}

/// A value, as its text begins.
enum Value<'r> {
    Null,
    False,
    True,
    /// Its digits, without an exponent.
    Number(Cow<'r, str>),
    String(Cow<'r, str>),
    /// As it is written.
    Array(&'r str),
    Object(&'r str),
}

impl<'r> Value<'r> {
    fn of(text: &'r str) -> Self {
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Name<'r>>(text).map_or(Self::Null, |Name(text)| Self::String(text)),
            Some(b't') => Self::True,
            Some(b'f') => Self::False,
            Some(b'[') => Self::Array(text),
            Some(b'{') => Self::Object(text),
            Some(b'-' | b'0'..=b'9') => Self::Number(without_exponent(text)),
            Some(_) | None => Self::Null,
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::False => out.push(1),
            Self::True => out.push(2),
            Self::Number(digits) => {
                out.push(3);
                push_number(digits.as_bytes(), out);
            }
            Self::String(text) => push_tagged(4, text, out),
            Self::Array(text) => push_tagged(5, text, out),
            Self::Object(text) => push_tagged(6, text, out),
        }
    }

    fn push_numeric(&self, out: &mut Vec<u8>) {
        let digits = match self {
            Self::Number(digits) => digits.as_ref(),
            Self::String(text) => text.trim_start(),
            Self::Null | Self::False | Self::True | Self::Array(_) | Self::Object(_) => return out.push(0),
        };
        out.push(1);
        push_number(digits.as_bytes(), out);
    }
}

fn push_tagged(tag: u8, text: &str, out: &mut Vec<u8>) {
    out.push(tag);
    push_string(text.as_bytes(), out);
}

/// Writes a number out: digits behind an exponent do not compare.
fn without_exponent(text: &str) -> Cow<'_, str> {
    if !text.contains(['e', 'E']) {
        return Cow::Borrowed(text);
    }
    let number: f64 = text.parse().unwrap_or(0.0);
    // As large as there is; beyond, JSON readers disagree.
    Cow::Owned(number.clamp(f64::MIN, f64::MAX).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(columns: &[Column], record: &str) -> Vec<u8> {
        let mut out = Vec::new();
        order(columns, record.as_bytes(), &mut out);
        out
    }

    /// Says that the records come in this order, each strictly before the next.
    fn ascend(columns: &[Column], records: &[&str]) {
        for pair in records.windows(2) {
            let (left, right) = (key(columns, pair[0]), key(columns, pair[1]));
            assert!(left < right, "{} before {}", pair[0], pair[1]);
            let reversed: Vec<Column> =
                columns.iter().map(|column| Column { reverse: true, ..column.clone() }).collect();
            assert!(key(&reversed, pair[0]) > key(&reversed, pair[1]), "{} behind {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn values_of_all_kinds_have_one_order() {
        let records = [
            r#"{"b":1}"#,
            r#"{"a":false}"#,
            r#"{"a":true}"#,
            r#"{"a":-1e3}"#,
            r#"{"a":-2.5}"#,
            r#"{"a":0}"#,
            r#"{"a":1.5}"#,
            r#"{"a":9}"#,
            r#"{"b":{"a":1},"a":1e1}"#,
            r#"{"a":123456789012345678901234567890}"#,
            r#"{"a":""}"#,
            r#"{"a":"10"}"#,
            r#"{"a":"9"}"#,
            r#"{"a":"x\u0000"}"#,
            r#"{"a":"\u0078y"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{}}"#,
        ];
        ascend(&[Column::named("a")], &records);
        assert_eq!(key(&[Column::named("a")], r#"{"a":null}"#), key(&[Column::named("a")], "{}"));
        assert_eq!(key(&[Column::named("a")], r#"{"a":1,"a":2}"#), key(&[Column::named("a")], r#"{"a":2}"#));
        assert_eq!(key(&[Column::named("a")], r#"{"a":10}"#), key(&[Column::named("a")], r#"{"a":1e1}"#));
    }

    #[test]
    fn strings_compare_as_numbers_where_that_is_asked_for() {
        let numeric = [Column { numeric: true, ..Column::named("n") }];
        ascend(&numeric, &[r#"{"n":true}"#, r#"{"n":"-3"}"#, r#"{"n":"none"}"#, r#"{"n":" 9"}"#, r#"{"n":10}"#]);
        assert_eq!(key(&numeric, r#"{"n":"x"}"#), key(&numeric, r#"{"n":0}"#));
    }

    #[test]
    fn elements_and_members_have_numbers() {
        let second = [Column::numbered(2), Column::numbered(1)];
        ascend(&second, &[r#"["x"]"#, r#"["b","a"]"#, r#"["a","b"]"#, r#"["b","b"]"#]);
        assert_eq!(key(&second, r#"["b","a"]"#), key(&second, r#"{"x":"b","y":"a"}"#));
        for none in ["", "7", "{", "[1", "nonsense"] {
            assert_eq!(key(&second, none), [0, 0], "{none}");
        }
    }

    #[test]
    fn columns_that_are_none_are_named() {
        let columns = |json: &str| serde_json::from_str::<Vec<Column>>(json).expect(json);
        for (json, at) in [
            ("[]", "/c"),
            (r#"[{"name":"a"},{}]"#, "/c/1"),
            (r#"[{"number":0}]"#, "/c/0"),
            (r#"[{"name":"a","number":1}]"#, "/c/0"),
        ] {
            assert_eq!(check(&columns(json), "/c").expect_err(json).pointer.as_deref(), Some(at));
        }
        let json = r#"[{"name":"a","numeric":true},{"number":2,"reverse":true}]"#;
        assert_eq!(check(&columns(json), "/c"), Ok(()));
        assert_eq!(serde_json::to_string(&columns(json)).expect("JSON"), json);
    }

    #[test]
    fn values_are_text() {
        let found = find(&[Column::named("a"), Column::numbered(2), Column::named("c")], br#"{"a":"x\ty","b":1.0}"#);
        assert_eq!(found, [Some(r#""x\ty""#), Some("1.0"), None]);
        assert_eq!((text(r#""x\ty""#), text("1.0"), text("null")), ("x\ty".into(), "1.0".into(), "".into()));
    }
}
