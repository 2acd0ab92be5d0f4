//! What a reader of the output sees: bytes as they are, numbers in decimal, tuples with tabs, lists with commas.

use std::borrow::Cow;
use std::io::Write as _;

/// Can be written as text of an output line.
pub trait Text {
    /// Appends the text.
    fn write_text(&self, out: &mut Vec<u8>);

    /// Says whether there is anything to write; what is not printed has no tab beside it.
    fn is_printed(&self) -> bool {
        true
    }
}

impl<T: Text + ?Sized> Text for &T {
    fn write_text(&self, out: &mut Vec<u8>) {
        (**self).write_text(out);
    }

    fn is_printed(&self) -> bool {
        (**self).is_printed()
    }
}

impl<T: Text + ToOwned + ?Sized> Text for Cow<'_, T> {
    fn write_text(&self, out: &mut Vec<u8>) {
        (**self).write_text(out);
    }
}

impl Text for () {
    fn write_text(&self, _: &mut Vec<u8>) {}

    fn is_printed(&self) -> bool {
        false
    }
}

impl Text for [u8] {
    #[inline]
    fn write_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Text for Vec<u8> {
    fn write_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Text for str {
    fn write_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Text for String {
    fn write_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

macro_rules! displayed {
    ($($type:ty),*) => {$(
        impl Text for $type {
            fn write_text(&self, out: &mut Vec<u8>) {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{self}");
            }
        }
    )*};
}

displayed!(u16, u32, u64, u128, usize, i16, i32, i64, i128, isize, f32, f64, bool, char);

/// `u8` is no text, so that bytes are never written as a list of numbers.
impl<T: Text> Text for Vec<T> {
    fn write_text(&self, out: &mut Vec<u8>) {
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            item.write_text(out);
        }
    }
}

/// Writes both with a tab between, leaving out what is not printed.
pub(crate) fn write_pair(left: &impl Text, right: &impl Text, out: &mut Vec<u8>) {
    left.write_text(out);
    if left.is_printed() && right.is_printed() {
        out.push(b'\t');
    }
    right.write_text(out);
}

impl<A: Text, B: Text> Text for (A, B) {
    fn write_text(&self, out: &mut Vec<u8>) {
        write_pair(&self.0, &self.1, out);
    }
}

impl<A: Text, B: Text, C: Text> Text for (A, B, C) {
    fn write_text(&self, out: &mut Vec<u8>) {
        write_pair(&(&self.0, &self.1), &self.2, out);
    }
}
