//! Writes Kafka's primitive types, as a list of pieces that a socket can gather.
//!
//! Small fields go to one buffer. Records in shared memory or in files are not copied: the place
//! where they belong in the buffer is noted, and `into_chunks` weaves the two together.

use bytes::{BufMut, Bytes, BytesMut};
use ringlog_types::Uuid;

use crate::{EncodeError, Records, varint};

/// One piece of what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes that are elsewhere: see [`Records::External`].
    External {
        /// The id that the records had.
        id: u32,
        /// Number of bytes.
        len: usize,
    },
}

impl Chunk {
    /// Size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::External { len, .. } => *len,
        }
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Shared records up to this size are copied: a piece of its own costs the socket more than the
/// copy does.
const COPIED_BYTES_MAX: usize = 128;

/// What has been written so far.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// What belongs between the bytes of `buffer`, with its position there.
    inserts: Vec<(usize, Chunk)>,
    /// Sum of the lengths of `inserts`.
    inserted: usize,
    /// Where `throttle_time_ms` stands, if it was written.
    throttle_time_at: Option<usize>,
}

/// An encoded message that may be sent more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// All of it.
    pub bytes: Bytes,
    /// Where its `throttle_time_ms` stands, if it has one.
    throttle_time_at: Option<usize>,
}

/// Something encoded, as a socket gathers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The pieces, in order.
    pub chunks: Vec<Chunk>,
    /// Where the 4 bytes of `throttle_time_ms` stand among the bytes of all chunks, if they do.
    pub throttle_time_at: Option<usize>,
}

/// The tagged fields of a struct while they are being written.
#[derive(Debug)]
pub struct Tags {
    /// Where in the buffer their count stands.
    position: usize,
}

macro_rules! fixed_size {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("Writes a big-endian `", stringify!($type), "`.")]
        #[inline]
        pub fn $name(&mut self, value: $type) {
            self.buffer.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Nothing yet, and room for that many bytes besides the records.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { buffer: BytesMut::with_capacity(capacity), ..Writer::default() }
    }

    /// Number of bytes written, those of records included.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.inserted
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that was written, in order.
    pub fn into_chunks(self) -> Vec<Chunk> {
        let buffer = self.buffer.freeze();
        let mut chunks = Vec::with_capacity(2 * self.inserts.len() + 1);
        let mut done = 0;
        for (position, chunk) in self.inserts {
            if position > done {
                chunks.push(Chunk::Bytes(buffer.slice(done..position)));
                done = position;
            }
            chunks.push(chunk);
        }
        if done < buffer.len() {
            chunks.push(Chunk::Bytes(buffer.slice(done..)));
        }
        chunks
    }

    /// All that was written, in order, and where it has its throttle time.
    pub fn into_encoded(self) -> Encoded {
        let throttle_time_at = self.throttle_time_at;
        Encoded { chunks: self.into_chunks(), throttle_time_at }
    }

    /// All that was written, to be kept and [written again](Writer::body); copies records if there
    /// are any.
    ///
    /// # Panics
    /// If external records were written, whose bytes are not here.
    pub fn into_body(self) -> Body {
        let throttle_time_at = self.throttle_time_at;
        Body { bytes: self.into_bytes(), throttle_time_at }
    }

    /// All that was written, as one piece; copies records if there are any.
    ///
    /// # Panics
    /// If external records were written, whose bytes are not here.
    pub fn into_bytes(self) -> Bytes {
        if self.inserts.is_empty() {
            return self.buffer.freeze();
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        for chunk in self.into_chunks() {
            match chunk {
                Chunk::Bytes(piece) => bytes.extend_from_slice(&piece),
                Chunk::External { id, .. } => panic!("the bytes of records {id} are elsewhere"),
            }
        }
        bytes.freeze()
    }

    /// Overwrites four bytes, which must have been written with nothing inserted before them.
    pub(crate) fn patch_i32(&mut self, position: usize, value: i32) {
        debug_assert!(self.inserts.iter().all(|(insert, _)| *insert > position));
        self.buffer[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }

    fixed_size!(i8: i8, u8: u8, i16: i16, u16: u16, i32: i32, u32: u32, i64: i64, f64: f64);

    /// Writes a boolean.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    /// Writes a 128-bit id.
    #[inline]
    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.extend_from_slice(&value.0);
    }

    /// Writes an unsigned variable-length integer.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        if value < 0x80 {
            return self.buffer.put_u8(value as u8);
        }
        let (bytes, len) = varint::encode(value);
        self.buffer.extend_from_slice(&bytes[..len]);
    }

    /// Writes bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes a length of up to 31 bits.
    #[inline]
    pub fn length(&mut self, length: usize, flexible: bool) -> Result<(), EncodeError> {
        let Ok(fixed) = i32::try_from(length) else {
            return Err(EncodeError::TooLong(length));
        };
        match flexible {
            true => self.uvarint(fixed as u32 + 1),
            false => self.i32(fixed),
        }
        Ok(())
    }

    #[inline]
    fn null(&mut self, flexible: bool) {
        match flexible {
            true => self.buffer.put_u8(0),
            false => self.i32(-1),
        }
    }

    /// Writes a string.
    #[inline]
    pub fn string(&mut self, value: &str, flexible: bool) -> Result<(), EncodeError> {
        // The compact form has room for more, but no Kafka would read that.
        let Ok(length) = i16::try_from(value.len()) else {
            return Err(EncodeError::TooLong(value.len()));
        };
        match flexible {
            true => self.uvarint(length as u32 + 1),
            false => self.i16(length),
        }
        self.raw(value.as_bytes());
        Ok(())
    }

    /// Writes a string or null.
    #[inline]
    pub fn nullable_string(
        &mut self,
        value: Option<&str>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => return self.string(value, flexible),
            None if flexible => self.buffer.put_u8(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// Writes bytes.
    pub fn bytes(&mut self, value: &[u8], flexible: bool) -> Result<(), EncodeError> {
        self.length(value.len(), flexible)?;
        self.raw(value);
        Ok(())
    }

    /// Writes bytes or null.
    pub fn nullable_bytes(
        &mut self,
        value: Option<&[u8]>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(value, flexible),
            None => {
                self.null(flexible);
                Ok(())
            }
        }
    }

    /// Writes records; only their length if they are shared or external.
    pub fn records(&mut self, value: &Records<'_>, flexible: bool) -> Result<(), EncodeError> {
        self.length(value.len(), flexible)?;
        match value {
            Records::Borrowed(bytes) => self.raw(bytes),
            Records::Shared(pieces) => pieces.iter().for_each(|piece| self.shared(piece)),
            Records::External { len: 0, .. } => {}
            Records::External { id, len } => {
                self.insert(Chunk::External { id: *id, len: *len });
            }
        }
        Ok(())
    }

    /// Writes records or null.
    pub fn nullable_records(
        &mut self,
        value: Option<&Records<'_>>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(value, flexible),
            None => {
                self.null(flexible);
                Ok(())
            }
        }
    }

    /// Writes bytes by reference, unless they are few.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES_MAX {
            return self.raw(bytes);
        }
        self.insert(Chunk::Bytes(bytes.clone()));
    }

    /// Writes a kept message by reference, unless it is small.
    pub fn body(&mut self, body: &Body) {
        if let Some(at) = body.throttle_time_at {
            self.throttle_time_at = Some(self.len() + at);
        }
        self.shared(&body.bytes);
    }

    /// Writes the field of a response that tells its client to hold back, and notes its place: how
    /// long is known only when the rest is written.
    #[inline]
    pub fn throttle_time_ms(&mut self, value: i32) {
        self.throttle_time_at = Some(self.len());
        self.i32(value);
    }

    fn insert(&mut self, chunk: Chunk) {
        self.inserted += chunk.len();
        self.inserts.push((self.buffer.len(), chunk));
    }

    /// Writes an array.
    #[inline]
    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length(elements.len(), flexible)?;
        elements.iter().try_for_each(|value| element(self, value))
    }

    /// Writes an array or null.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match elements {
            Some(elements) => self.array(elements, flexible, element),
            None => {
                self.null(flexible);
                Ok(())
            }
        }
    }

    /// Writes a struct, or the byte that stands for null.
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let Some(value) = value else {
            self.i8(-1);
            return Ok(());
        };
        self.i8(1);
        write(self, value)
    }

    /// Begins the tagged fields of a struct.
    #[inline]
    pub fn begin_tags(&mut self) -> Tags {
        let position = self.buffer.len();
        self.buffer.put_u8(0);
        Tags { position }
    }

    /// Writes a tagged field; tags must ascend.
    pub fn tag(
        &mut self,
        tags: &Tags,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let count = &mut self.buffer[tags.position];
        *count += 1;
        // No schema has as many tags as would need a second byte.
        assert!(*count < 0x80);
        self.uvarint(tag);
        let (start, inserted) = (self.buffer.len(), self.inserted);
        value(self)?;
        assert_eq!(inserted, self.inserted, "no tagged field holds records");
        // The size stands before the value and is known only after it.
        let end = self.buffer.len();
        let Ok(size) = u32::try_from(end - start) else {
            return Err(EncodeError::TooLong(end - start));
        };
        let (bytes, len) = varint::encode(size);
        self.buffer.extend_from_slice(&bytes[..len]);
        self.buffer[start..].rotate_right(len);
        Ok(())
    }

    /// Writes that a struct has no tagged fields.
    #[inline]
    pub fn no_tags(&mut self) {
        self.buffer.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_woven_in_by_reference() {
        let large = Bytes::from(vec![5; COPIED_BYTES_MAX + 1]);
        let small = Bytes::from_static(b"small");
        let mut writer = Writer::new();
        let shared = Records::Shared(vec![large.clone(), small, large.clone()]);
        writer.records(&shared, false).expect("fits");
        writer.records(&Records::External { id: 4, len: 1000 }, true).expect("fits");
        writer.records(&Records::External { id: 5, len: 0 }, true).expect("fits");
        writer.u8(0xee);
        assert_eq!(writer.len(), 4 + 2 * 129 + 5 + 2 + 1000 + 1 + 1);
        let chunks = writer.into_chunks();
        let bytes = |bytes: &[u8]| Chunk::Bytes(Bytes::copy_from_slice(bytes));
        assert_eq!(
            chunks,
            [
                bytes(&[0, 0, 1, 7]),
                Chunk::Bytes(large.clone()),
                bytes(b"small"),
                Chunk::Bytes(large.clone()),
                bytes(&[0xe9, 7]),
                Chunk::External { id: 4, len: 1000 },
                bytes(&[1, 0xee]),
            ]
        );
        let Chunk::Bytes(piece) = &chunks[1] else { panic!("bytes") };
        assert_eq!(piece.as_ptr(), large.as_ptr(), "records were copied");
    }

    #[test]
    fn nothing_is_no_chunk() {
        assert_eq!(Writer::new().into_chunks(), []);
        assert!(Writer::new().into_bytes().is_empty());
    }

    #[test]
    fn a_tags_size_stands_before_its_value() {
        for size in [0, 1, 127, 128, 20_000] {
            let mut writer = Writer::new();
            let tags = writer.begin_tags();
            writer
                .tag(&tags, 3, |writer| {
                    writer.raw(&vec![6; size]);
                    Ok(())
                })
                .expect("fits");
            let (bytes, len) = varint::encode(size as u32);
            let expected = [&[1, 3][..], &bytes[..len], &vec![6; size]].concat();
            assert_eq!(writer.into_bytes(), expected, "{size} bytes");
        }
    }

    #[test]
    fn a_string_beyond_kafkas_limit_is_refused() {
        let text = "x".repeat(0x8000);
        for flexible in [false, true] {
            let mut writer = Writer::new();
            assert_eq!(writer.string(&text, flexible), Err(EncodeError::TooLong(0x8000)));
            assert_eq!(writer.string(&text[1..], flexible), Ok(()));
        }
    }
}
