//! Records of the shuffle: a line cut into key and value, and the key as runs keep it.
//!
//! Runs compare keys as bytes. Where the spec orders keys by their fields, a run's key is the order's bytes and its value
//! is a varint, the length of the key, then key and value as they were printed.

use std::sync::Arc;

use gristmill_common::Reason;
use gristmill_common::fields::{KeyFields, java_hash, java_partition};
use gristmill_common::program::{Order, Partition, Streaming};
use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};

use crate::data::Partitioner;

/// Ends the key of a line.
pub(super) struct Separator {
    finder: Finder<'static>,
    /// Which occurrence does.
    nth: usize,
}

impl Separator {
    pub(super) fn new(separator: &str, nth: u32) -> Self {
        Self { finder: Finder::new(separator.as_bytes()).into_owned(), nth: nth.max(1) as usize }
    }

    /// Returns key and value; no value in a line with fewer separators.
    #[inline]
    pub(super) fn split<'l>(&self, line: &'l [u8]) -> (&'l [u8], Option<&'l [u8]>) {
        let needle = self.finder.needle();
        let at = match *needle {
            [] => None,
            [byte] if self.nth == 1 => memchr(byte, line),
            [byte] => memchr_iter(byte, line).nth(self.nth - 1),
            _ => self.finder.find_iter(line).nth(self.nth - 1),
        };
        at.map_or((line, None), |at| (&line[..at], Some(&line[at + needle.len()..])))
    }
}

/// How keys are ordered.
pub(super) enum KeyOrder {
    Bytes,
    Fields(KeyFields),
}

impl KeyOrder {
    pub(super) fn of(streaming: &Streaming) -> Result<Self, Reason> {
        match &streaming.order {
            Order::Bytes => Ok(Self::Bytes),
            Order::Fields { options, separator } => Ok(Self::Fields(parse(options, separator)?)),
        }
    }

    /// Appends a run's key.
    #[inline]
    pub(super) fn push_key(&self, key: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Bytes => out.extend_from_slice(key),
            Self::Fields(fields) => fields.order(key, out),
        }
    }

    /// Appends a run's value.
    #[inline]
    pub(super) fn push_value(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if let Self::Fields(_) = self {
            push_length(key.len(), out);
            out.extend_from_slice(key);
        }
        out.extend_from_slice(value);
    }

    /// Returns key and value as they were printed.
    #[inline]
    pub(super) fn printed<'r>(&self, key: &'r [u8], value: &'r [u8]) -> (&'r [u8], &'r [u8]) {
        match self {
            Self::Bytes => (key, value),
            Self::Fields(_) => printed(value),
        }
    }
}

fn parse(options: &str, separator: &str) -> Result<KeyFields, Reason> {
    KeyFields::parse(options, separator).map_err(|error| Reason::UserError { message: error.to_string(), at: None })
}

fn push_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Takes a run's value apart. One that is damaged has passed its checksum: it is empty.
fn printed(value: &[u8]) -> (&[u8], &[u8]) {
    let (mut length, mut shift) = (0_usize, 0_u32);
    for (at, &byte) in value.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value[at + 1..].split_at_checked(length).unwrap_or_default();
        }
    }
    Default::default()
}

fn printed_key<'r>(ordered: bool, key: &'r [u8], value: &'r [u8]) -> &'r [u8] {
    if ordered { printed(value).0 } else { key }
}

/// Returns what decides which reduce a record goes to.
///
/// # Errors
/// When the spec's options cannot be read.
pub(crate) fn shuffle_partitioner(streaming: &Streaming) -> Result<Partitioner, Reason> {
    let ordered = streaming.order != Order::Bytes;
    Ok(match &streaming.partition {
        Partition::Hash if !ordered => Partitioner::Hash,
        Partition::Hash => Partitioner::Function(Arc::new(move |key: &[u8], value: &[u8], partitions| {
            crate::data::partition_of(printed_key(ordered, key, value), partitions)
        })),
        Partition::Java => Partitioner::Function(Arc::new(move |key: &[u8], value: &[u8], partitions| {
            java_partition(java_hash(1, printed_key(ordered, key, value)), partitions)
        })),
        Partition::Fields { options, separator } => {
            let fields = parse(options, separator)?;
            Partitioner::Function(Arc::new(move |key: &[u8], value: &[u8], partitions| {
                fields.partition(printed_key(ordered, key, value), partitions)
            }))
        }
    })
}
