//! Compact encodings of values and accumulators.
//!
//! | type | alone, or last in a tuple | before others in a tuple, or in a list |
//! |---|---|---|
//! | bytes, text | as they are | length, then as they are |
//! | unsigned | varint | the same |
//! | signed | varint of the zigzag form | the same |
//! | `f64` | 8 bytes, little-endian | the same |
//! | `Vec<T>` | its items | count, then its items |

use gristmill_runs::varint;

use super::{BadEncoding, Text, take};

/// A value of records.
pub trait Value {
    /// What a reducer sees of a value.
    type Decoded<'a>: Text;
    /// Bytes that every value counts as in the sort budget when it is an accumulator; `None` when they differ.
    const FIXED_BYTES: Option<u64> = None;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Appends an encoding that shows where it ends.
    fn encode_part(&self, out: &mut Vec<u8>);

    /// Reads what [`Value::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    fn decode(bytes: &[u8]) -> Result<Self::Decoded<'_>, BadEncoding>;

    /// Reads what [`Value::encode_part`] wrote off the front.
    ///
    /// # Errors
    /// When the bytes are something else.
    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Decoded<'a>, BadEncoding>;
}

/// A value that does not borrow from the bytes it is read from: what an accumulator has to be.
pub trait Owned: Sized + for<'a> Value<Decoded<'a> = Self> {}

impl<T: for<'a> Value<Decoded<'a> = T>> Owned for T {}

/// Reads a part that has to be all there is.
fn only<'a, T>(
    mut bytes: &'a [u8],
    read: impl FnOnce(&mut &'a [u8]) -> Result<T, BadEncoding>,
) -> Result<T, BadEncoding> {
    let value = read(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(BadEncoding::of::<T>()) }
}

#[inline]
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, length) = varint::read(bytes)?;
    *bytes = &bytes[length..];
    Some(number)
}

fn counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(bytes)?).ok()?;
    take(bytes, length)
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl Value for $type {
            type Decoded<'a> = Self;
            const FIXED_BYTES: Option<u64> = Some(8);

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                varint::write(out, *self as u64);
            }

            #[inline]
            fn encode_part(&self, out: &mut Vec<u8>) {
                Value::encode(self, out);
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self, BadEncoding> {
                only(bytes, |bytes| <Self as Value>::decode_part(bytes))
            }

            #[inline]
            fn decode_part(bytes: &mut &[u8]) -> Result<Self, BadEncoding> {
                number(bytes).and_then(|number| Self::try_from(number).ok()).ok_or(BadEncoding::of::<Self>())
            }
        }
    )*};
}

unsigned!(u16, u32, u64, usize);

macro_rules! signed {
    ($($type:ty),*) => {$(
        impl Value for $type {
            type Decoded<'a> = Self;
            const FIXED_BYTES: Option<u64> = Some(8);

            fn encode(&self, out: &mut Vec<u8>) {
                let wide = i64::from(*self);
                varint::write(out, (wide << 1 ^ wide >> 63) as u64);
            }

            fn encode_part(&self, out: &mut Vec<u8>) {
                Value::encode(self, out);
            }

            fn decode(bytes: &[u8]) -> Result<Self, BadEncoding> {
                only(bytes, |bytes| <Self as Value>::decode_part(bytes))
            }

            fn decode_part(bytes: &mut &[u8]) -> Result<Self, BadEncoding> {
                let wide = number(bytes).map(|number| (number >> 1) as i64 ^ -((number & 1) as i64));
                wide.and_then(|wide| Self::try_from(wide).ok()).ok_or(BadEncoding::of::<Self>())
            }
        }
    )*};
}

signed!(i32, i64);

impl Value for f64 {
    type Decoded<'a> = Self;
    const FIXED_BYTES: Option<u64> = Some(8);

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        Value::encode(self, out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, BadEncoding> {
        only(bytes, |bytes| <Self as Value>::decode_part(bytes))
    }

    fn decode_part(bytes: &mut &[u8]) -> Result<Self, BadEncoding> {
        let bytes = take(bytes, 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::from_le_bytes).ok_or(BadEncoding::of::<Self>())
    }
}

impl Value for () {
    type Decoded<'a> = ();
    const FIXED_BYTES: Option<u64> = Some(0);

    fn encode(&self, _: &mut Vec<u8>) {}

    fn encode_part(&self, _: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Result<(), BadEncoding> {
        if bytes.is_empty() { Ok(()) } else { Err(BadEncoding::of::<Self>()) }
    }

    fn decode_part(_: &mut &[u8]) -> Result<(), BadEncoding> {
        Ok(())
    }
}

impl Value for [u8] {
    type Decoded<'a> = &'a [u8];

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        varint::write(out, self.len() as u64);
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Result<&[u8], BadEncoding> {
        Ok(bytes)
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadEncoding> {
        counted(bytes).ok_or(BadEncoding::of::<Self>())
    }
}

impl Value for str {
    type Decoded<'a> = &'a str;

    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode(out);
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode_part(out);
    }

    fn decode(bytes: &[u8]) -> Result<&str, BadEncoding> {
        std::str::from_utf8(bytes).map_err(|_| BadEncoding::of::<Self>())
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, BadEncoding> {
        <Self as Value>::decode(counted(bytes).ok_or(BadEncoding::of::<Self>())?)
    }
}

/// An owned type that is encoded as what it borrows as, and read back owned.
macro_rules! as_borrowed {
    ($owned:ty, $borrowed:ty) => {
        impl Value for $owned {
            type Decoded<'a> = Self;

            fn encode(&self, out: &mut Vec<u8>) {
                <$borrowed as Value>::encode(self, out);
            }

            fn encode_part(&self, out: &mut Vec<u8>) {
                <$borrowed as Value>::encode_part(self, out);
            }

            fn decode(bytes: &[u8]) -> Result<Self, BadEncoding> {
                <$borrowed as Value>::decode(bytes).map(Into::into)
            }

            fn decode_part(bytes: &mut &[u8]) -> Result<Self, BadEncoding> {
                <$borrowed as Value>::decode_part(bytes).map(Into::into)
            }
        }
    };
}

as_borrowed!(Vec<u8>, [u8]);
as_borrowed!(String, str);

impl<T: Value> Value for Vec<T> {
    type Decoded<'a> = Vec<T::Decoded<'a>>;

    fn encode(&self, out: &mut Vec<u8>) {
        for item in self {
            item.encode_part(out);
        }
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        varint::write(out, self.len() as u64);
        Value::encode(self, out);
    }

    fn decode(mut bytes: &[u8]) -> Result<Self::Decoded<'_>, BadEncoding> {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let before = bytes.len();
            items.push(T::decode_part(&mut bytes)?);
            // Items of no bytes would never end.
            if bytes.len() == before {
                return Err(BadEncoding::of::<Self>());
            }
        }
        Ok(items)
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Decoded<'a>, BadEncoding> {
        let count = number(bytes).ok_or(BadEncoding::of::<Self>())?;
        // Each item has at least one byte, so a wrong count cannot ask for more room than there are bytes.
        if count > bytes.len() as u64 {
            return Err(BadEncoding::of::<Self>());
        }
        (0..count).map(|_| T::decode_part(bytes)).collect()
    }
}

const fn plus(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        _ => None,
    }
}

impl<A: Value, B: Value> Value for (A, B) {
    type Decoded<'a> = (A::Decoded<'a>, B::Decoded<'a>);
    const FIXED_BYTES: Option<u64> = plus(A::FIXED_BYTES, B::FIXED_BYTES);

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode_part(out);
        self.1.encode(out);
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        self.0.encode_part(out);
        self.1.encode_part(out);
    }

    fn decode(mut bytes: &[u8]) -> Result<Self::Decoded<'_>, BadEncoding> {
        let first = A::decode_part(&mut bytes)?;
        Ok((first, B::decode(bytes)?))
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Decoded<'a>, BadEncoding> {
        Ok((A::decode_part(bytes)?, B::decode_part(bytes)?))
    }
}

impl<A: Value, B: Value, C: Value> Value for (A, B, C) {
    type Decoded<'a> = (A::Decoded<'a>, B::Decoded<'a>, C::Decoded<'a>);
    const FIXED_BYTES: Option<u64> = plus(plus(A::FIXED_BYTES, B::FIXED_BYTES), C::FIXED_BYTES);

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode_part(out);
        self.1.encode_part(out);
        self.2.encode(out);
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        self.0.encode_part(out);
        self.1.encode_part(out);
        self.2.encode_part(out);
    }

    fn decode(mut bytes: &[u8]) -> Result<Self::Decoded<'_>, BadEncoding> {
        let first = A::decode_part(&mut bytes)?;
        let second = B::decode_part(&mut bytes)?;
        Ok((first, second, C::decode(bytes)?))
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Decoded<'a>, BadEncoding> {
        Ok((A::decode_part(bytes)?, B::decode_part(bytes)?, C::decode_part(bytes)?))
    }
}
