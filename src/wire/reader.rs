//! Reads Kafka's primitive types from received bytes.
//!
//! Invariants: nothing is copied, nothing panics, and a count is checked against the bytes that
//! are left before anything is allocated by it.

use std::borrow::Cow;

use ringlog_types::Uuid;

use crate::{DecodeError, Records, varint};

/// Kafka's limit for a string in either encoding, though the compact one has room for more.
pub(crate) const STRING_BYTES_MAX: usize = 0x7fff;

/// A position in received bytes.
///
/// The `flexible` argument of many methods chooses between the two encodings of lengths:
/// compact (KIP-482) or fixed.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// What is left.
    bytes: &'a [u8],
}

macro_rules! fixed_size {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("Reads a big-endian `", stringify!($type), "`.")]
        #[inline]
        pub fn $name(&mut self) -> Result<$type, DecodeError> {
            Ok(<$type>::from_be_bytes(*self.chunk()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    /// Number of bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that are left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Fails if anything is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    /// Takes that many bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(len) else {
            return Err(DecodeError::Truncated { needed: len, remaining: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(taken)
    }

    #[inline]
    fn chunk<const LEN: usize>(&mut self) -> Result<&'a [u8; LEN], DecodeError> {
        let Some((taken, rest)) = self.bytes.split_first_chunk() else {
            return Err(DecodeError::Truncated { needed: LEN, remaining: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(taken)
    }

    fixed_size!(i8: i8, u8: u8, i16: i16, u16: u16, i32: i32, u32: u32, i64: i64, f64: f64);

    /// Reads a boolean; any byte but 0 is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// Reads a 128-bit id.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(*self.chunk()?))
    }

    /// Reads an unsigned variable-length integer.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        // Nearly every length is below 127.
        if let Some((&first, rest)) = self.bytes.split_first()
            && first < 0x80
        {
            self.bytes = rest;
            return Ok(u32::from(first));
        }
        self.uvarint_long()
    }

    #[cold]
    fn uvarint_long(&mut self) -> Result<u32, DecodeError> {
        match varint::decode(self.bytes) {
            Some((value, len)) => {
                self.bytes = &self.bytes[len..];
                Ok(value)
            }
            None if self.bytes.len() >= varint::BYTES_MAX => Err(DecodeError::Varint),
            None => {
                let remaining = self.bytes.len();
                Err(DecodeError::Truncated { needed: remaining + 1, remaining })
            }
        }
    }

    /// Reads a length: -1 stands for null in the fixed form, 0 in the compact one, where all
    /// others are one more than the length.
    #[inline]
    fn length(
        &mut self,
        flexible: bool,
        fixed: fn(&mut Self) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize));
        }
        match fixed(self)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(DecodeError::NegativeLength(length)),
            },
        }
    }

    /// Reads the bytes of a string that may be null, where they stand. They need not be UTF-8:
    /// [`text`] is how to look at them.
    #[inline]
    pub fn nullable_text(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(length) = self.length(flexible, |reader| reader.i16().map(i32::from))? else {
            return Ok(None);
        };
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::StringTooLong(length));
        }
        self.take(length).map(Some)
    }

    /// Reads a string that may be null; see [`text`] for what is not UTF-8.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.nullable_text(flexible)?.map(text))
    }

    /// Reads a string; see [`text`] for what is not UTF-8.
    pub fn string(&mut self, flexible: bool) -> Result<Cow<'a, str>, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads bytes that may be null, where they stand.
    #[inline]
    pub fn nullable_slice(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.length(flexible, Self::i32)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// Reads bytes that may be null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        Ok(self.nullable_slice(flexible)?.map(Cow::Borrowed))
    }

    /// Reads bytes.
    pub fn bytes(&mut self, flexible: bool) -> Result<Cow<'a, [u8]>, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads records that may be null.
    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records<'a>>, DecodeError> {
        Ok(self.nullable_slice(flexible)?.map(Records::Borrowed))
    }

    /// Reads records.
    pub fn records(&mut self, flexible: bool) -> Result<Records<'a>, DecodeError> {
        self.nullable_records(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads the count of an array that may be null. `element_bytes_min` is what an element
    /// takes at least; a count that the bytes left cannot hold is refused.
    #[inline]
    pub fn nullable_count(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let count = self.length(flexible, Self::i32)?;
        let remaining = self.remaining();
        match count {
            Some(count) if count.saturating_mul(element_bytes_min.max(1)) > remaining => {
                Err(DecodeError::Count { count, remaining })
            }
            count => Ok(count),
        }
    }

    /// Reads the count of an array; see [`Reader::nullable_count`].
    #[inline]
    pub fn count(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
    ) -> Result<usize, DecodeError> {
        self.nullable_count(flexible, element_bytes_min)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads an array that may be null.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        match self.nullable_count(flexible, element_bytes_min)? {
            Some(count) => self.elements(count, element).map(Some),
            None => Ok(None),
        }
    }

    /// Reads an array.
    #[inline]
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(flexible, element_bytes_min)?;
        self.elements(count, element)
    }

    fn elements<T>(
        &mut self,
        count: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut elements = Vec::with_capacity(self.reservation::<T>(count));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// How many elements to make room for up front. They can be larger in memory than on the
    /// wire: room is made for no more bytes than are left (or one element), and an array that
    /// proves to be longer grows as it is read.
    fn reservation<T>(&self, count: usize) -> usize {
        count.min(1 + self.remaining() / size_of::<T>().max(1))
    }

    /// Reads a struct that may be null: a byte tells (-1 for null, else 1).
    pub fn nullable_struct<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.i8()? {
            ..0 => Ok(None),
            0.. => read(self).map(Some),
        }
    }

    /// Reads the tagged fields at the end of a struct. `field` reads the value of a tag it knows
    /// and says so; others are skipped.
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let mut value = Reader::new(self.take(size)?);
            if field(tag, &mut value)? && value.remaining() > 0 {
                return Err(DecodeError::TagSize { tag, left: value.remaining() });
            }
        }
        Ok(())
    }

    /// Skips the tagged fields at the end of a struct that knows none.
    #[inline]
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }
}

/// A string's bytes as text: as in Kafka, each sequence that is not UTF-8 becomes U+FFFD. No legal
/// name has that character, so such a name is answered like any other that is not legal, and the
/// rest of its request is served. One that would outgrow a string so is cut: it can be answered.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(mended_text(bytes)),
    }
}

#[cold]
fn mended_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        if text.len() > STRING_BYTES_MAX {
            text.truncate(text.floor_char_boundary(STRING_BYTES_MAX));
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_both_encodings() {
        let read = |bytes: &[u8], flexible| {
            let mut reader = Reader::new(bytes);
            let text = reader.nullable_string(flexible).map(|text| text.map(Cow::into_owned));
            text.map(|text| (text, reader.remaining()))
        };
        let text = |text: &str, left| Ok((Some(text.to_owned()), left));
        assert_eq!(read(&[0, 2, b'h', b'i', 9], false), text("hi", 1));
        assert_eq!(read(&[3, b'h', b'i', 9], true), text("hi", 1));
        assert_eq!(read(&[0, 0], false), text("", 0));
        assert_eq!(read(&[1], true), text("", 0));
        assert_eq!(read(&[0xff, 0xff], false), Ok((None, 0)));
        assert_eq!(read(&[0], true), Ok((None, 0)));
        assert_eq!(read(&[0xff, 0xfe], false), Err(DecodeError::NegativeLength(-2)));
        assert_eq!(read(&[3, b'h'], true), Err(DecodeError::Truncated { needed: 2, remaining: 1 }));
        assert_eq!(read(&[0x81, 0x80, 2], true), Err(DecodeError::StringTooLong(0x8000)));
        assert_eq!(read(&[0xff; 5], true), Err(DecodeError::Varint));
        assert_eq!(read(&[0xff; 4], true), Err(DecodeError::Truncated { needed: 5, remaining: 4 }));
    }

    #[test]
    fn what_is_not_utf8_is_replaced_and_still_fits_a_string() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"caf\xe9", "caf\u{fffd}"),
            (b"\xe9t\xe9", "\u{fffd}t\u{fffd}"),
            (b"a\xe2\x82b\xe2\x82\xac", "a\u{fffd}b\u{20ac}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(text(bytes), expected);
        }
        for length in [10_922, 10_923, STRING_BYTES_MAX] {
            let text = text(&vec![0xff; length]).into_owned();
            assert_eq!(text.len(), (3 * length).min(STRING_BYTES_MAX / 3 * 3));
        }
        assert_eq!(Reader::new(&[2, 0xff]).string(true), Ok("\u{fffd}".into()));
    }

    #[test]
    fn null_is_refused_where_it_cannot_be() {
        assert_eq!(Reader::new(&[0]).string(true), Err(DecodeError::UnexpectedNull));
        assert_eq!(Reader::new(&[0xff; 4]).bytes(false), Err(DecodeError::UnexpectedNull));
        assert_eq!(Reader::new(&[0]).count(true, 1), Err(DecodeError::UnexpectedNull));
        assert_eq!(Reader::new(&[0]).records(true), Err(DecodeError::UnexpectedNull));
    }

    #[test]
    fn a_count_is_held_against_the_bytes_left() {
        let count = |count: i32, left: usize, element_bytes_min| {
            let bytes = [&count.to_be_bytes()[..], &vec![0; left]].concat();
            Reader::new(&bytes).count(false, element_bytes_min)
        };
        assert_eq!(count(10, 40, 4), Ok(10));
        assert_eq!(count(10, 39, 4), Err(DecodeError::Count { count: 10, remaining: 39 }));
        let refused = Err(DecodeError::Count { count: i32::MAX as usize, remaining: 0 });
        assert_eq!(count(i32::MAX, 0, usize::MAX), refused);
        assert_eq!(count(i32::MAX, 0, 0), refused);
    }

    #[test]
    fn what_is_reserved_never_exceeds_the_bytes_at_hand() {
        let reader = Reader::new(&[7; 1000]);
        assert_eq!(reader.reservation::<u8>(600), 600);
        assert_eq!(reader.reservation::<[u8; 100]>(600), 11);
        assert_eq!(reader.reservation::<[u8; 5000]>(600), 1);
        assert_eq!(Reader::new(&[]).reservation::<[u8; 100]>(0), 0);
        // And yet an array of elements that are larger in memory is read whole.
        let bytes = [&1000i32.to_be_bytes()[..], &[7; 1000]].concat();
        let elements = Reader::new(&bytes).array(false, 1, |reader| Ok([reader.u8()?; 100]));
        assert_eq!(elements.map(|elements| elements.len()), Ok(1000));
    }

    #[test]
    fn tagged_fields_are_read_skipped_or_refused() {
        let bytes = [3, 0, 2, 1, 2, 1, 1, 9, 200, 1, 3, 5, 5, 5, 77];
        let mut seen = Vec::new();
        let mut reader = Reader::new(&bytes);
        let read = reader.tagged_fields(|tag, value| {
            if tag == 0 {
                seen.push(value.i16()?);
            }
            Ok(tag == 0)
        });
        assert_eq!((read, seen, reader.rest()), (Ok(()), vec![0x0102], &[77][..]));
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.skip_tagged_fields(), reader.rest()), (Ok(()), &[77][..]));
        let partly = Reader::new(&bytes).tagged_fields(|_, value| value.u8().map(|_| true));
        assert_eq!(partly, Err(DecodeError::TagSize { tag: 0, left: 1 }));
        let endless = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(Reader::new(&endless).skip_tagged_fields().is_err());
    }
}
