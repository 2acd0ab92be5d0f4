//! Keys that group by their first half and sort by the whole: secondary sort.
//!
//! The encoding is that of a tuple, so that keys still compare as bytes. Because the first half shows where it ends, no
//! encoded first half is the beginning of another: two keys are of one group where one has the other's first half.

use super::{BadEncoding, Key};

/// A key whose first half says which group a record is of, and which reduce it goes to; the values of a group come in the
/// order of the second half. A reducer is called once for each first half and sees only that.
///
/// ```
/// use gristmill_sdk::codec::Grouped;
/// use gristmill_sdk::prelude::*;
///
/// /// Reads lines of `user time page`.
/// struct Visits;
///
/// impl Mapper for Visits {
///     type Key = Grouped<String, u64>;
///     type Value = str;
///
///     fn map(&mut self, line: &[u8], out: &mut Emit<'_, Grouped<String, u64>, str>) -> Result<()> {
///         let mut fields = std::str::from_utf8(line)?.split(' ');
///         let (user, time) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
///         out.emit(&Grouped(user.to_owned(), time.parse()?), fields.next().unwrap_or_default());
///         Ok(())
///     }
/// }
///
/// /// Prints what each user looked at first: nothing is kept in memory, the first value is the earliest.
/// struct First;
///
/// impl Reducer for First {
///     type Key = Grouped<String, u64>;
///     type Value = str;
///
///     fn reduce(
///         &mut self,
///         user: <Self::Key as Key>::Decoded<'_>,
///         pages: &mut Values<'_, str>,
///         out: &mut Lines<'_>,
///     ) -> Result<()> {
///         if let Some((time, page)) = pages.next_ordered::<u64>() {
///             out.emit(user, (time, page));
///         }
///         Ok(())
///     }
/// }
///
/// let job: Job = Job::map(|_| Visits).reduce(|_| First).into();
/// ```
///
/// A combiner is refused when the program is built: it would leave one value of each group, and so no order.
///
/// ```compile_fail
/// # use gristmill_sdk::codec::Grouped;
/// # use gristmill_sdk::prelude::*;
/// # struct Visits;
/// # impl Mapper for Visits {
/// #     type Key = Grouped<String, u64>;
/// #     type Value = u64;
/// #     fn map(&mut self, _: &[u8], _: &mut Emit<'_, Grouped<String, u64>, u64>) -> Result<()> {
/// #         Ok(())
/// #     }
/// # }
/// let job: Job = Job::map(|_| Visits).combine(Sum).into();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Grouped<K, S>(pub K, pub S);

impl<K: Key, S: Key> Key for Grouped<K, S> {
    /// The first half, whether the second is there or not: a group has no second.
    type Decoded<'a> = K::Part<'a>;
    type Part<'a> = (K::Part<'a>, S::Part<'a>);
    const GROUP: Option<fn(&[u8]) -> usize> = Some(first_half::<K>);

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode_part(out);
        self.1.encode(out);
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        self.0.encode_part(out);
        self.1.encode_part(out);
    }

    fn decode(mut bytes: &[u8]) -> Result<Self::Decoded<'_>, BadEncoding> {
        K::decode_part(&mut bytes)
    }

    fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::Part<'a>, BadEncoding> {
        Ok((K::decode_part(bytes)?, S::decode_part(bytes)?))
    }
}

/// Returns how long the first half is; all of what is no such key, which then fails where it is decoded.
fn first_half<K: Key>(key: &[u8]) -> usize {
    let mut rest = key;
    match K::decode_part(&mut rest) {
        Ok(_) => key.len() - rest.len(),
        Err(_) => key.len(),
    }
}
