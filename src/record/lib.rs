//! Record batches: reading, checking, building, compressing, and the old formats on their way in
//! and out. Pure: no clock, no I/O.
//!
//! A batch (magic 2) is read where it lies. Its base offset and leader epoch lie outside the
//! checksum, so a broker stamps them without touching the rest; attributes and the maximal
//! timestamp lie inside. The byte tables are in `docs/storage-format.md`.
//!
//! Invariants: bytes from outside never panic; nothing is allocated by a count that the bytes at
//! hand cannot hold; what decompresses is capped.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and clocks"))]

mod batch;
mod builder;
mod checksum;
pub mod compression;
mod control;
mod down_convert;
mod error;
mod filter;
#[cfg(test)]
mod golden_tests;
mod heads;
pub mod legacy;
mod lz4_header;
mod passing;
pub mod patch;
#[cfg(test)]
mod property_tests;
mod recompress;
mod record;
mod search;
pub mod validate;
mod varint;
mod zstd_context;

pub use batch::{Attributes, BatchIter, BatchSummary, BatchView, HEADER_BYTES};
pub use builder::BatchBuilder;
pub use checksum::{Crc32c, crc32, crc32c};
pub use compression::Compression;
pub use control::{
    ControlRecordType, control_batch, end_transaction_batch, leader_change_batch,
    snapshot_footer_batch, snapshot_header_batch,
};
pub use down_convert::{MessageFormat, MessageSet, MessageSetLimits, down_convert};
pub use error::{BatchError, RejectReason, RejectedRecord};
pub use filter::{FilterRules, Filtered, emptied_batch, filter_batch};
pub use recompress::recompress;
pub use record::{Header, Record, RecordIter, decompressed_records};
pub use search::{TimestampedOffset, first_at_or_after};

/// The only format that logs and current clients use.
pub const MAGIC_V2: i8 = 2;

/// What a record has that was given no timestamp (Kafka's `RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: ringlog_types::TimestampMs = -1;

/// Most bytes one batch may decompress to. A batch is at most `max.message.bytes` compressed;
/// the largest that Kafka's clients make unfolds to far less.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
