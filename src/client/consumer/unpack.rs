//! From the bytes of an answer to records.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ringlog_record::{BatchError, BatchIter, RecordIter, decompressed_records};
use ringlog_types::{Offset, TopicPartition};

use super::position::Position;
use super::{ConsumerSettings, FetchedRecord};
use crate::connection::Reply;
use crate::error::ClientError;

/// Appends the records of `bytes`, which are borrowed from `reply`, from the position on, and
/// moves the position behind them. A batch that the broker cut short at the end is left.
pub(crate) fn read(
    reply: &Reply,
    bytes: &[u8],
    partition: &TopicPartition,
    position: &mut Position,
    settings: &ConsumerSettings,
    records: &mut Vec<FetchedRecord>,
) -> Result<(), ClientError> {
    for batch in BatchIter::new(bytes) {
        let damaged = |error: BatchError| ClientError::CorruptBatch {
            partition: partition.to_string(),
            offset: position.next,
            reason: error.to_string(),
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(BatchError::Incomplete { .. }) => return Ok(()),
            Err(error) => return Err(damaged(error)),
        };
        if settings.check_crcs {
            batch.verify_crc().map_err(damaged)?;
        }
        if !batch.attributes().is_control() {
            let unpacked = decompressed_records(&batch, settings.decompressed_bytes_max);
            let unpacked = match unpacked.map_err(damaged)? {
                Cow::Borrowed(bytes) => reply.share(bytes),
                Cow::Owned(bytes) => Bytes::from(bytes),
            };
            let iter = RecordIter::new(&batch, &unpacked);
            push(iter, &unpacked, partition, position, records).map_err(damaged)?;
        }
        position.last_epoch = batch.leader_epoch();
        position.next = position.next.max(batch.last_offset() + 1);
    }
    Ok(())
}

fn push(
    iter: RecordIter<'_>,
    unpacked: &Bytes,
    partition: &TopicPartition,
    position: &Position,
    records: &mut Vec<FetchedRecord>,
) -> Result<(), BatchError> {
    let share = |bytes: Option<&[u8]>| bytes.map(|bytes| unpacked.slice_ref(bytes));
    for record in iter {
        let record = record?;
        // A broker sends whole batches, and the first may begin before what was asked for.
        let is_wanted =
            |offset: Offset| offset >= position.next && position.end.is_none_or(|end| offset < end);
        if !is_wanted(record.offset) {
            continue;
        }
        let headers = record.headers.iter();
        records.push(FetchedRecord {
            partition: partition.clone(),
            offset: record.offset,
            timestamp: record.timestamp,
            key: share(record.key),
            value: share(record.value),
            headers: headers.map(|h| (Arc::from(h.key), share(h.value))).collect(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ringlog_record::{BatchBuilder, Compression, patch};

    use super::*;

    /// Two batches of three records, from offset 10 on; the second one is compressed.
    fn log() -> Vec<u8> {
        let mut log = Vec::new();
        for (base, codec) in [(10, Compression::None), (13, Compression::Lz4)] {
            let mut builder = BatchBuilder::new(1_000).compression(codec, None);
            for value in ["a", "b", "c"] {
                builder.push(1_000, None, Some(value.as_bytes()), &[]);
            }
            let (mut bytes, _) = builder.build().unwrap();
            patch::set_base_offset(&mut bytes, base);
            log.extend(bytes);
        }
        log
    }

    /// Reads `log` from `next` to `end`: the offsets, and where the reading then stands.
    fn offsets(
        log: &[u8],
        next: Offset,
        end: Option<Offset>,
    ) -> Result<(Vec<Offset>, Offset), ClientError> {
        let reply = Reply::of_bytes(log);
        let mut position = Position { next, end, last_epoch: -1 };
        let mut records = Vec::new();
        let partition = TopicPartition::new("t", 0);
        let settings = ConsumerSettings::default();
        let bytes = reply.bytes().clone();
        read(&reply, &bytes, &partition, &mut position, &settings, &mut records)?;
        Ok((records.iter().map(|record| record.offset).collect(), position.next))
    }

    #[test]
    fn only_what_was_asked_for_is_given() {
        let log = log();
        assert_eq!(offsets(&log, 10, None), Ok((vec![10, 11, 12, 13, 14, 15], 16)));
        assert_eq!(offsets(&log, 12, Some(14)), Ok((vec![12, 13], 16)));
        // A batch that the broker cut short is left for the next answer.
        assert_eq!(offsets(&log[..log.len() - 1], 10, None), Ok((vec![10, 11, 12], 13)));
        assert_eq!(offsets(&[], 10, None), Ok((vec![], 10)));
    }

    #[test]
    fn damage_is_an_error_with_its_place() {
        let mut log = log();
        *log.last_mut().unwrap() ^= 1;
        let error = offsets(&log, 10, None).unwrap_err();
        assert!(matches!(&error, ClientError::CorruptBatch { offset: 13, .. }), "{error}");
    }
}
