//! The `records` type: record batches, which pass through without being copied.

use bytes::Bytes;

/// Record batches on their way in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records<'a> {
    /// As they stand in the received bytes, or in any other memory; encoding copies them.
    Borrowed(&'a [u8]),
    /// Shared memory, which encoding hands on by reference.
    Shared(Vec<Bytes>),
    /// Bytes that are elsewhere, say in a file. Encoding leaves a
    /// [`Chunk::External`](crate::Chunk::External) of the same id and length in their place.
    External {
        /// What tells the encoder's caller where the bytes are.
        id: u32,
        /// How many they are.
        len: usize,
    },
}

impl<'a> Records<'a> {
    /// Total size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Records::Borrowed(bytes) => bytes.len(),
            Records::Shared(pieces) => pieces.iter().map(Bytes::len).sum(),
            Records::External { len, .. } => *len,
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are borrowed: what decoding always gives.
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        match self {
            Records::Borrowed(bytes) => Some(bytes),
            Records::Shared(_) | Records::External { .. } => None,
        }
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Records::Borrowed(&[])
    }
}
