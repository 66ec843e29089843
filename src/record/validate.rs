//! What a produced batch must be (Kafka's `LogValidator` and `ProduceRequest.validateRecords`).
//!
//! Header and checksum are always checked, in Kafka's order. The largest timestamp is that of the
//! records: retention and look-ups by time go by it. Where nothing is compressed it is found from
//! the records' heads. Compressed records are unpacked only where something depends on them: a
//! compacted topic (keys), `message.timestamp.before.max.ms`, `check.records`, or a header whose
//! claim is not believed (see [`ProduceRules::timestamp_believed_ms`]). Another codec takes them
//! apart too: [`crate::recompress`].
//!
//! Stricter than Kafka in two places, where it repairs what a broken producer sent: bytes after
//! the batch, and inner offsets that are not consecutive where records are looked at.

use std::ops::ControlFlow;

use ringlog_types::TimestampMs;

use crate::batch::{BatchSummary, BatchView};
use crate::compression::Compression;
use crate::error::{REJECTED_RECORDS_MAX, RejectReason, RejectedRecord};
use crate::heads::newest_timestamp;
use crate::passing::{PassRules, pass_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX, HEADER_BYTES, NO_TIMESTAMP};

/// The first version of Produce that may carry zstd (KIP-110).
const VERSION_ZSTD: i16 = 7;
/// Length, attributes, two deltas, two nulls and a header count, each in one byte.
const RECORD_BYTES_MIN: usize = 7;
/// Looking at the head of a record takes as long as looking at so many bytes of unpacked ones.
const HEAD_BYTES: usize = 10;

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
    /// How far from now the largest timestamp in the header of a compressed batch may be to be
    /// believed without unpacking the records. What is believed is wrong by so much at most, and
    /// by an hour more (`message.timestamp.after.max.ms`) if records are hidden in the future.
    pub timestamp_believed_ms: i64,
    /// Whether every record needs a key (`cleanup.policy=compact`).
    pub keys_required: bool,
    /// The version of the Produce request.
    pub produce_version: i16,
    /// Look at every record (`check.records`).
    pub strict: bool,
}

/// Checks that `bytes` are exactly one batch that may be appended.
///
/// The summary's `max_timestamp` is that of the records, where they were looked at and keep their
/// own. The header may say otherwise; [`crate::patch::with_create_time`] then mends the batch.
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
    if batch.attributes().is_log_append_time()
        && (rules.log_append_time || summary.max_timestamp == NO_TIMESTAMP)
    {
        return Err(BatchError::TimestampType);
    }
    match needed_look(&summary, is_stamped(&batch), rules, now_ms) {
        Look::Header => {}
        Look::Heads => {
            summary.max_timestamp = newest_timestamp(&batch)?;
            if rejected_timestamp(summary.max_timestamp, rules, now_ms).is_some() {
                // Finds out which records they are.
                check_records(&batch, rules, now_ms)?;
            }
        }
        Look::Records => {
            let max_timestamp = check_records(&batch, rules, now_ms)?;
            if !rules.log_append_time {
                summary.max_timestamp = max_timestamp;
            }
        }
    }
    Ok(summary)
}

/// How many bytes of records [`validate_produce`] may have to unpack and look at, or what takes as
/// long: none if the batch's header says enough. An upper bound, found without looking.
pub fn unpacked_bytes_max(bytes: &[u8], rules: &ProduceRules, now_ms: TimestampMs) -> usize {
    let Ok(batch) = BatchView::parse(bytes) else { return 0 };
    // What is wrong with a batch without a summary is found by its header.
    let Ok(summary) = batch.summary() else { return 0 };
    match needed_look(&summary, is_stamped(&batch), rules, now_ms) {
        Look::Header => 0,
        Look::Heads => records_max(&summary).min(summary.record_count.max(0) as usize) * HEAD_BYTES,
        Look::Records => records_bytes_max(&summary),
    }
}

fn is_stamped(batch: &BatchView<'_>) -> bool {
    batch.attributes().is_log_append_time()
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

/// How closely a batch has to be looked at.
enum Look {
    /// Its header says enough.
    Header,
    /// The heads of its records, which are not compressed.
    Heads,
    /// Every record as a whole.
    Records,
}

fn needed_look(
    summary: &BatchSummary,
    is_stamped: bool,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Look {
    if rules.keys_required || rules.strict {
        return Look::Records;
    }
    if rules.log_append_time {
        return Look::Header;
    }
    if rules.timestamp_before_max_ms < i64::MAX {
        return Look::Records;
    }
    if summary.compression == Compression::None {
        return Look::Heads;
    }
    let claim = summary.max_timestamp;
    let is_believed = !is_stamped
        && claim >= summary.base_timestamp
        && now_ms.abs_diff(claim) <= rules.timestamp_believed_ms.max(0) as u64
        && rejected_timestamp(claim, rules, now_ms).is_none();
    if is_believed { Look::Header } else { Look::Records }
}

/// Checks every record and returns their largest timestamp.
fn check_records(
    batch: &BatchView<'_>,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Result<TimestampMs, BatchError> {
    let mut max_timestamp = NO_TIMESTAMP;
    let (mut first, mut count, mut index) = (Vec::new(), 0, 0);
    let passing = PassRules { create_time: true, in_order: true };
    pass_records(batch, DECOMPRESSED_BYTES_MAX, passing, &mut |record| {
        let reason = match rules.keys_required && !record.has_key {
            true => Some(RejectReason::KeyMissing),
            false => rejected_timestamp(record.timestamp, rules, now_ms),
        };
        if let Some(reason) = reason {
            count += 1;
            if first.len() < REJECTED_RECORDS_MAX {
                first.push(RejectedRecord { index, reason });
            }
        }
        index += 1;
        max_timestamp = max_timestamp.max(record.timestamp);
        Ok(ControlFlow::Continue(()))
    })?;
    if count > 0 {
        return Err(BatchError::Rejected { first, count });
    }
    Ok(max_timestamp)
}

/// Why a topic does not take a timestamp, if so. A record without one is let through, as in Kafka.
fn rejected_timestamp(
    timestamp: TimestampMs,
    rules: &ProduceRules,
    now_ms: TimestampMs,
) -> Option<RejectReason> {
    let earliest = now_ms.saturating_sub(rules.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(rules.timestamp_after_max_ms);
    let is_allowed = rules.log_append_time
        || timestamp == NO_TIMESTAMP
        || (earliest..=latest).contains(&timestamp);
    (!is_allowed).then_some(RejectReason::Timestamp { timestamp, earliest, latest })
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
            timestamp_believed_ms: 600_000,
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
        use ringlog_types::ErrorCode::{CorruptMessage, InvalidRecord, UnsupportedCompressionType};
        let code = |result: Result<BatchSummary, BatchError>| result.unwrap_err().error_code();
        assert_eq!(code(changed(set(0, 1i64.to_be_bytes()))), InvalidRecord);
        assert_eq!(code(changed(set(8, 48i32.to_be_bytes()))), CorruptMessage);
        assert_eq!(code(changed(set(8, (-1i32).to_be_bytes()))), CorruptMessage);
        assert_eq!(code(changed(set(16, [1]))), InvalidRecord);
        assert_eq!(code(changed(set(16, [3]))), CorruptMessage);
        assert_eq!(code(changed(set(16, [0xff]))), CorruptMessage);
        assert_eq!(code(changed(set(21, [0, 0x05]))), UnsupportedCompressionType);
        assert!(changed(set(21, [0, 0x08])).is_ok(), "its records keep their own timestamps");
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
            let bytes_max = unpacked_bytes_max(&bomb, &largest, NOW);
            assert!(bytes_max <= HEAD_BYTES, "{codec:?}: its header or its one head says enough");
            patch::set_max_timestamp(&mut bomb, -1);
            let bytes_max = unpacked_bytes_max(&bomb, &largest, NOW);
            assert_eq!(bytes_max > zeros.len(), codec != Compression::None, "{codec:?}");
            assert!(check(&bomb, &largest).is_ok(), "{codec:?}");
        }
        let mut builder = BatchBuilder::new(NOW);
        (0..100_000).for_each(|_| builder.push(NOW, None, None, &[]));
        let many = builder.build().unwrap().0;
        assert_eq!(unpacked_bytes_max(&many, &rules(), NOW), 100_000 * HEAD_BYTES);
        assert_eq!(unpacked_bytes_max(&batch()[..70], &rules(), NOW), 0);
    }

    /// The batch of [`batch`], compressed.
    fn packed() -> Vec<u8> {
        crate::recompress(&batch(), Compression::Lz4, None).unwrap()
    }

    /// A header of 0 made retention remove fresh records, one that was a little off hid them from
    /// look-ups by time.
    #[test]
    fn the_largest_timestamp_is_that_of_the_records() {
        let lies = [-1, 0, NOW - 1, NOW, NOW + 2, NOW + 3_600_001, i64::MAX, i64::MIN];
        for claim in lies {
            let mut batch = batch();
            patch::set_max_timestamp(&mut batch, claim);
            check_mended(&batch);
        }
        // What a compressed batch claims of just now is believed, unless it contradicts itself.
        for (claim, is_believed) in [
            (0, false),
            (NOW - 1, false),
            (NOW, true),
            (NOW + 600_000, true),
            (NOW + 600_001, false),
        ] {
            let mut packed = packed();
            patch::set_max_timestamp(&mut packed, claim);
            match is_believed {
                true => assert_eq!(check(&packed, &rules()).unwrap().max_timestamp, claim),
                false => check_mended(&packed),
            }
        }
        // Nothing of it matters where the broker stamps the records.
        let stamped = ProduceRules { log_append_time: true, ..rules() };
        assert!(check(&batch(), &stamped).is_ok());
    }

    fn check_mended(batch: &[u8]) {
        let summary = check(batch, &rules()).unwrap();
        assert_eq!(summary.max_timestamp, NOW + 1);
        let mended = patch::with_create_time(batch, summary.max_timestamp).unwrap();
        assert_eq!(BatchView::check(&mended).unwrap().max_timestamp(), NOW + 1);
        assert_eq!(check(&mended, &rules()), Ok(summary));
        assert_eq!(patch::with_create_time(&mended, summary.max_timestamp), None);
    }

    #[test]
    fn a_stamp_that_is_not_ours_is_taken_off() {
        for batch in [batch(), packed()] {
            let mut stamped = batch.clone();
            patch::set_log_append_time(&mut stamped, NOW + 7_200_000);
            let summary = check(&stamped, &rules()).unwrap();
            assert_eq!(summary.max_timestamp, NOW + 1, "that of its records");
            assert_eq!(patch::with_create_time(&stamped, summary.max_timestamp), Some(batch));
            let ours = ProduceRules { log_append_time: true, ..rules() };
            assert_eq!(check(&stamped, &ours), Err(BatchError::TimestampType), "as in Kafka");
        }
    }

    #[test]
    fn a_batch_hides_no_record_of_the_future() {
        for codec in [Compression::None, Compression::Zstd] {
            let mut builder = BatchBuilder::new(NOW).compression(codec, None);
            for at in [NOW, NOW + 7_200_000, NOW + 3_600_000, NOW + 7_200_001] {
                builder.push(at, None, Some(b"value"), &[]);
            }
            let mut batch = builder.build().unwrap().0;
            let told = check(&batch, &rules()).unwrap_err();
            patch::set_max_timestamp(&mut batch, if codec == Compression::None { NOW } else { 0 });
            let hidden = check(&batch, &rules()).unwrap_err();
            assert_eq!(hidden, told);
            assert_eq!(hidden.error_code(), ringlog_types::ErrorCode::InvalidTimestamp);
            let BatchError::Rejected { first, count: 2 } = hidden else { panic!("{hidden}") };
            let partition = ringlog_types::TopicPartition::new("t", 0);
            assert_eq!(first.iter().map(|record| record.index).collect::<Vec<_>>(), [1, 3]);
            let said = "Timestamp 1700007200000 of message with offset 1 is out of range. The \
                        timestamp should be within [-9223370336854775807, 1700003600000]";
            assert_eq!(first[0].message(&partition), said);
        }
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
        let first = vec![RejectedRecord { index: 0, reason: RejectReason::KeyMissing }];
        assert_eq!(check(&batch(), &keys), Err(BatchError::Rejected { first, count: 1 }));
        let small = ProduceRules { max_message_bytes: 50, ..rules() };
        assert!(matches!(check(&batch(), &small), Err(BatchError::TooLarge { .. })));
        let past = ProduceRules { timestamp_after_max_ms: -5, ..rules() };
        assert!(matches!(check(&batch(), &past), Err(BatchError::Rejected { .. })));
        let mut zstd = BatchBuilder::new(NOW).compression(Compression::Zstd, None);
        zstd.push(NOW, None, Some(b"x"), &[]);
        let zstd = zstd.build().unwrap().0;
        let old = ProduceRules { produce_version: 6, ..rules() };
        assert_eq!(check(&zstd, &old), Err(BatchError::ZstdTooEarly));
        assert!(check(&zstd, &rules()).is_ok());
    }
}
