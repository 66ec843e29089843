//! Kafka's 128-bit ids: topic ids, cluster ids, directory ids.
//!
//! The text form is URL-safe base64 without padding, 22 characters, as
//! `org.apache.kafka.common.Uuid` prints it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A 128-bit id. All zeros is Kafka's "no id".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// No id.
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The id of `__cluster_metadata` (`Uuid.METADATA_TOPIC_ID`).
    pub const METADATA_TOPIC: Uuid = Uuid::from_u128(1);

    /// The id with the given big-endian value.
    pub const fn from_u128(value: u128) -> Uuid {
        Uuid(value.to_be_bytes())
    }

    /// A version 4 id from 128 random bits. Kafka never hands out an id whose text starts
    /// with `-`, because command lines would take it for an option; nor do we.
    pub fn from_random(random: u128) -> Uuid {
        let mut bytes = random.to_be_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        // The first character holds the top six bits; 62 is `-`.
        if bytes[0] >> 2 == 62 {
            bytes[0] &= 0x7f;
        }
        Uuid(bytes)
    }

    /// Whether this is "no id".
    pub fn is_zero(&self) -> bool {
        *self == Uuid::ZERO
    }

    /// In how many bits two ids differ. Two that were drawn at random differ in some sixty.
    pub fn bits_apart(&self, other: &Uuid) -> u32 {
        let of = |uuid: &Uuid| u128::from_be_bytes(uuid.0);
        (of(self) ^ of(other)).count_ones()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a Kafka id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Kafka id (22 characters of URL-safe base64): {0:?}")]
pub struct InvalidUuid(pub String);

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Uuid, InvalidUuid> {
        let invalid = || InvalidUuid(text.chars().take(64).collect());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        Ok(Uuid(bytes.try_into().map_err(|_| invalid())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for seed in [1u128, u128::MAX, 0xdead_beef << 90] {
            let id = Uuid::from_random(seed);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(!id.to_string().starts_with('-'));
        }
        assert!("short".parse::<Uuid>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAAA/".parse::<Uuid>().is_err());
    }
}
