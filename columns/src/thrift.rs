//! Thrift's compact protocol, as far as pages' headers need it, and a walk over any structure in it that bounds what it claims.
//!
//! The walk comes before the decoder, which takes memory for the number of elements that a list claims to have.

use gristmill_common::limits;

/// Structures inside structures: Parquet's own go half as deep.
const DEPTH: u32 = 16;

pub(crate) const BOOL_TRUE: u8 = 1;
pub(crate) const BOOL_FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
pub(crate) const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
pub(crate) const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Why a structure cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it ends early")]
    Short,
    #[error("it is no such structure")]
    Wrong,
    #[error("it claims to have too many elements")]
    TooMany,
}

/// Reads a structure from its beginning.
pub(crate) struct Compact<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// A field of a structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field {
    pub(crate) id: i16,
    pub(crate) kind: u8,
}

impl<'b> Compact<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were read.
    pub(crate) fn length(&self) -> usize {
        self.at
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed::Short)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Wrong)
    }

    /// Reads a number.
    pub(crate) fn int(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads the next field's header; `None` at the structure's end. `last` is the id of the field before.
    pub(crate) fn field(&mut self, last: &mut i16) -> Result<Option<Field>, Malformed> {
        let header = self.byte()?;
        let (delta, kind) = (i16::from(header >> 4), header & 0x0f);
        if kind == 0 {
            return Ok(None);
        }
        let id = if delta == 0 { i16::try_from(self.int()?).ok() } else { last.checked_add(delta) };
        *last = id.ok_or(Malformed::Wrong)?;
        Ok(Some(Field { id: *last, kind }))
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self, kind: u8) -> Result<(), Malformed> {
        let mut elements = limits::PARQUET_ELEMENTS;
        self.walk(kind, DEPTH, &mut elements)
    }

    fn walk(&mut self, kind: u8, depth: u32, elements: &mut u64) -> Result<(), Malformed> {
        let inner = depth.checked_sub(1).ok_or(Malformed::Wrong)?;
        match kind {
            BOOL_TRUE | BOOL_FALSE => {}
            BYTE => drop(self.byte()?),
            I16 | I32 | I64 => drop(self.varint()?),
            DOUBLE => drop(self.take(8)?),
            UUID => drop(self.take(16)?),
            BINARY => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Short)?;
                self.take(length)?;
            }
            LIST | SET => {
                let header = self.byte()?;
                let count = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
                self.walk_elements(count, &[header & 0x0f], inner, elements)?;
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                self.walk_elements(count, &[kinds >> 4, kinds & 0x0f], inner, elements)?;
            }
            STRUCT => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    self.walk(field.kind, inner, elements)?;
                }
            }
            _ => return Err(Malformed::Wrong),
        }
        Ok(())
    }

    fn walk_elements(&mut self, count: u64, kinds: &[u8], depth: u32, elements: &mut u64) -> Result<(), Malformed> {
        *elements = elements.checked_sub(count).ok_or(Malformed::TooMany)?;
        for _ in 0..count {
            for kind in kinds {
                // A truth value that is no field takes a byte.
                let kind = if matches!(*kind, BOOL_TRUE | BOOL_FALSE) { BYTE } else { *kind };
                self.walk(kind, depth, elements)?;
            }
        }
        Ok(())
    }
}

/// Walks over the structure that the bytes are.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Malformed> {
    Compact::new(bytes).skip(STRUCT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_list_claims_is_bounded() {
        // Field 1: a list of so many structures.
        let list = |count: u64| {
            let mut bytes = vec![0x19, 0xfc];
            let mut rest = count;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes
        };
        let mut sound = list(20);
        sound.extend([0; 21]);
        assert_eq!(check(&sound), Ok(()));
        assert_eq!(check(&sound[..20]), Err(Malformed::Short));
        assert_eq!(check(&list(limits::PARQUET_ELEMENTS + 1)), Err(Malformed::TooMany));
        assert_eq!(check(&list(u64::MAX)), Err(Malformed::TooMany));
        assert_eq!(check(&[0x1c; 100]), Err(Malformed::Wrong), "deeper than any Parquet structure");
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
