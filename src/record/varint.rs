//! Zigzag variable-length integers, as records have them.

/// Most bytes of a 64-bit one.
pub(crate) const BYTES_MAX: usize = 10;

/// Appends a number.
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// How many bytes a number takes.
pub(crate) fn size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number from the front; `None` when the bytes end or it is longer than 64 bits.
#[inline]
pub(crate) fn read(bytes: &mut &[u8]) -> Option<i64> {
    // Nearly every number of a record takes one byte or two.
    let zigzag = match **bytes {
        [first @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            u64::from(first)
        }
        [first, second @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            u64::from(first & 0x7f) | u64::from(second) << 7
        }
        _ => return read_long(bytes),
    };
    Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

fn read_long(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for index in 0..BYTES_MAX {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if index == BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, -1, 63, 64, -64, -65, 300, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            assert_eq!(bytes.len(), size(value), "{value}");
            let mut rest = &bytes[..];
            assert_eq!((read(&mut rest), rest.len()), (Some(value), 0));
            let mut rest = &bytes[..];
            assert_eq!((read_long(&mut rest), rest.len()), (Some(value), 0));
            assert_eq!(read(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(read(&mut &[0xff; 11][..]), None);
    }
}
