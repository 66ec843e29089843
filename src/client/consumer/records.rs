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
