//! Wrong tokens, counted by address: past the limit they are no longer looked into. A right token always opens its routes,
//! so that nobody behind the same address is locked out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use gristmill_common::limits;

use crate::fresh::Clock;

const MINUTE_MS: u64 = 60_000;

/// Counts wrong tokens.
#[derive(Debug)]
pub(crate) struct Strikes {
    clock: Clock,
    by_address: Mutex<HashMap<IpAddr, (u64, u32)>>,
}

impl Default for Strikes {
    fn default() -> Self {
        Self { clock: Clock::start(), by_address: Mutex::new(HashMap::new()) }
    }
}

impl Strikes {
    /// Notes a wrong token; `false` when the address has sent too many of them in this minute.
    pub(crate) fn note(&self, address: IpAddr) -> bool {
        self.note_at(address, self.clock.now().mono_ms / MINUTE_MS)
    }

    fn note_at(&self, address: IpAddr, minute: u64) -> bool {
        // Counts are usable whatever a panicking holder did.
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if by_address.len() >= limits::AUTH_ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, (of, _)| *of == minute);
            if by_address.len() >= limits::AUTH_ADDRESSES {
                return false;
            }
        }
        let (of, count) = by_address.entry(address).or_insert((minute, 0));
        if *of != minute {
            (*of, *count) = (minute, 0);
        }
        *count = count.saturating_add(1);
        *count <= limits::AUTH_FAILURES_PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_wrong_tokens_a_minute() {
        let (strikes, one, other) = (Strikes::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..limits::AUTH_FAILURES_PER_MINUTE {
            assert!(strikes.note_at(one, 5));
        }
        assert!(!strikes.note_at(one, 5) && strikes.note_at(other, 5) && strikes.note_at(one, 6));
    }

    #[test]
    fn addresses_are_counted_up_to_a_limit() {
        let strikes = Strikes::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!((0..limits::AUTH_ADDRESSES as u32).all(|n| strikes.note_at(address(n), 1)));
        assert!(!strikes.note_at(address(u32::MAX), 1));
        assert!(strikes.note_at(address(u32::MAX), 2));
    }
}
