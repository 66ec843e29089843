//! What a produced batch must satisfy before it is sent to its partition, and the two cases in
//! which it is rewritten first: old message sets, and a topic that asks for another codec.
//!
//! Pure. Runs on the shard of the connection, so that checksums and codecs use that core.

use bytes::Bytes;
use ringlog_config::{TimestampType, TopicCompression, TopicConfig};
use ringlog_record::validate::{ProduceRules, validate_produce};
use ringlog_record::{BatchError, BatchSummary, BatchView, Compression, legacy, patch, recompress};
use ringlog_types::TimestampMs;

/// The last version of Produce whose records are message sets (magic 0 or 1).
const VERSION_MESSAGE_SETS_LAST: i16 = 2;

/// Checks the records of one partition and returns the one batch to append.
///
/// `records` holds what the request carried; the result shares its memory unless it had to be
/// rewritten.
pub(crate) fn check(
    records: Bytes,
    version: i16,
    topic: &TopicConfig,
    now_ms: TimestampMs,
) -> Result<(Bytes, BatchSummary), BatchError> {
    let mut rules = rules(version, topic);
    let records = if version <= VERSION_MESSAGE_SETS_LAST {
        Bytes::from(legacy::convert(&records, now_ms)?.0)
    } else {
        records
    };
    let summary = validate_produce(&records, &rules, now_ms)?;
    // A header that does not tell the records' true maximal timestamp is mended before it is
    // stored: lookups by time go by it.
    let mended = patch::with_max_timestamp(&records, summary.max_timestamp);
    let records = mended.map_or(records, Bytes::from);
    match wanted_codec(topic) {
        Some((codec, level)) if codec != summary.compression => {
            let rewritten = Bytes::from(recompress(&records, codec, level)?);
            rules.produce_version = i16::MAX;
            let summary = validate_produce(&rewritten, &rules, now_ms)?;
            Ok((rewritten, summary))
        }
        _ => Ok((records, summary)),
    }
}

/// Whether these records say that they belong to a transaction. What is no batch says nothing.
pub(crate) fn is_transactional(records: &[u8]) -> bool {
    BatchView::parse(records).is_ok_and(|batch| batch.attributes().is_transactional())
}

fn rules(produce_version: i16, topic: &TopicConfig) -> ProduceRules {
    ProduceRules {
        max_message_bytes: topic.max_message_bytes.max(0) as usize,
        log_append_time: topic.message_timestamp_type == TimestampType::LogAppendTime,
        timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
        timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
        keys_required: topic.cleanup_policy.compact,
        produce_version,
        strict: topic.check_records,
    }
}

/// The codec and level a topic stores, if it is not whatever comes.
fn wanted_codec(topic: &TopicConfig) -> Option<(Compression, Option<i32>)> {
    Some(match topic.compression {
        TopicCompression::Producer => return None,
        TopicCompression::Uncompressed => (Compression::None, None),
        TopicCompression::Gzip(level) => (Compression::Gzip, Some(level)),
        TopicCompression::Snappy => (Compression::Snappy, None),
        TopicCompression::Lz4(level) => (Compression::Lz4, Some(level)),
        TopicCompression::Zstd(level) => (Compression::Zstd, Some(level)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlog_record::BatchBuilder;

    const NOW: TimestampMs = 1_700_000_000_000;

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(NOW);
        builder.push(NOW, None, Some(b"value"), &[]);
        builder.build().unwrap().0.into()
    }

    #[test]
    fn a_batch_is_passed_on_as_it_came() {
        let sent = batch();
        let (taken, summary) = check(sent.clone(), 9, &TopicConfig::default(), NOW).unwrap();
        assert_eq!(taken.as_ptr(), sent.as_ptr());
        assert_eq!(summary.record_count, 1);
    }

    #[test]
    fn a_topic_may_store_another_codec() {
        let compression = TopicCompression::Zstd(3);
        let topic = TopicConfig { compression, ..TopicConfig::default() };
        let (taken, summary) = check(batch(), 3, &topic, NOW).unwrap();
        assert_eq!(summary.compression, Compression::Zstd);
        assert_ne!(taken, batch());
    }

    /// A broken producer's batch: its checksum is right, its record claims a header.
    #[test]
    fn records_are_looked_at_where_a_topic_wants_it() {
        let mut broken = batch().to_vec();
        let last = broken.len() - 1;
        broken[last] = 2;
        patch::set_crc(&mut broken);
        let code = |topic: TopicConfig| {
            let checked = check(broken.clone().into(), 9, &topic, NOW);
            checked.map_err(|error| error.error_code()).map(|_| ())
        };
        let compression = TopicCompression::Lz4(1);
        let invalid = Err(ringlog_types::ErrorCode::InvalidRecord);
        assert_eq!(code(TopicConfig::default()), Ok(()), "the header and the checksum are right");
        assert_eq!(code(TopicConfig { check_records: true, ..TopicConfig::default() }), invalid);
        assert_eq!(code(TopicConfig { compression, ..TopicConfig::default() }), invalid);
    }

    #[test]
    fn old_requests_carry_message_sets() {
        let error = check(batch(), 2, &TopicConfig::default(), NOW).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
