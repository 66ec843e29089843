//! CRC-32C as Kafka uses it, and the CRC of the message formats before v2. Pure.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC-32C of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The CRC-32C of `first` followed by `second`.
pub(crate) fn checksum_of_two(first: &[u8], second: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(first);
    digest.update(second);
    digest.finalize() as u32
}

/// The CRC-32 of IEEE 802.3, which messages before v2 carry.
pub(crate) fn checksum_ieee(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum_of_two(b"1234", b"56789"), 0xe306_9283);
        assert_eq!(checksum_ieee(b"123456789"), 0xcbf4_3926);
    }
}
