//! What can be wrong with bytes that came in, and with messages that shall go out.

/// Bytes that are not the message they should be. The connection they came from is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{needed} bytes needed where {remaining} are left")]
    Truncated {
        /// Size of the field.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// An array claims more elements than the bytes left can hold.
    #[error("an array of {count} elements in {remaining} bytes")]
    Count {
        /// Elements claimed.
        count: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A length or count below -1.
    #[error("a negative length: {0}")]
    NegativeLength(i32),
    /// Null where the version at hand has no null.
    #[error("null in a field that cannot be null")]
    UnexpectedNull,
    /// A variable-length integer that does not end in time.
    #[error("a variable-length integer that is too long")]
    Varint,
    /// A string of more than 32,767 bytes.
    #[error("a string of {0} bytes")]
    StringTooLong(usize),
    /// A tagged field whose size is not that of its value.
    #[error("tagged field {tag} leaves {left} bytes of its size over")]
    TagSize {
        /// The field's tag.
        tag: u32,
        /// Bytes it did not use.
        left: usize,
    },
    /// An API key that no Kafka broker knows.
    #[error("an unknown API key: {0}")]
    UnknownApi(i16),
    /// A version of a known message that is not one of its versions.
    #[error("{message} has no version {version}")]
    Version {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Bytes after the end of a message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
}

/// A message that has no form in the version asked for. Always our own mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field is set that this version lacks and that may not be dropped.
    #[error("{field} is set, and version {version} does not have it")]
    Absent {
        /// The field.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// A field is null where this version has no null.
    #[error("{field} is null, and version {version} does not allow that")]
    Null {
        /// The field.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// The message does not have this version.
    #[error("{message} has no version {version}")]
    Version {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Something is longer than its length field can say.
    #[error("a length of {0} does not fit its field")]
    TooLong(usize),
}

impl EncodeError {
    pub(crate) fn absent(field: &'static str, version: i16) -> EncodeError {
        EncodeError::Absent { field, version }
    }
}
