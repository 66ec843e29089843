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

    /// Reads a string that may be null, where it stands.
    #[inline]
    pub fn nullable_str(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let Some(length) = self.length(flexible, |reader| reader.i16().map(i32::from))? else {
            return Ok(None);
        };
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::StringTooLong(length));
        }
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(DecodeError::Utf8),
        }
    }

    /// Reads a string, where it stands.
    #[inline]
    pub fn str(&mut self, flexible: bool) -> Result<&'a str, DecodeError> {
        self.nullable_str(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads a string that may be null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.nullable_str(flexible)?.map(Cow::Borrowed))
    }

    /// Reads a string.
    pub fn string(&mut self, flexible: bool) -> Result<Cow<'a, str>, DecodeError> {
        Ok(Cow::Borrowed(self.str(flexible)?))
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
        // Elements can be larger in memory than on the wire. What is reserved up front never
        // exceeds the bytes at hand; an array that proves to be longer grows as it is read.
        let reserve = count.min(1 + self.remaining() / size_of::<T>().max(1));
        let mut elements = Vec::with_capacity(reserve);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
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
