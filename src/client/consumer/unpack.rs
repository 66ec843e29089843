//! From the bytes of an answer to records, a chunk at a time.
//!
//! A compressed batch may be thousands of times its size when it is unpacked. So the fetcher only
//! walks over the batches' headers, to know where to go on, and the records are made here, as
//! fast as somebody takes them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ringlog_record::{BatchError, BatchIter, BatchView, Record, RecordIter, decompressed_records};
use ringlog_types::{Offset, TopicPartition};
use tokio::sync::mpsc;

use super::position::Position;
use super::{ConsumerSettings, FetchedRecord};
use crate::error::ClientError;

/// A chunk is handed on when it has this many bytes of records, or this many of them.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_RECORDS: usize = 4_096;

/// Whole batches of one partition, as they came.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) partition: TopicPartition,
    pub(crate) bytes: Bytes,
    /// The offsets that are wanted: a broker sends whole batches, and the first one may begin
    /// before what was asked for.
    pub(crate) from: Offset,
    pub(crate) end: Option<Offset>,
}

fn damaged(partition: &TopicPartition, offset: Offset, error: &BatchError) -> ClientError {
    ClientError::CorruptBatch {
        partition: partition.to_string(),
        offset,
        reason: error.to_string(),
    }
}

/// Moves the position behind the batches of `bytes`, and gives those that are whole, with the
/// offsets wanted of them. A batch that the broker cut short at the end is left.
pub(crate) fn walk(
    bytes: &[u8],
    partition: &TopicPartition,
    position: &mut Position,
    give: impl FnOnce(Offset, Option<Offset>, &[u8]),
) -> Result<(), ClientError> {
    let from = position.next;
    let mut length = 0;
    let mut failed = Ok(());
    for batch in BatchIter::new(bytes) {
        match batch {
            Ok(batch) => {
                length += batch.bytes().len();
                position.last_epoch = batch.leader_epoch();
                position.next = position.next.max(batch.last_offset().saturating_add(1));
            }
            Err(BatchError::Incomplete { .. }) => break,
            Err(error) => {
                failed = Err(damaged(partition, position.next, &error));
                break;
            }
        }
    }
    if length > 0 {
        give(from, position.end, &bytes[..length]);
    }
    failed
}

/// Nobody takes records any more.
struct Abandoned;

/// The task that makes records.
pub(crate) struct Unpacker {
    check_crcs: bool,
    decompressed_bytes_max: usize,
    chunk: Vec<FetchedRecord>,
    chunk_bytes: usize,
    chunks: mpsc::Sender<Result<Vec<FetchedRecord>, ClientError>>,
}

impl Unpacker {
    pub(crate) fn new(
        settings: &ConsumerSettings,
        chunks: mpsc::Sender<Result<Vec<FetchedRecord>, ClientError>>,
    ) -> Unpacker {
        Unpacker {
            check_crcs: settings.check_crcs,
            decompressed_bytes_max: settings.decompressed_bytes_max,
            chunk: Vec::new(),
            chunk_bytes: 0,
            chunks,
        }
    }

    /// Runs until the fetcher ends, an error, or nobody takes records any more.
    pub(crate) async fn run(
        mut self,
        mut answers: mpsc::Receiver<Result<Vec<Piece>, ClientError>>,
    ) {
        while let Some(answer) = answers.recv().await {
            if self.take(answer).await.is_err() {
                return;
            }
        }
    }

    /// An error ends it: nothing may be read over what is damaged.
    async fn take(&mut self, answer: Result<Vec<Piece>, ClientError>) -> Result<(), Abandoned> {
        let failed = match answer {
            Err(error) => Some(error),
            Ok(pieces) => self.unpack_all(pieces).await?,
        };
        self.hand_on().await?;
        match failed {
            None => Ok(()),
            Some(error) => {
                drop(self.chunks.send(Err(error)).await);
                Err(Abandoned)
            }
        }
    }

    /// Makes records of whole batches; gives what is wrong with the first that is damaged.
    async fn unpack_all(&mut self, pieces: Vec<Piece>) -> Result<Option<ClientError>, Abandoned> {
        for piece in pieces {
            let mut offset = piece.from;
            for batch in BatchIter::new(&piece.bytes) {
                let unpacked = batch.and_then(|batch| self.unpack(&piece, batch));
                let failed = match unpacked {
                    Ok((batch, records)) => {
                        let failed = self.push_all(&piece, &batch, &records).await?;
                        offset = batch.last_offset().saturating_add(1);
                        failed
                    }
                    Err(error) => Some(error),
                };
                if let Some(error) = failed {
                    return Ok(Some(damaged(&piece.partition, offset, &error)));
                }
            }
        }
        Ok(None)
    }

    /// A batch and its records' bytes; none of a control batch.
    fn unpack<'a>(
        &self,
        piece: &Piece,
        batch: BatchView<'a>,
    ) -> Result<(BatchView<'a>, Bytes), BatchError> {
        if self.check_crcs {
            batch.verify_crc()?;
        }
        if batch.attributes().is_control() {
            return Ok((batch, Bytes::new()));
        }
        let records = match decompressed_records(&batch, self.decompressed_bytes_max)? {
            Cow::Borrowed(bytes) => piece.bytes.slice_ref(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Ok((batch, records))
    }

    async fn push_all(
        &mut self,
        piece: &Piece,
        batch: &BatchView<'_>,
        records: &Bytes,
    ) -> Result<Option<BatchError>, Abandoned> {
        if batch.attributes().is_control() {
            return Ok(None);
        }
        for record in RecordIter::new(batch, records) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Ok(Some(error)),
            };
            let is_before = record.offset < piece.from;
            if is_before || piece.end.is_some_and(|end| record.offset >= end) {
                continue;
            }
            self.push(fetched(&piece.partition, &record, records)).await?;
        }
        Ok(None)
    }

    async fn push(&mut self, record: FetchedRecord) -> Result<(), Abandoned> {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = record.headers.iter().map(|(key, value)| key.len() + size(value));
        self.chunk_bytes += size(&record.key) + size(&record.value) + headers.sum::<usize>();
        self.chunk.push(record);
        if self.chunk_bytes >= CHUNK_BYTES || self.chunk.len() >= CHUNK_RECORDS {
            self.hand_on().await?;
        }
        Ok(())
    }

    async fn hand_on(&mut self) -> Result<(), Abandoned> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.chunk_bytes = 0;
        let chunk = std::mem::take(&mut self.chunk);
        self.chunks.send(Ok(chunk)).await.map_err(|_| Abandoned)
    }
}

fn fetched(partition: &TopicPartition, record: &Record<'_>, records: &Bytes) -> FetchedRecord {
    let share = |bytes: Option<&[u8]>| bytes.map(|bytes| records.slice_ref(bytes));
    let headers = record.headers.iter();
    FetchedRecord {
        partition: partition.clone(),
        offset: record.offset,
        timestamp: record.timestamp,
        key: share(record.key),
        value: share(record.value),
        headers: headers.map(|h| (Arc::from(h.key), share(h.value))).collect(),
    }
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
    async fn offsets(
        log: &[u8],
        next: Offset,
        end: Option<Offset>,
    ) -> Result<(Vec<Offset>, Offset), ClientError> {
        let mut position = Position { next, end, last_epoch: -1, is_new: false };
        let partition = TopicPartition::new("t", 0);
        let mut pieces = Vec::new();
        walk(log, &partition, &mut position, |from, end, bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            pieces.push(Piece { partition: partition.clone(), bytes, from, end });
        })?;
        let (answers, fetched) = mpsc::channel(1);
        let (chunks, mut records) = mpsc::channel(1);
        let unpacker = Unpacker::new(&ConsumerSettings::default(), chunks);
        let unpacking = tokio::spawn(unpacker.run(fetched));
        answers.send(Ok(pieces)).await.unwrap();
        drop(answers);
        let mut offsets = Vec::new();
        while let Some(chunk) = records.recv().await {
            offsets.extend(chunk?.iter().map(|record| record.offset));
        }
        unpacking.await.unwrap();
        Ok((offsets, position.next))
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_given() {
        let log = log();
        assert_eq!(offsets(&log, 10, None).await, Ok((vec![10, 11, 12, 13, 14, 15], 16)));
        assert_eq!(offsets(&log, 12, Some(14)).await, Ok((vec![12, 13], 16)));
        // A batch that the broker cut short is left for the next answer.
        assert_eq!(offsets(&log[..log.len() - 1], 10, None).await, Ok((vec![10, 11, 12], 13)));
        assert_eq!(offsets(&[], 10, None).await, Ok((vec![], 10)));
    }

    #[tokio::test]
    async fn damage_is_an_error_with_its_place() {
        let mut log = log();
        *log.last_mut().unwrap() ^= 1;
        let error = offsets(&log, 10, None).await.unwrap_err();
        assert!(matches!(&error, ClientError::CorruptBatch { offset: 13, .. }), "{error}");
    }

    /// What small answers unfold to: a chunk is made when somebody takes it, not before.
    #[tokio::test]
    async fn unpacking_waits_for_whoever_takes_the_records() {
        let mut log = Vec::new();
        for base in 0..50 {
            let mut builder = BatchBuilder::new(1_000).compression(Compression::Zstd, None);
            builder.push(1_000, None, Some(&vec![b'x'; 2 << 20]), &[]);
            let (mut bytes, _) = builder.build().unwrap();
            patch::set_base_offset(&mut bytes, base);
            log.extend(bytes);
        }
        assert!(log.len() < 100_000);
        let partition = TopicPartition::new("t", 0);
        let piece = Piece { partition, bytes: log.into(), from: 0, end: None };
        let (chunks, mut records) = mpsc::channel(2);
        let mut unpacker = Unpacker::new(&ConsumerSettings::default(), chunks);
        let mut unpacking = std::pin::pin!(unpacker.take(Ok(vec![piece])));
        for taken in 0..50 {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(unpacking.as_mut().poll(context))
            });
            let is_over = polled.await.is_ready();
            assert!(records.len() <= 2, "two chunks wait at most");
            assert!(!is_over || taken >= 47, "it was over after {taken}");
            let chunk = records.recv().await.unwrap().unwrap();
            assert_eq!((chunk.len(), chunk[0].offset), (1, taken));
            if is_over {
                break;
            }
        }
    }
}
