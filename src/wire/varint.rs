//! Unsigned variable-length integers: seven bits a byte, the lowest first.

/// Bytes of the longest encoding of 32 bits.
pub(crate) const BYTES_MAX: usize = 5;

/// Encodes a value; the result is its first `usize` bytes.
pub(crate) fn encode(mut value: u32) -> ([u8; BYTES_MAX], usize) {
    let mut bytes = [0; BYTES_MAX];
    let mut len = 0;
    loop {
        bytes[len] = value as u8 & 0x7f;
        value >>= 7;
        len += 1;
        if value == 0 {
            return (bytes, len);
        }
        bytes[len - 1] |= 0x80;
    }
}

/// Decodes a value and tells its length; `None` if it does not end within five bytes.
///
/// As in Kafka, the bits beyond 32 of a fifth byte are ignored.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_encodings() {
        for (value, expected) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 1]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let (bytes, len) = encode(value);
            assert_eq!(&bytes[..len], expected, "{value}");
            assert_eq!(decode(expected), Some((value, len)));
            assert_eq!(decode(&expected[..len - 1]), None, "{value} cut short");
        }
    }

    #[test]
    fn six_bytes_are_refused() {
        assert_eq!(decode(&[0x80; 6]), None);
    }
}
