//! What can be wrong with a batch, and the Kafka code each error becomes.

use ringlog_types::{ErrorCode, TimestampMs, TopicPartition};

/// So many records that may not be appended are named; Kafka names all.
pub(crate) const REJECTED_RECORDS_MAX: usize = 100;

/// A record that may not be appended, which keeps the whole batch out (KIP-467).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Its place in the batch.
    pub index: i32,
    /// What is wrong with it.
    pub reason: RejectReason,
}

/// What a topic does not take a record for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// A compacted topic takes no records without keys.
    KeyMissing,
    /// A timestamp too far from now.
    Timestamp {
        /// The record's.
        timestamp: TimestampMs,
        /// The earliest allowed.
        earliest: TimestampMs,
        /// The latest allowed.
        latest: TimestampMs,
    },
}

impl RejectedRecord {
    /// What Kafka's `LogValidator` says about such a record.
    pub fn message(&self, partition: &TopicPartition) -> String {
        match self.reason {
            RejectReason::KeyMissing => format!(
                "Compacted topic cannot accept message without key in topic partition {partition}"
            ),
            RejectReason::Timestamp { timestamp, earliest, latest } => format!(
                "Timestamp {timestamp} of message with offset {} is out of range. The timestamp \
                 should be within [{earliest}, {latest}]",
                self.index
            ),
        }
    }
}

fn has_timestamp(rejected: &[RejectedRecord]) -> bool {
    let is_timestamp =
        |record: &RejectedRecord| matches!(record.reason, RejectReason::Timestamp { .. });
    rejected.iter().any(is_timestamp)
}

/// What Kafka says of the batch; the records are told apart from it.
fn rejection(first: &[RejectedRecord], count: usize) -> String {
    match has_timestamp(first) {
        true => "One or more records have been rejected due to invalid timestamp".to_owned(),
        false => {
            format!("One or more records have been rejected due to {count} record errors in total")
        }
    }
}

/// Why bytes are not taken as a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the bytes end inside a batch: {needed} are needed, {available} are there")]
    Incomplete {
        /// How many it takes.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// Zeros where a batch should be: the prepared end of a file.
    #[error("zeros in place of a batch")]
    ZeroPadding,
    /// The length field makes no sense.
    #[error("a batch length of {0} bytes")]
    Length(i32),
    /// The format is not served.
    #[error("magic {0}; only 2 is taken here")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the checksum is {computed:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A produce request must carry exactly one batch for each partition.
    #[error("{0} batches for one partition; a request carries exactly one")]
    BatchCount(usize),
    /// Offsets are the broker's to assign: a producer's batch starts at 0.
    #[error("a base offset of {0}; a produced batch starts at 0")]
    BaseOffset(i64),
    /// There is no record.
    #[error("the batch has no record")]
    Empty,
    /// Offsets and count contradict each other.
    #[error("{records} records and a last offset delta of {last_offset_delta}")]
    OffsetDelta {
        /// The record count.
        records: i32,
        /// The header's last delta.
        last_offset_delta: i32,
    },
    /// Control batches come from brokers only.
    #[error("a client may not write control batches")]
    Control,
    /// An idempotent batch without a sequence, or the other way round.
    #[error("producer id {producer_id} with epoch {epoch} and sequence {sequence}")]
    Producer {
        /// The producer's id.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
        /// The first sequence.
        sequence: i32,
    },
    /// The codec's number is unknown.
    #[error("compression codec {0} is unknown")]
    Codec(u8),
    /// zstd needs Produce 7 (KIP-110).
    #[error("zstd is not allowed before version 7 of Produce")]
    ZstdTooEarly,
    /// Readers of the old formats cannot have zstd (KIP-110).
    #[error("zstd is not converted for readers of message sets")]
    ZstdForOldReader,
    /// The batch is larger than the topic allows.
    #[error("{size} bytes; max.message.bytes is {limit}")]
    TooLarge {
        /// The batch's size.
        size: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// Records whose key or timestamp the topic does not take.
    #[error("{}", rejection(.first, *.count))]
    Rejected {
        /// The first of them: at least one, at most [`REJECTED_RECORDS_MAX`].
        first: Vec<RejectedRecord>,
        /// How many there are.
        count: usize,
    },
    /// The producer says that the broker stamped the records.
    #[error("a producer may not set the timestamp type to LogAppendTime")]
    TimestampType,
    /// The compressed bytes cannot be unpacked.
    #[error("{codec} data cannot be unpacked: {reason}")]
    Decompress {
        /// The codec.
        codec: &'static str,
        /// Why not.
        reason: String,
    },
    /// The bytes unpack to more than is allowed.
    #[error("the batch unpacks to more than {0} bytes")]
    DecompressedTooLarge(usize),
    /// A record inside the batch cannot be read.
    #[error("record {index}: {reason}")]
    Record {
        /// Its place in the batch.
        index: i32,
        /// What is wrong.
        reason: &'static str,
    },
}

impl BatchError {
    /// Kafka's code for it (`LogValidator`, `ProduceRequest.validateRecords`).
    ///
    /// Two answers are more telling than Kafka's `UNKNOWN_SERVER_ERROR`: an unknown codec, and
    /// compressed bytes that cannot be unpacked. One has no counterpart there: a batch that
    /// unpacks to too much is too large, on which a client splits it.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::Incomplete { .. }
            | BatchError::ZeroPadding
            | BatchError::Length(_)
            | BatchError::Crc { .. }
            | BatchError::Decompress { .. } => ErrorCode::CorruptMessage,
            BatchError::Magic(magic) if !(0..=2).contains(magic) => ErrorCode::CorruptMessage,
            BatchError::Magic(_)
            | BatchError::BatchCount(_)
            | BatchError::BaseOffset(_)
            | BatchError::Empty
            | BatchError::OffsetDelta { .. }
            | BatchError::Control
            | BatchError::Producer { .. }
            | BatchError::Record { .. } => ErrorCode::InvalidRecord,
            BatchError::Codec(_) | BatchError::ZstdTooEarly | BatchError::ZstdForOldReader => {
                ErrorCode::UnsupportedCompressionType
            }
            BatchError::TooLarge { .. } | BatchError::DecompressedTooLarge(_) => {
                ErrorCode::MessageTooLarge
            }
            BatchError::Rejected { first, .. } => match has_timestamp(first) {
                true => ErrorCode::InvalidTimestamp,
                false => ErrorCode::InvalidRecord,
            },
            BatchError::TimestampType => ErrorCode::InvalidTimestamp,
        }
    }
}
