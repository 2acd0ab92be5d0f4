//! What fields that are left out of JSON mean: for serde, which asks for the value and whether to leave it out again.

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
pub(crate) fn is_yes(value: &bool) -> bool {
    *value
}
