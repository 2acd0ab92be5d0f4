//! Direct shuffle: where a worker serves its map outputs to other workers, and what opens them.
//!
//! A worker that listens tells the coordinator its address, the hash of its certificate and a key. The key never goes
//! further: who may fetch gets a grant's token signed with it ([`crate::TokenSecret`]), which opens the outputs of that grant's
//! step and nothing else.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, hex, unhex};
use crate::grant::TokenSecret;

/// Where a worker listens, as it tells the coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleAddress {
    /// `https://HOST:PORT`.
    pub url: String,
    /// SHA-256 of its certificate.
    pub pin: Digest,
    /// Signs the right to fetch.
    pub key: ShuffleKey,
}

/// The key of one life of a worker's listener. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ShuffleKey([u8; 32]);

impl ShuffleKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns what signs and checks tokens with it.
    #[must_use]
    pub fn secret(&self) -> TokenSecret {
        TokenSecret::new(self.0)
    }
}

impl fmt::Debug for ShuffleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShuffleKey(..)")
    }
}

impl Serialize for ShuffleKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for ShuffleKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("64 hex digits are expected"))
    }
}

/// A worker that serves outputs, as one that fetches is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// `https://HOST:PORT`.
    pub url: String,
    /// SHA-256 of its certificate.
    pub pin: Digest,
    /// The grant's token, signed with the holder's key.
    pub token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_travels_as_hex_and_is_never_printed() {
        let key = ShuffleKey::new([0xab; 32]);
        let text = serde_json::to_string(&key).expect("JSON");
        assert_eq!(text, format!("\"{}\"", "ab".repeat(32)));
        assert_eq!(serde_json::from_str::<ShuffleKey>(&text).expect("reads back"), key);
        assert!(serde_json::from_str::<ShuffleKey>("\"abc\"").is_err());
        assert!(!format!("{key:?}").contains("ab"));
    }
}
