//! The total order of a sort: how a record's key is found, and the split points between the parts.
//!
//! The planner that samples keys and the maps that sort by them use the same [`SortRule`]. Keys compare as bytes; numbers,
//! fields and descending order are encodings (`fields`).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::columns::{self, Column};
use crate::digest::hex;
use crate::fields::{BadOption, KeyFields, push_string};
use crate::limits;
use crate::problem::Problem;

/// The order in which a `sort` step puts all records of its input. Ties are in input order.
///
/// ```json
/// { "key": { "fields": { "options": "-k2,2n", "separator": "," } }, "unique": true }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TotalOrder {
    /// What of a record is compared.
    pub key: SortKey,
    /// Whether the largest comes first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
    /// Whether only the first record of each key is kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
}

/// What of a record is compared.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SortKey {
    /// All of it, as bytes.
    #[default]
    Record,
    /// Its first bytes.
    Bytes(u32),
    /// Fields of it.
    Fields {
        /// As `sort` has them: `-k1,2`, `-n`, `-k2,2nr`, several separated by spaces.
        options: String,
        /// Between the fields; a tab when empty.
        separator: String,
    },
    /// Columns, of records that are JSON: as `ndjson` has them, and as rows of `csv` are given.
    Columns(Vec<Column>),
}

impl TotalOrder {
    /// Checks what the types cannot say; `at` is the pointer to this value.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the wrong place.
    pub fn check(&self, at: &str) -> Result<(), Problem> {
        if let SortKey::Fields { separator, .. } = &self.key
            && (separator.len() > limits::SEPARATOR_BYTES || separator.contains('\n'))
        {
            let detail = format!("a separator is at most {} bytes without a line feed", limits::SEPARATOR_BYTES);
            return Err(Problem::at(format!("{at}/key/fields/separator"), detail));
        }
        if let SortKey::Columns(columns) = &self.key {
            columns::check(columns, &format!("{at}/key/columns"))?;
        }
        if self.key == SortKey::Bytes(0) {
            return Err(Problem::at(format!("{at}/key/bytes"), "at least one byte is compared"));
        }
        let bad = |error: BadOption| Problem::at(format!("{at}/key/fields/options"), error.to_string());
        SortRule::of(self).map(drop).map_err(bad)
    }
}

/// Finds keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SortRule {
    key: Key,
    reverse: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Key {
    /// The first so many bytes.
    Prefix(usize),
    Fields(KeyFields),
    Columns(Vec<Column>),
}

impl SortRule {
    /// Makes the rule of an order.
    ///
    /// # Errors
    /// The option of fields that cannot be understood.
    pub fn of(order: &TotalOrder) -> Result<Self, BadOption> {
        let key = match &order.key {
            SortKey::Record => Key::Prefix(usize::MAX),
            SortKey::Bytes(count) => Key::Prefix(*count as usize),
            SortKey::Fields { options, separator } => Key::Fields(KeyFields::parse(options, separator)?),
            SortKey::Columns(columns) => Key::Columns(columns.clone()),
        };
        Ok(Self { key, reverse: order.reverse })
    }

    /// Returns how many of a record's first bytes are its key as they are; `None` when the key is made of them.
    #[must_use]
    pub fn prefix(&self) -> Option<usize> {
        match self.key {
            Key::Prefix(count) if !self.reverse => Some(count),
            Key::Prefix(_) | Key::Fields(_) | Key::Columns(_) => None,
        }
    }

    /// Appends the key of a record, which is without what ends it.
    pub fn key(&self, record: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        match &self.key {
            Key::Prefix(count) => {
                let bytes = &record[..record.len().min(*count)];
                // Turned around, a string must not be the beginning of another.
                if self.reverse { push_string(bytes, out) } else { out.extend_from_slice(bytes) }
            }
            Key::Fields(fields) => fields.order(record, out),
            Key::Columns(columns) => columns::order(columns, record, out),
        }
        if self.reverse {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

/// The order of a planned step, and where one part ends and the next begins.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOrder {
    /// The order.
    pub order: TotalOrder,
    /// Keys that are the first of a part, ascending, each once: one less than there are parts, or fewer.
    pub points: Vec<SplitPoint>,
}

/// A key, as hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SplitPoint(pub Vec<u8>);

impl Serialize for SplitPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SplitPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = text.as_bytes().chunks(2).map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        pairs.collect::<Option<_>>().map(Self).ok_or_else(|| D::Error::custom("pairs of hex digits are expected"))
    }
}

/// Chooses the points between `parts` parts of about equal size from the keys of a sample, in any order.
#[must_use]
pub fn split_points(mut keys: Vec<Vec<u8>>, parts: u32) -> Vec<SplitPoint> {
    keys.sort_unstable();
    let parts = parts as usize;
    // What a point loses of a long key only moves a few records to the next part.
    let at = |part: usize| keys.get(part * keys.len() / parts.max(1));
    let cut = |key: &Vec<u8>| SplitPoint(key[..key.len().min(limits::SPLIT_POINT_BYTES)].to_vec());
    let mut points: Vec<_> = (1..parts).filter_map(|part| at(part).map(cut)).collect();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    fn order(json: &str) -> TotalOrder {
        serde_json::from_str(json).expect(json)
    }

    fn compare(json: &str, left: &str, right: &str) -> Ordering {
        let rule = SortRule::of(&order(json)).expect(json);
        let key = |record: &str| {
            let mut key = Vec::new();
            rule.key(record.as_bytes(), &mut key);
            key
        };
        key(left).cmp(&key(right))
    }

    #[test]
    fn orders_mean_what_they_say() {
        let fields = r#"{"key": {"fields": {"options": "-k2,2n", "separator": ","}}}"#;
        assert_eq!(compare("{}", "a", "ab"), Ordering::Less);
        assert_eq!(compare(r#"{"reverse": true}"#, "a", "ab"), Ordering::Greater);
        assert_eq!(compare(r#"{"reverse": true}"#, "a", "a\u{0}"), Ordering::Greater);
        assert_eq!(compare(r#"{"key": {"bytes": 2}}"#, "abc", "abd"), Ordering::Equal);
        assert_eq!(compare(r#"{"key": {"bytes": 2}, "reverse": true}"#, "ab", "aa"), Ordering::Less);
        assert_eq!(compare(fields, "x,9", "a,10"), Ordering::Less);
        assert_eq!(compare(&fields.replace("}}}", r#"}}, "reverse": true}"#), "x,9", "a,10"), Ordering::Greater);
        let columns = r#"{"key": {"columns": [{"name": "n", "numeric": true}, {"number": 1}]}}"#;
        assert_eq!(compare(columns, r#"{"x":"b","n":"9"}"#, r#"{"x":"a","n":"10"}"#), Ordering::Less);
        assert_eq!(compare(columns, r#"{"x":"b","n":"9"}"#, r#"{"x":"a","n":"9.0"}"#), Ordering::Greater);
        assert_eq!(order(fields), serde_json::from_value(serde_json::json!(order(fields))).expect("reads back"));
    }

    #[test]
    fn only_plain_keys_are_the_beginning_of_their_records() {
        let prefix = |json: &str| SortRule::of(&order(json)).expect(json).prefix();
        assert_eq!(prefix("{}"), Some(usize::MAX));
        assert_eq!(prefix(r#"{"key": {"bytes": 10}}"#), Some(10));
        assert_eq!(prefix(r#"{"reverse": true}"#), None);
        assert_eq!(prefix(r#"{"key": {"fields": {"options": "-n", "separator": ""}}}"#), None);
    }

    #[test]
    fn mistakes_are_named() {
        for (json, at) in [
            (r#"{"key": {"bytes": 0}}"#, "/o/key/bytes"),
            (r#"{"key": {"columns": [{}]}}"#, "/o/key/columns/0"),
            (r#"{"key": {"fields": {"options": "-k0", "separator": ""}}}"#, "/o/key/fields/options"),
            (r#"{"key": {"fields": {"options": "", "separator": "\n"}}}"#, "/o/key/fields/separator"),
        ] {
            assert_eq!(order(json).check("/o").expect_err(json).pointer.as_deref(), Some(at));
        }
        assert!(serde_json::from_str::<TotalOrder>(r#"{"keys": 1}"#).is_err());
    }

    #[test]
    fn points_share_a_sample_evenly_and_are_each_there_once() {
        let keys = |text: &str| text.bytes().map(|byte| vec![byte]).collect::<Vec<_>>();
        let points = |text: &str, parts| split_points(keys(text), parts).into_iter().map(|point| point.0[0]).collect();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("letters");
        assert_eq!(text(points("hgfedcba", 4)), "ceg");
        assert_eq!(text(points("aaaaaaab", 4)), "a", "a key is not cut in two");
        assert_eq!(text(points("", 4)), "");
        assert_eq!(text(points("ab", 1)), "");
        let long = split_points(vec![vec![1; 9_999]; 2], 2);
        assert_eq!(long[0].0.len(), limits::SPLIT_POINT_BYTES);
        let json = serde_json::to_string(&SplitPoint(vec![0, 255, 10])).expect("JSON");
        assert_eq!(json, r#""00ff0a""#);
        assert_eq!(serde_json::from_str::<SplitPoint>(&json).expect("reads back").0, [0, 255, 10]);
        assert!(serde_json::from_str::<SplitPoint>(r#""0""#).is_err());
        assert!(serde_json::from_str::<SplitPoint>(r#""+1""#).is_err());
    }
}
