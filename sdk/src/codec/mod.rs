//! How keys, values and text become bytes.
//!
//! Keys are compared as bytes everywhere, so [`Key`] encodings keep the order of what they encode. [`Value`] encodings are
//! compact instead. [`Text`] is what a reader of the output sees. What is read comes from another machine: decoding
//! checks everything and never panics.

mod grouped;
mod key;
pub(crate) mod text;
mod value;

pub use grouped::Grouped;
pub use key::Key;
pub use text::Text;
pub use value::{Owned, Value};

/// Says that bytes are not what the type they are read as would write: two builds of a program disagree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a record does not have the encoding of `{expected}`: was it written by another build of the program?")]
pub struct BadEncoding {
    /// The type that was expected.
    pub expected: &'static str,
}

impl BadEncoding {
    /// Names the type that was expected.
    #[must_use]
    pub fn of<T: ?Sized>() -> Self {
        Self { expected: std::any::type_name::<T>() }
    }
}

/// Takes `length` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests;
