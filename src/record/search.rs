//! Finding records inside a batch by timestamp.

use std::ops::ControlFlow;

use ringlog_types::{Offset, TimestampMs};

use crate::batch::BatchView;
use crate::passing::{PassRules, pass_records};
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
    let mut first = None;
    let rules = PassRules::default();
    pass_records(batch, DECOMPRESSED_BYTES_MAX, rules, &mut |record| {
        if record.timestamp < timestamp || record.offset < from_offset {
            return Ok(ControlFlow::Continue(()));
        }
        first = Some(TimestampedOffset { offset: record.offset, timestamp: record.timestamp });
        Ok(ControlFlow::Break(()))
    })?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Compression, patch};

    /// A batch at offset 100 with these timestamps.
    fn batch(timestamps: &[TimestampMs], codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(timestamps[0]).compression(codec, None);
        for timestamp in timestamps {
            builder.push(*timestamp, None, Some(b"value"), &[]);
        }
        let (mut batch, _) = builder.build().unwrap();
        patch::set_base_offset(&mut batch, 100);
        batch
    }

    fn found(offset: Offset, timestamp: TimestampMs) -> Option<TimestampedOffset> {
        Some(TimestampedOffset { offset, timestamp })
    }

    #[test]
    fn timestamps_find_records() {
        for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let bytes = batch(&[10, 30, 20, 30, 5], codec);
            let batch = BatchView::check(&bytes).unwrap();
            for (timestamp, from, expected) in [
                (0, 0, found(100, 10)),
                (10, 101, found(101, 30)),
                (11, 0, found(101, 30)),
                (21, 102, found(103, 30)),
                (5, 104, found(104, 5)),
                (6, 104, None),
                (31, 0, None),
            ] {
                assert_eq!(first_at_or_after(&batch, timestamp, from), Ok(expected));
            }
        }
    }

    #[test]
    fn a_stamped_batch_has_one_timestamp() {
        let mut bytes = batch(&[10, 30, 20], Compression::Lz4);
        patch::set_log_append_time(&mut bytes, 77);
        let batch = BatchView::check(&bytes).unwrap();
        assert_eq!(first_at_or_after(&batch, 77, 0), Ok(found(100, 77)));
        assert_eq!(first_at_or_after(&batch, 70, 102), Ok(found(102, 77)));
    }
}
