//! What a produced batch must be (Kafka's `LogValidator` and `ProduceRequest.validateRecords`).
//!
//! Header and checksum are always checked, in Kafka's order. Records are unpacked only where
//! something depends on them: a compacted topic (keys), `message.timestamp.before.max.ms`, a
//! maximal timestamp that is unset or out of range, or `check.records`. Another codec takes them
//! apart too: [`crate::recompress`].
//!
//! Stricter than Kafka in three places, where it repairs what a broken producer sent: bytes after
//! the batch, inner offsets that are not consecutive, and the timestamp type LogAppendTime are all
//! refused here.

use ringlog_types::TimestampMs;

use crate::batch::{BatchSummary, BatchView};
use crate::compression::Compression;
use crate::record::{RecordIter, decompressed_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX, HEADER_BYTES};

/// The first version of Produce that may carry zstd (KIP-110).
const VERSION_ZSTD: i16 = 7;
/// Length, attributes, two deltas, two nulls and a header count, each in one byte.
const RECORD_BYTES_MIN: usize = 7;
/// What a record has that was given no timestamp.
const NO_TIMESTAMP: TimestampMs = -1;

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
    /// Look at every record (`check.records`).
    pub strict: bool,
}

/// Checks that `bytes` are exactly one batch that may be appended.
///
/// The summary's `max_timestamp` is that of the records, where they were looked at. A producer may
/// have left the header's unset; [`crate::patch::with_max_timestamp`] then mends the batch.
///
/// # Errors
/// See [`BatchError`]; [`BatchError::error_code`] is what to answer.
pub fn validate_produce(
    bytes: &[u8],
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<BatchSummary, BatchError> {
    let batch = match BatchView::parse(bytes) {
        Ok(batch) => batch,
        // A batch that is not all there is none at all.
        Err(BatchError::Incomplete { .. }) => return Err(BatchError::BatchCount(0)),
        Err(error) => return Err(error),
    };
    if batch.compression() == Ok(Compression::Zstd) && rules.produce_version < VERSION_ZSTD {
        return Err(BatchError::ZstdTooEarly);
    }
    if batch.size() != bytes.len() {
        return Err(BatchError::BatchCount(2));
    }
    if batch.base_offset() != 0 {
        return Err(BatchError::BaseOffset(batch.base_offset()));
    }
    if bytes.len() > rules.max_message_bytes {
        return Err(BatchError::TooLarge { size: bytes.len(), limit: rules.max_message_bytes });
    }
    batch.verify_crc()?;
    let mut summary = batch.summary()?;
    check_header(&summary)?;
    if batch.attributes().is_log_append_time() {
        return Err(BatchError::TimestampType);
    }
    if needs_records(&summary, rules, now_ms) {
        let max_timestamp = check_records(&batch, rules, now_ms)?;
        if !rules.log_append_time {
            summary.max_timestamp = max_timestamp;
        }
    }
    Ok(summary)
}

/// How many bytes of records [`validate_produce`] may have to unpack and look at: none if the
/// batch's header says enough. An upper bound, found without looking.
pub fn unpacked_bytes_max(bytes: &[u8], rules: &ProduceRules, now_ms: TimestampMs) -> usize {
    let summary = BatchView::parse(bytes).and_then(|batch| batch.summary());
    match summary {
        Ok(summary) if needs_records(&summary, rules, now_ms) => records_bytes_max(&summary),
        // What is wrong with it is found by its header.
        _ => 0,
    }
}

fn check_header(summary: &BatchSummary) -> Result<(), BatchError> {
    let (records, last_offset_delta) = (summary.record_count, summary.last_offset_delta);
    if records <= 0 {
        return Err(BatchError::Empty);
    }
    if records - 1 != last_offset_delta || records as usize > records_max(summary) {
        return Err(BatchError::OffsetDelta { records, last_offset_delta });
    }
    if summary.is_control {
        return Err(BatchError::Control);
    }
    let (producer_id, epoch, sequence) =
        (summary.producer_id, summary.producer_epoch, summary.base_sequence);
    if producer_id >= 0 && (epoch < 0 || sequence < 0) {
        return Err(BatchError::Producer { producer_id, epoch, sequence });
    }
    Ok(())
}

/// How many records such a batch can hold at most. Without this bound, a compressed batch of a few
/// bytes could claim two billion offsets, and nobody would look inside.
fn records_max(summary: &BatchSummary) -> usize {
    records_bytes_max(summary) / RECORD_BYTES_MIN
}

/// How many bytes its records are at most when they are unpacked, and when that is allowed.
fn records_bytes_max(summary: &BatchSummary) -> usize {
    let bytes = summary.size_bytes.saturating_sub(HEADER_BYTES);
    // The most that the formats can pack into a byte, rounded up.
    let unpacked = match summary.compression {
        Compression::None => bytes,
        Compression::Snappy => bytes.saturating_mul(64),
        Compression::Lz4 => bytes.saturating_mul(256),
        Compression::Gzip => bytes.saturating_mul(1040),
        Compression::Zstd => DECOMPRESSED_BYTES_MAX,
    };
    unpacked.min(DECOMPRESSED_BYTES_MAX.max(bytes))
}

fn needs_records(summary: &BatchSummary, rules: &ProduceRules, now_ms: TimestampMs) -> bool {
    let for_timestamps = !rules.log_append_time
        && (summary.max_timestamp < 0
            || rules.timestamp_before_max_ms < i64::MAX
            || check_timestamp(summary.max_timestamp, rules, now_ms).is_err());
    rules.keys_required || rules.strict || for_timestamps
}

/// Checks every record and returns their largest timestamp.
fn check_records(
    batch: &BatchView<'_>,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<TimestampMs, BatchError> {
    let records = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
    let mut max_timestamp = NO_TIMESTAMP;
    RecordIter::new(batch, &records).each_in_order(|record| {
        if rules.keys_required && record.key.is_none() {
            return Err(BatchError::KeyMissing);
        }
        if !rules.log_append_time {
            check_timestamp(record.timestamp, rules, now_ms)?;
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        Ok(())
    })?;
    Ok(max_timestamp)
}

/// A record without a timestamp is let through, as in Kafka.
fn check_timestamp(
    timestamp: TimestampMs,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<(), BatchError> {
    let earliest = now_ms.saturating_sub(rules.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(rules.timestamp_after_max_ms);
    if timestamp != NO_TIMESTAMP && !(earliest..=latest).contains(&timestamp) {
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
        // The leader epoch is the broker's to set.
        for at in (0..12).chain(16..batch.len()) {
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
        assert_eq!(check(cut, &rules()), Err(BatchError::BatchCount(0)));
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

    /// Changes a good batch, gives it a matching checksum, and returns what is said about it.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<BatchSummary, BatchError> {
        let mut batch = batch();
        change(&mut batch);
        patch::set_crc(&mut batch);
        check(&batch, &rules())
    }

    fn set<const N: usize>(at: usize, bytes: [u8; N]) -> impl FnOnce(&mut Vec<u8>) {
        move |batch| batch[at..at + N].copy_from_slice(&bytes)
    }

    #[test]
    fn errors_have_the_codes_of_kafka() {
        use ringlog_types::ErrorCode::{
            CorruptMessage, InvalidRecord, InvalidTimestamp, UnsupportedCompressionType,
        };
        let code = |result: Result<BatchSummary, BatchError>| result.unwrap_err().error_code();
        assert_eq!(code(changed(set(0, 1i64.to_be_bytes()))), InvalidRecord);
        assert_eq!(code(changed(set(8, 48i32.to_be_bytes()))), CorruptMessage);
        assert_eq!(code(changed(set(8, (-1i32).to_be_bytes()))), CorruptMessage);
        assert_eq!(code(changed(set(16, [1]))), InvalidRecord);
        assert_eq!(code(changed(set(16, [3]))), CorruptMessage);
        assert_eq!(code(changed(set(16, [0xff]))), CorruptMessage);
        assert_eq!(code(changed(set(21, [0, 0x05]))), UnsupportedCompressionType);
        assert_eq!(code(changed(set(21, [0, 0x08]))), InvalidTimestamp);
        assert_eq!(code(changed(set(21, [0, 0x20]))), InvalidRecord);
        assert_eq!(code(changed(set(43, 7i64.to_be_bytes()))), InvalidRecord);
    }

    #[test]
    fn compressed_batches_cannot_claim_more_than_their_bytes_hold() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut builder = BatchBuilder::new(NOW).compression(codec, None);
            for _ in 0..100_000 {
                builder.push(NOW, None, None, &[]);
            }
            let (batch, summary) = builder.build().unwrap();
            let largest = ProduceRules { max_message_bytes: batch.len(), ..rules() };
            assert_eq!(check(&batch, &largest), Ok(summary), "{codec:?} at its best");
            let mut lie = batch.clone();
            lie[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
            lie[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
            patch::set_crc(&mut lie);
            let error = check(&lie, &largest);
            assert!(matches!(error, Err(BatchError::OffsetDelta { .. })), "{codec:?}");
        }
    }

    #[test]
    fn what_has_to_be_unpacked_is_known_before() {
        let zeros = vec![0; 4 << 20];
        for codec in [Compression::None, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut builder = BatchBuilder::new(NOW).compression(codec, None);
            builder.push(NOW, None, Some(&zeros), &[]);
            let mut bomb = builder.build().unwrap().0;
            let largest = ProduceRules { max_message_bytes: bomb.len(), ..rules() };
            assert_eq!(unpacked_bytes_max(&bomb, &largest, NOW), 0, "its header says enough");
            patch::set_max_timestamp(&mut bomb, -1);
            assert!(unpacked_bytes_max(&bomb, &largest, NOW) > zeros.len(), "{codec:?}");
            assert!(check(&bomb, &largest).is_ok(), "{codec:?}");
        }
        assert_eq!(unpacked_bytes_max(&batch()[..70], &rules(), NOW), 0);
    }

    #[test]
    fn an_unset_or_false_maximal_timestamp_is_looked_up() {
        for claim in [-1, NOW + 3_600_001] {
            let mut batch = batch();
            patch::set_max_timestamp(&mut batch, claim);
            let summary = check(&batch, &rules()).unwrap();
            assert_eq!(summary.max_timestamp, NOW + 1);
            let mended = patch::with_max_timestamp(&batch, summary.max_timestamp).unwrap();
            assert_eq!(check(&mended, &rules()), Ok(summary));
            assert_eq!(patch::with_max_timestamp(&mended, summary.max_timestamp), None);
        }
        // Nothing of it matters where the broker stamps the records.
        let stamped = ProduceRules { log_append_time: true, ..rules() };
        let far = ProduceRules { timestamp_after_max_ms: -5, ..rules() };
        assert!(check(&batch(), &stamped).is_ok());
        assert!(matches!(check(&batch(), &far), Err(BatchError::Timestamp { .. })));
    }

    #[test]
    fn the_oldest_record_counts_for_the_lower_bound() {
        let mut builder = BatchBuilder::new(NOW).compression(Compression::Lz4, None);
        builder.push(NOW - 1000, None, Some(b"old"), &[]);
        builder.push(NOW, None, Some(b"new"), &[]);
        let batch = builder.build().unwrap().0;
        for (before, passes) in [(i64::MAX, true), (1000, true), (999, false)] {
            let rules = ProduceRules { timestamp_before_max_ms: before, ..rules() };
            assert_eq!(check(&batch, &rules).is_ok(), passes, "{before}");
        }
        let mut builder = BatchBuilder::new(-1);
        builder.push(-1, None, Some(b"none"), &[]);
        let none = builder.build().unwrap().0;
        let rules = ProduceRules { timestamp_before_max_ms: 0, ..rules() };
        assert_eq!(check(&none, &rules).unwrap().max_timestamp, -1);
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
