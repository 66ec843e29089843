//! The frame header that Kafka's clients of format 0 wrote before their LZ4 data.
//!
//! An LZ4 frame's header ends in a byte of a hash of the header. Those clients hashed the frame's
//! magic with it (KAFKA-3160), so that every proper reader refuses what they sent. Kafka does not
//! look at the byte in format 0; here it is put right, and the frame then read as any other.

use std::borrow::Cow;

const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Where the flags are, and what they say about the header's length.
const FLAGS: usize = 4;
const HAS_CONTENT_SIZE: u8 = 0x08;
const HAS_DICTIONARY: u8 = 0x01;

/// The frame with the hash its header should have. What is not a frame stays as it is.
pub(crate) fn with_right_checksum(frame: &[u8]) -> Cow<'_, [u8]> {
    let Some((at, checksum)) = header_checksum(frame) else { return Cow::Borrowed(frame) };
    if frame[at] == checksum {
        return Cow::Borrowed(frame);
    }
    let mut frame = frame.to_vec();
    frame[at] = checksum;
    Cow::Owned(frame)
}

/// Where the hash stands, and what it should be.
fn header_checksum(frame: &[u8]) -> Option<(usize, u8)> {
    if !frame.starts_with(&FRAME_MAGIC) {
        return None;
    }
    let flags = *frame.get(FLAGS)?;
    let size = if flags & HAS_CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary = if flags & HAS_DICTIONARY != 0 { 4 } else { 0 };
    let at = FLAGS + 2 + size + dictionary;
    frame.get(at)?;
    Some((at, (xxh32(&frame[FLAGS..at]) >> 8) as u8))
}

/// xxHash32 with seed 0 of fewer than 16 bytes, which a frame's header always has.
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [2654435761, 2246822519, 3266489917, 668265263, 374761393];
    assert!(bytes.len() < 16, "a frame's header has at most 14 bytes");
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{Compression, compress, decompress};

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
    }

    #[test]
    fn a_wrong_checksum_is_put_right_and_a_right_one_left() {
        let mut with_size = Vec::new();
        let info = lz4_flex::frame::FrameInfo::new().content_size(Some(5));
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, &mut with_size);
        std::io::Write::write_all(&mut encoder, b"hello").unwrap();
        encoder.finish().unwrap();
        for frame in [compress(Compression::Lz4, b"hello", None), with_size] {
            assert!(matches!(with_right_checksum(&frame), Cow::Borrowed(_)));
            let (at, _) = header_checksum(&frame).unwrap();
            let mut wrong = frame.clone();
            wrong[at] ^= 0x55;
            assert!(decompress(Compression::Lz4, &wrong, 5).is_err());
            assert_eq!(with_right_checksum(&wrong)[..], frame[..]);
            for end in 0..=at {
                assert_eq!(with_right_checksum(&wrong[..end])[..], wrong[..end]);
            }
        }
        assert_eq!(with_right_checksum(b"not a frame at all")[..], b"not a frame at all"[..]);
    }
}
