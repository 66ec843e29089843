//! What a produced batch must be (Kafka's `LogValidator` and `ProduceRequest.validateRecords`).
//!
//! Header and checksum are always checked. Records are unpacked only where something depends on
//! them: a compacted topic (keys), a maximal timestamp the producer did not set, or strict mode.

use ringlog_types::TimestampMs;

use crate::batch::{BatchSummary, BatchView};
use crate::compression::Compression;
use crate::record::{RecordIter, decompressed_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX};

/// The first version of Produce that may carry zstd (KIP-110).
const VERSION_ZSTD: i16 = 7;

/// What is asked of a batch.
#[derive(Debug, Clone, Copy)]
pub struct ProduceRules {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// Whether the broker stamps the records, so that theirs do not matter.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Whether every record needs a key (`cleanup.policy=compact`).
    pub keys_required: bool,
    /// The version of the Produce request.
    pub produce_version: i16,
    /// Look at every record.
    pub strict: bool,
}

/// Checks that `bytes` are exactly one batch that may be appended.
///
/// # Errors
/// See [`BatchError`]; [`BatchError::error_code`] is what to answer.
pub fn validate_produce(
    bytes: &[u8],
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<BatchSummary, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::BatchCount(0));
    }
    let batch = BatchView::parse(bytes)?;
    if batch.size() != bytes.len() {
        return Err(BatchError::BatchCount(2));
    }
    if bytes.len() > rules.max_message_bytes {
        return Err(BatchError::TooLarge { size: bytes.len(), limit: rules.max_message_bytes });
    }
    batch.verify_crc()?;
    let summary = batch.summary()?;
    check_header(&summary, rules)?;
    let timestamp_unknown = summary.max_timestamp < 0 && !rules.log_append_time;
    if rules.keys_required || rules.strict || timestamp_unknown {
        check_records(&batch, &summary, rules, now_ms)?;
    } else if !rules.log_append_time {
        check_timestamp(summary.max_timestamp, rules, now_ms)?;
    }
    Ok(summary)
}

fn check_header(summary: &BatchSummary, rules: &ProduceRules) -> Result<(), BatchError> {
    if summary.is_control {
        return Err(BatchError::Control);
    }
    let (records, last_offset_delta) = (summary.record_count, summary.last_offset_delta);
    if records <= 0 {
        return Err(BatchError::Empty);
    }
    if records - 1 != last_offset_delta {
        return Err(BatchError::OffsetDelta { records, last_offset_delta });
    }
    // The smallest record takes seven bytes; a count beyond that is a lie, unless compressed.
    if summary.compression == Compression::None
        && records as usize > summary.size_bytes.saturating_sub(crate::HEADER_BYTES) / 7
    {
        return Err(BatchError::OffsetDelta { records, last_offset_delta });
    }
    if summary.compression == Compression::Zstd && rules.produce_version < VERSION_ZSTD {
        return Err(BatchError::ZstdTooEarly);
    }
    let (producer_id, epoch, sequence) =
        (summary.producer_id, summary.producer_epoch, summary.base_sequence);
    if producer_id >= 0 && (epoch < 0 || sequence < 0) {
        return Err(BatchError::Producer { producer_id, epoch, sequence });
    }
    Ok(())
}

fn check_records(
    batch: &BatchView<'_>,
    summary: &BatchSummary,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<(), BatchError> {
    let records = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
    let mut count = 0;
    for record in RecordIter::new(batch, &records) {
        let record = record?;
        let expected = batch.base_offset().wrapping_add(i64::from(count));
        if record.offset != expected {
            let reason = "its offset does not follow the one before";
            return Err(BatchError::Record { index: count, reason });
        }
        if rules.keys_required && record.key.is_none() {
            return Err(BatchError::KeyMissing);
        }
        if !rules.log_append_time {
            check_timestamp(record.timestamp, rules, now_ms)?;
        }
        count += 1;
    }
    if count != summary.record_count {
        let last_offset_delta = summary.last_offset_delta;
        return Err(BatchError::OffsetDelta { records: count, last_offset_delta });
    }
    Ok(())
}

/// A record without a timestamp (-1) is let through, as Kafka does.
fn check_timestamp(
    timestamp: TimestampMs,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<(), BatchError> {
    let earliest = now_ms.saturating_sub(rules.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(rules.timestamp_after_max_ms);
    if timestamp >= 0 && !(earliest..=latest).contains(&timestamp) {
        return Err(BatchError::Timestamp { timestamp, earliest, latest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, patch};

    const NOW: TimestampMs = 1_700_000_000_000;

    fn rules() -> ProduceRules {
        ProduceRules {
            max_message_bytes: 1 << 20,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            keys_required: false,
            produce_version: 9,
            strict: false,
        }
    }

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new(NOW);
        builder.push(NOW, None, Some(b"first"), &[]);
        builder.push(NOW + 1, Some(b"key"), Some(b"second"), &[]);
        builder.build().unwrap().0
    }

    fn check(bytes: &[u8], rules: &ProduceRules) -> Result<BatchSummary, BatchError> {
        validate_produce(bytes, rules, NOW)
    }

    #[test]
    fn a_good_batch_passes_and_any_flipped_bit_does_not() {
        let batch = batch();
        assert_eq!(check(&batch, &rules()).unwrap().record_count, 2);
        let strict = ProduceRules { strict: true, ..rules() };
        assert!(check(&batch, &strict).is_ok());
        // Base offset and leader epoch are the broker's to set.
        for at in (8..12).chain(16..batch.len()) {
            let mut flipped = batch.clone();
            flipped[at] ^= 1;
            assert!(check(&flipped, &rules()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn one_batch_and_no_more() {
        let twice = [batch(), batch()].concat();
        assert_eq!(check(&twice, &rules()), Err(BatchError::BatchCount(2)));
        assert_eq!(check(&[], &rules()), Err(BatchError::BatchCount(0)));
        let cut = &batch()[..70];
        assert!(matches!(check(cut, &rules()), Err(BatchError::Incomplete { .. })));
    }

    #[test]
    fn counts_must_agree() {
        for (at, bytes) in [(23, 5i32), (57, 3), (57, 0), (57, -1), (57, i32::MIN)] {
            let mut batch = batch();
            batch[at..at + 4].copy_from_slice(&bytes.to_be_bytes());
            patch::set_crc(&mut batch);
            let error = check(&batch, &rules()).unwrap_err();
            assert_eq!(error.error_code(), ringlog_types::ErrorCode::InvalidRecord, "{error}");
        }
    }

    #[test]
    fn topics_make_their_own_rules() {
        let keys = ProduceRules { keys_required: true, ..rules() };
        assert_eq!(check(&batch(), &keys), Err(BatchError::KeyMissing));
        let small = ProduceRules { max_message_bytes: 50, ..rules() };
        assert!(matches!(check(&batch(), &small), Err(BatchError::TooLarge { .. })));
        let past = ProduceRules { timestamp_after_max_ms: -5, ..rules() };
        assert!(matches!(check(&batch(), &past), Err(BatchError::Timestamp { .. })));
        let mut zstd = BatchBuilder::new(NOW).compression(Compression::Zstd, None);
        zstd.push(NOW, None, Some(b"x"), &[]);
        let zstd = zstd.build().unwrap().0;
        let old = ProduceRules { produce_version: 6, ..rules() };
        assert_eq!(check(&zstd, &old), Err(BatchError::ZstdTooEarly));
        assert!(check(&zstd, &rules()).is_ok());
    }
}
