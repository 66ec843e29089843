//! Finding records inside a batch by timestamp.

use ringlog_types::{Offset, TimestampMs};

use crate::batch::BatchView;
use crate::record::{RecordIter, decompressed_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX};

/// A record's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
}

/// The first record from `from_offset` on with a timestamp of at least `timestamp`.
pub fn first_at_or_after(
    batch: &BatchView<'_>,
    timestamp: TimestampMs,
    from_offset: Offset,
) -> Result<Option<TimestampedOffset>, BatchError> {
    if batch.max_timestamp() < timestamp {
        return Ok(None);
    }
    find(batch, |found| found.timestamp >= timestamp && found.offset >= from_offset)
}

/// The first record that has the batch's largest timestamp.
pub fn max_timestamp(batch: &BatchView<'_>) -> Result<Option<TimestampedOffset>, BatchError> {
    find(batch, |found| found.timestamp == batch.max_timestamp())
}

fn find(
    batch: &BatchView<'_>,
    fits: impl Fn(&TimestampedOffset) -> bool,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let records = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
    for record in RecordIter::new(batch, &records) {
        let record = record?;
        let found = TimestampedOffset { offset: record.offset, timestamp: record.timestamp };
        if fits(&found) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
