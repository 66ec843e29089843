//! What all messages have in common.

use crate::{DecodeError, EncodeError, Reader, Writer};

/// A request, a response, or a record of one of Kafka's internal topics, in all its versions.
///
/// A field that a version lacks has Kafka's default after decoding. In encoding it is dropped
/// when the schema says so, and otherwise an error if it is not at its default.
pub trait Message<'a>: Sized {
    /// The schema's name.
    const NAME: &'static str;
    /// The number of the API or of the record type; -1 if it has none.
    const API_KEY: i16;
    /// Its lowest version.
    const MIN_VERSION: i16;
    /// Its highest version.
    const MAX_VERSION: i16;

    /// Reads one of its versions; see [`Message::decode`], which checks the version first.
    fn read(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;

    /// Writes one of its versions; see [`Message::encode`], which checks the version first.
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// How long a response tells its client to hold back; `None` for a message that has no
    /// `throttle_time_ms`.
    fn throttle_time_ms(&self) -> Option<i32> {
        None
    }

    /// Decodes the message and leaves the reader behind it.
    ///
    /// Bytes may follow: Kafka ignores them too.
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !(Self::MIN_VERSION..=Self::MAX_VERSION).contains(&version) {
            return Err(DecodeError::Version { message: Self::NAME, version });
        }
        Self::read(reader, version)
    }

    /// Appends the message to what is written.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !(Self::MIN_VERSION..=Self::MAX_VERSION).contains(&version) {
            return Err(EncodeError::Version { message: Self::NAME, version });
        }
        self.write(writer, version)
    }
}
