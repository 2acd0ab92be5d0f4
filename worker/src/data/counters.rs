//! Counters of user code: named numbers, bounded in count and in length of name.

use std::collections::BTreeMap;

use gristmill_common::limits;

/// The counters of one attempt.
#[derive(Default)]
pub(super) struct Counters(BTreeMap<String, i64>);

impl Counters {
    /// Adds to a counter; saturates. An error says which limit was passed.
    pub(super) fn add(&mut self, name: &str, delta: i64) -> Result<(), String> {
        if let Some(value) = self.0.get_mut(name) {
            *value = value.saturating_add(delta);
            return Ok(());
        }
        let (most, length) = (limits::COUNTERS, limits::COUNTER_NAME_BYTES);
        if name.is_empty() || name.len() > length {
            return Err(format!("the name of a counter has {} bytes: 1 to {length} are allowed", name.len()));
        }
        if self.0.len() >= most {
            return Err(format!("more than {most} counters"));
        }
        self.0.insert(name.to_owned(), delta);
        Ok(())
    }

    pub(super) fn take(&mut self) -> BTreeMap<String, i64> {
        std::mem::take(&mut self.0)
    }
}

/// Adds counters to others; saturates.
pub(super) fn add_all(to: &mut BTreeMap<String, i64>, counters: BTreeMap<String, i64>) {
    for (name, amount) in counters {
        let sum = to.entry(name).or_default();
        *sum = sum.saturating_add(amount);
    }
}
