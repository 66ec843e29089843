//! What a produced batch must satisfy before it is sent to its partition, and the two cases in
//! which it is rewritten first: old message sets, and a topic that asks for another codec.
//!
//! Pure. Runs on the shard of the connection, so that checksums and codecs use that core, unless it
//! may take so long that others would notice ([`is_heavy`]).

use bytes::Bytes;
use ringlog_config::{TimestampType, TopicCompression, TopicConfig};
use ringlog_record::validate::{ProduceRules, unpacked_bytes_max, validate_produce};
use ringlog_record::{BatchError, BatchSummary, BatchView, Compression, legacy, patch, recompress};
use ringlog_types::TimestampMs;

/// The last version of Produce whose records are message sets (magic 0 or 1).
const VERSION_MESSAGE_SETS_LAST: i16 = 2;

/// Unpacking and looking at this much takes half a millisecond or so.
const LOOKED_AT_BYTES_MAX: usize = 1 << 20;

/// Compressing this much takes as long.
const COMPRESSED_BYTES_MAX: usize = 32 << 10;

/// How far from now the header of a compressed batch may claim its newest record to be, at most,
/// for the claim to be believed unseen: a producer that sends what has just happened is not slowed
/// down, one that sends what is older is held to what its records say. A tenth of a topic's
/// retention, if that is less: what is believed removes nothing much too early.
const TIMESTAMP_BELIEVED_MS_MAX: i64 = 10 * 60 * 1000;
/// The same for batches that were made here.
const OWN_TIMESTAMP_BELIEVED_MS: i64 = i64::MAX;

/// Where a message of an old set has its length, its magic and its attributes, and the bits of
/// those that tell the codec. The length counts what follows it.
const MESSAGE_LENGTH_AT: usize = 8;
const MESSAGE_ATTRIBUTES_AT: usize = 17;
const MESSAGE_CODEC_MASK: u8 = 7;

/// Whether [`check`] may take so long with these records that it should be computed elsewhere: a
/// few compressed bytes can unfold to very many.
pub(crate) fn is_heavy(
    records: &[u8],
    version: i16,
    topic: &TopicConfig,
    now_ms: TimestampMs,
) -> bool {
    if version <= VERSION_MESSAGE_SETS_LAST {
        return records.len() > LOOKED_AT_BYTES_MAX / 4 || has_compressed_message(records);
    }
    if unpacked_bytes_max(records, &rules(version, topic), now_ms) > LOOKED_AT_BYTES_MAX {
        return true;
    }
    let Some((codec, _)) = wanted_codec(topic) else { return false };
    let sent = BatchView::parse(records).and_then(|batch| batch.compression());
    match sent {
        Ok(Compression::None) if codec != Compression::None => records.len() > COMPRESSED_BYTES_MAX,
        Ok(sent) => sent != codec,
        Err(_) => false,
    }
}

fn has_compressed_message(mut set: &[u8]) -> bool {
    while let Some(attributes) = set.get(MESSAGE_ATTRIBUTES_AT) {
        if attributes & MESSAGE_CODEC_MASK != 0 {
            return true;
        }
        let length = set[MESSAGE_LENGTH_AT..].first_chunk().expect("shorter than what was got");
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        set = set.get(length.saturating_add(MESSAGE_LENGTH_AT + 4)..).unwrap_or_default();
    }
    false
}

/// Checks the records of one partition and returns the one batch to append; none, if an old
/// message set has no whole message.
///
/// `records` holds what the request carried; the result shares its memory unless it had to be
/// rewritten.
pub(crate) fn check(
    records: Bytes,
    version: i16,
    topic: &TopicConfig,
    now_ms: TimestampMs,
) -> Result<Option<(Bytes, BatchSummary)>, BatchError> {
    let mut rules = rules(version, topic);
    let records = if version <= VERSION_MESSAGE_SETS_LAST {
        rules.timestamp_believed_ms = OWN_TIMESTAMP_BELIEVED_MS;
        match legacy::convert(&records)? {
            Some((batch, _)) => Bytes::from(batch),
            None => return Ok(None),
        }
    } else {
        records
    };
    let summary = validate_produce(&records, &rules, now_ms)?;
    // A header that does not tell the records' true maximal timestamp is mended before it is
    // stored: retention and look-ups by time go by it. A log that stamps its records sets it.
    let mended = match rules.log_append_time {
        true => None,
        false => patch::with_create_time(&records, summary.max_timestamp),
    };
    let records = mended.map_or(records, Bytes::from);
    match wanted_codec(topic) {
        Some((codec, level)) if codec != summary.compression => {
            let rewritten = Bytes::from(recompress(&records, codec, level)?);
            rules.produce_version = i16::MAX;
            rules.timestamp_believed_ms = OWN_TIMESTAMP_BELIEVED_MS;
            let summary = validate_produce(&rewritten, &rules, now_ms)?;
            Ok(Some((rewritten, summary)))
        }
        _ => Ok(Some((records, summary))),
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
        timestamp_believed_ms: match topic.retention_ms {
            ..0 => TIMESTAMP_BELIEVED_MS_MAX,
            retention_ms => TIMESTAMP_BELIEVED_MS_MAX.min(retention_ms / 10),
        },
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
        let (taken, summary) =
            check(sent.clone(), 9, &TopicConfig::default(), NOW).unwrap().unwrap();
        assert_eq!(taken.as_ptr(), sent.as_ptr());
        assert_eq!(summary.record_count, 1);
    }

    #[test]
    fn a_topic_may_store_another_codec() {
        let compression = TopicCompression::Zstd(3);
        let topic = TopicConfig { compression, ..TopicConfig::default() };
        let (taken, summary) = check(batch(), 3, &topic, NOW).unwrap().unwrap();
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
    fn what_may_take_long_is_heavy() {
        let heavy = |records: &[u8], version, compression| {
            let topic = TopicConfig { compression, ..TopicConfig::default() };
            is_heavy(records, version, &topic, NOW)
        };
        let mut builder = BatchBuilder::new(NOW).compression(Compression::Zstd, None);
        builder.push(NOW, None, Some(b"value"), &[]);
        let mut packed = builder.build().unwrap().0;
        assert!(!heavy(&packed, 9, TopicCompression::Producer));
        assert!(!heavy(&packed, 9, TopicCompression::Zstd(3)), "it is that already");
        assert!(heavy(&packed, 9, TopicCompression::Gzip(6)));
        assert!(!heavy(&batch(), 9, TopicCompression::Gzip(6)), "there is little to compress");
        patch::set_max_timestamp(&mut packed, -1);
        assert!(heavy(&packed, 9, TopicCompression::Producer), "it has to be unpacked");
        // Message sets: a plain message of 14 bytes behind the length, then a gzipped one.
        let message = |attributes: u8| {
            let mut message = [0u8; 26];
            message[11] = 14;
            message[17] = attributes;
            message
        };
        let set = [message(0), message(0)].concat();
        assert!(!heavy(&set, 2, TopicCompression::Producer));
        assert!(heavy(&[message(0), message(1)].concat(), 2, TopicCompression::Producer));
        assert!(!heavy(&set[..30], 2, TopicCompression::Producer), "cut off in the second");
        assert!(!heavy(&[0xff; 17], 2, TopicCompression::Producer));
    }

    #[test]
    fn old_requests_carry_message_sets() {
        let error = check(batch(), 2, &TopicConfig::default(), NOW).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
