//! Encodings of keys that compare, as bytes, as the keys do.
//!
//! | type | alone, or last in a tuple | before others in a tuple |
//! |---|---|---|
//! | bytes, text | as they are | 00 is written as 00 FF, the end as 00 00 |
//! | unsigned | big-endian | the same |
//! | signed | big-endian with the sign bit turned | the same |
//! | tuple | its fields | its fields |

use std::borrow::Cow;

use super::{BadEncoding, Text, take};

/// A key of records.
pub trait Key {
    /// What a reducer sees of a key.
    type Decoded<'a>: Text;
    /// What a reducer sees of a key that is a field of a tuple.
    type Part<'a>: Text;

    /// How many bytes of an encoded key say which group its record is of; `None`: all of them.
    const GROUP: Option<fn(&[u8]) -> usize> = None;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Appends an encoding that shows where it ends.
    fn encode_part(&self, out: &mut Vec<u8>);

    /// Reads what [`Key::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    fn decode(bytes: &[u8]) -> Result<Self::Decoded<'_>, BadEncoding>;

    /// Reads what [`Key::encode_part`] wrote off the front.
    ///
    /// # Errors
    /// When the bytes are something else.
    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Part<'a>, BadEncoding>;
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.split_inclusive(|&byte| byte == 0) {
        out.extend_from_slice(piece);
        if piece.ends_with(&[0]) {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn unescape<'a>(bytes: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let all = *bytes;
    let mut plain: Option<Vec<u8>> = None;
    let mut start = 0;
    loop {
        let zero = start + all.get(start..)?.iter().position(|&byte| byte == 0)?;
        match all.get(zero + 1)? {
            0 => {
                *bytes = &all[zero + 2..];
                return Some(match plain {
                    None => Cow::Borrowed(&all[..zero]),
                    Some(mut plain) => {
                        plain.extend_from_slice(&all[start..zero]);
                        Cow::Owned(plain)
                    }
                });
            }
            0xff => {
                plain.get_or_insert_default().extend_from_slice(&all[start..=zero]);
                start = zero + 2;
            }
            _ => return None,
        }
    }
}

fn unescape_text<'a>(bytes: &mut &'a [u8]) -> Result<Cow<'a, str>, BadEncoding> {
    let text = match unescape(bytes) {
        Some(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Some(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        None => None,
    };
    text.ok_or(BadEncoding::of::<str>())
}

impl Key for [u8] {
    type Decoded<'a> = &'a [u8];
    type Part<'a> = Cow<'a, [u8]>;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        escape(self, out);
    }

    fn decode(bytes: &[u8]) -> Result<&[u8], BadEncoding> {
        Ok(bytes)
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, BadEncoding> {
        unescape(bytes).ok_or(BadEncoding::of::<Self>())
    }
}

impl Key for str {
    type Decoded<'a> = &'a str;
    type Part<'a> = Cow<'a, str>;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        escape(self.as_bytes(), out);
    }

    fn decode(bytes: &[u8]) -> Result<&str, BadEncoding> {
        std::str::from_utf8(bytes).map_err(|_| BadEncoding::of::<Self>())
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Cow<'a, str>, BadEncoding> {
        unescape_text(bytes)
    }
}

/// An owned type that is encoded as what it borrows as.
macro_rules! as_borrowed {
    ($owned:ty, $borrowed:ty) => {
        impl Key for $owned {
            type Decoded<'a> = &'a $borrowed;
            type Part<'a> = Cow<'a, $borrowed>;

            fn encode(&self, out: &mut Vec<u8>) {
                <$borrowed as Key>::encode(self, out);
            }

            fn encode_part(&self, out: &mut Vec<u8>) {
                <$borrowed as Key>::encode_part(self, out);
            }

            fn decode(bytes: &[u8]) -> Result<&$borrowed, BadEncoding> {
                <$borrowed as Key>::decode(bytes)
            }

            fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Cow<'a, $borrowed>, BadEncoding> {
                <$borrowed as Key>::decode_part(bytes)
            }
        }
    };
}

as_borrowed!(Vec<u8>, [u8]);
as_borrowed!(String, str);

/// Numbers: `$turn` is what the top bit is turned by, so that negative numbers come first.
macro_rules! number {
    ($($type:ty as $unsigned:ty, $turn:expr);*) => {$(
        impl Key for $type {
            type Decoded<'a> = Self;
            type Part<'a> = Self;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self as $unsigned ^ $turn).to_be_bytes());
            }

            fn encode_part(&self, out: &mut Vec<u8>) {
                Key::encode(self, out);
            }

            fn decode(mut bytes: &[u8]) -> Result<Self, BadEncoding> {
                let number = <Self as Key>::decode_part(&mut bytes)?;
                if bytes.is_empty() { Ok(number) } else { Err(BadEncoding::of::<Self>()) }
            }

            fn decode_part(bytes: &mut &[u8]) -> Result<Self, BadEncoding> {
                let taken = take(bytes, size_of::<Self>()).and_then(|bytes| bytes.try_into().ok());
                let bytes = taken.ok_or(BadEncoding::of::<Self>())?;
                Ok((<$unsigned>::from_be_bytes(bytes) ^ $turn) as Self)
            }
        }
    )*};
}

number!(
    u16 as u16, 0;
    u32 as u32, 0;
    u64 as u64, 0;
    i32 as u32, 1 << 31;
    i64 as u64, 1 << 63
);

impl Key for () {
    type Decoded<'a> = ();
    type Part<'a> = ();

    fn encode(&self, _: &mut Vec<u8>) {}

    fn encode_part(&self, _: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Result<(), BadEncoding> {
        if bytes.is_empty() { Ok(()) } else { Err(BadEncoding::of::<Self>()) }
    }

    fn decode_part(_: &mut &[u8]) -> Result<(), BadEncoding> {
        Ok(())
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    type Decoded<'a> = (A::Part<'a>, B::Decoded<'a>);
    type Part<'a> = (A::Part<'a>, B::Part<'a>);

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

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Part<'a>, BadEncoding> {
        Ok((A::decode_part(bytes)?, B::decode_part(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    type Decoded<'a> = (A::Part<'a>, B::Part<'a>, C::Decoded<'a>);
    type Part<'a> = (A::Part<'a>, B::Part<'a>, C::Part<'a>);

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

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Part<'a>, BadEncoding> {
        Ok((A::decode_part(bytes)?, B::decode_part(bytes)?, C::decode_part(bytes)?))
    }
}
