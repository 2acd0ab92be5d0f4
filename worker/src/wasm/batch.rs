//! Records of the batched interface: two lengths of 32 bits, little-endian, then key and value.
//!
//! A key length of `SAME_KEY` stands for the key of the record before; a value length of `NO_VALUE` for no value.

/// Bytes of records that are gathered for a call.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// Instead of the length of a key: the record has the key of the one before, which may be of the batch before.
pub(super) const SAME_KEY: u32 = u32::MAX;
/// Instead of the length of a value: there is none.
pub(super) const NO_VALUE: u32 = u32::MAX;

/// Appends a record that begins a group, or goes on with one.
pub(super) fn push(batch: &mut Vec<u8>, key: Option<&[u8]>, value: &[u8]) {
    let key_length = key.map_or(SAME_KEY, |key| key.len() as u32);
    batch.extend_from_slice(&key_length.to_le_bytes());
    batch.extend_from_slice(&(value.len() as u32).to_le_bytes());
    batch.extend_from_slice(key.unwrap_or_default());
    batch.extend_from_slice(value);
}

/// Gives key and value of each record to the function.
///
/// # Errors
/// A sentence that says which record does not fit.
pub(super) fn each<'b>(mut batch: &'b [u8], mut record: impl FnMut(&'b [u8], Option<&'b [u8]>)) -> Result<(), String> {
    let mut index = 0_u64;
    while !batch.is_empty() {
        let ((key, value), rest) = first(batch).ok_or_else(|| {
            format!("record {index} of what was emitted does not fit: its lengths pass the {} bytes left", batch.len())
        })?;
        record(key, value);
        batch = rest;
        index += 1;
    }
    Ok(())
}

/// Key and value.
type Record<'b> = (&'b [u8], Option<&'b [u8]>);

/// Takes the first record off.
#[inline]
fn first(batch: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (key_length, rest) = batch.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let value_length = u32::from_le_bytes(*value_length);
    if value_length == NO_VALUE {
        return Some(((key, None), rest));
    }
    let (value, rest) = rest.split_at_checked(value_length as usize)?;
    Some(((key, Some(value)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_what_is_cut_off_is_refused() {
        let mut batch = Vec::new();
        push(&mut batch, Some(b"ab"), b"1");
        push(&mut batch, Some(b""), b"");
        batch.extend_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'k']);
        let mut seen = Vec::new();
        each(&batch, |key, value| seen.push((key.to_vec(), value.map(<[u8]>::to_vec)))).expect("whole");
        let expected = [(b"ab".to_vec(), Some(b"1".to_vec())), (vec![], Some(vec![])), (b"k".to_vec(), None)];
        assert_eq!(seen, expected);
        for cut in [1, 7, 9, 10, batch.len() - 1] {
            let error = each(&batch[..cut], |_, _| ()).expect_err("cut");
            assert!(error.contains("does not fit"), "{error}");
        }
        let huge = [0xfe, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0];
        assert!(each(&huge, |_, _| ()).expect_err("huge").contains("record 0"));
    }
}
