//! One batch of format 2, read where it lies.

use ringlog_types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use crate::checksum::crc32c;
use crate::compression::Compression;
use crate::{BatchError, MAGIC_V2};

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before what the length field counts: base offset and length.
pub(crate) const LENGTH_END: usize = 12;

pub(crate) const BASE_OFFSET: usize = 0;
pub(crate) const LENGTH: usize = 8;
pub(crate) const LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
pub(crate) const CRC: usize = 17;
/// The checksum covers everything from here to the end.
pub(crate) const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
pub(crate) const BASE_TIMESTAMP: usize = 27;
pub(crate) const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
pub(crate) const RECORD_COUNT: usize = 57;

/// The attributes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(crate) const CODEC_MASK: i16 = 0x07;
    pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
    pub(crate) const DELETE_HORIZON: i16 = 0x40;

    /// The codec's number.
    pub fn codec(self) -> u8 {
        (self.0 & Attributes::CODEC_MASK) as u8
    }

    /// Whether the timestamps are the broker's.
    pub fn is_log_append_time(self) -> bool {
        self.0 & Attributes::LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Attributes::TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers instead of records.
    pub fn is_control(self) -> bool {
        self.0 & Attributes::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Attributes::DELETE_HORIZON != 0
    }
}

/// A batch whose length and magic have been checked; the checksum only by
/// [`BatchView::verify_crc`].
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a>(&'a [u8]);

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $at:expr;)*) => {
        $($(#[$doc])*
        pub fn $name(&self) -> $type {
            let at = $at;
            let bytes = self.0[at..at + size_of::<$type>()].try_into();
            <$type>::from_be_bytes(bytes.expect("the slice has the type's size"))
        })*
    };
}

impl<'a> BatchView<'a> {
    /// The batch at the front of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// `Incomplete`, `ZeroPadding`, `Length` or `Magic`.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        if bytes.len() < HEADER_BYTES {
            let is_padding = !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0);
            return Err(match is_padding {
                true => BatchError::ZeroPadding,
                false => BatchError::Incomplete { needed: HEADER_BYTES, available: bytes.len() },
            });
        }
        let view = BatchView(bytes);
        let length = view.length();
        if length == 0 && bytes[..HEADER_BYTES].iter().all(|byte| *byte == 0) {
            return Err(BatchError::ZeroPadding);
        }
        let size = usize::try_from(length).map(|length| length + LENGTH_END);
        let Some(size) = size.ok().filter(|size| *size >= HEADER_BYTES) else {
            // The old formats have shorter headers, and their magic at the same place.
            return Err(match view.magic() {
                magic @ (0 | 1) => BatchError::Magic(magic),
                _ => BatchError::Length(length),
            });
        };
        if view.magic() != MAGIC_V2 {
            return Err(BatchError::Magic(view.magic()));
        }
        if bytes.len() < size {
            return Err(BatchError::Incomplete { needed: size, available: bytes.len() });
        }
        Ok(BatchView(&bytes[..size]))
    }

    /// Parses and verifies the checksum: what recovery trusts.
    pub fn check(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let view = BatchView::parse(bytes)?;
        view.verify_crc()?;
        Ok(view)
    }

    fields! {
        /// The offset of the first record.
        base_offset: Offset = BASE_OFFSET;
        /// Bytes after the length field.
        length: i32 = LENGTH;
        /// The epoch of the leader that appended it.
        leader_epoch: LeaderEpoch = LEADER_EPOCH;
        /// The format.
        magic: i8 = MAGIC;
        /// The checksum it says it has.
        crc: u32 = CRC;
        /// The offset of the last record, from the first.
        last_offset_delta: i32 = LAST_OFFSET_DELTA;
        /// What the records' timestamps count from, or a delete horizon.
        base_timestamp: TimestampMs = BASE_TIMESTAMP;
        /// The largest timestamp.
        max_timestamp: TimestampMs = MAX_TIMESTAMP;
        /// The producer; -1 for none.
        producer_id: ProducerId = PRODUCER_ID;
        /// Its epoch.
        producer_epoch: i16 = PRODUCER_EPOCH;
        /// The sequence of the first record; -1 for none.
        base_sequence: i32 = BASE_SEQUENCE;
        /// How many records there are.
        record_count: i32 = RECORD_COUNT;
    }

    /// The attributes.
    pub fn attributes(&self) -> Attributes {
        Attributes(i16::from_be_bytes([self.0[ATTRIBUTES], self.0[ATTRIBUTES + 1]]))
    }

    /// The codec.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_code(self.attributes().codec())
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset().wrapping_add(i64::from(self.last_offset_delta()))
    }

    /// Size in bytes, header included.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The records, as they are: possibly compressed.
    pub fn records_bytes(&self) -> &'a [u8] {
        &self.0[HEADER_BYTES..]
    }

    /// Compares the checksum.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.crc(), crc32c(&self.0[ATTRIBUTES..]));
        if stored != computed {
            return Err(BatchError::Crc { stored, computed });
        }
        Ok(())
    }

    /// What the broker keeps of it.
    pub fn summary(&self) -> Result<BatchSummary, BatchError> {
        let attributes = self.attributes();
        Ok(BatchSummary {
            last_offset_delta: self.last_offset_delta(),
            record_count: self.record_count(),
            base_timestamp: self.base_timestamp(),
            max_timestamp: self.max_timestamp(),
            producer_id: self.producer_id(),
            producer_epoch: self.producer_epoch(),
            base_sequence: self.base_sequence(),
            size_bytes: self.size(),
            compression: self.compression()?,
            is_transactional: attributes.is_transactional(),
            is_control: attributes.is_control(),
        })
    }
}

/// What a checked batch is, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the fields of the batch header, under the same names")]
pub struct BatchSummary {
    pub last_offset_delta: i32,
    pub record_count: i32,
    pub base_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub size_bytes: usize,
    pub compression: Compression,
    pub is_transactional: bool,
    pub is_control: bool,
}

/// The batches that stand one after the other. Ends after the first error.
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
}

impl<'a> BatchIter<'a> {
    /// The batches of `bytes`.
    pub fn new(bytes: &'a [u8]) -> BatchIter<'a> {
        BatchIter { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = BatchView::parse(self.rest);
        self.rest = match &parsed {
            Ok(view) => &self.rest[view.size()..],
            Err(_) => &[],
        };
        Some(parsed)
    }
}
