//! One batch of one partition, from its first record to its acknowledgement.

use bytes::Bytes;
use ringlog_record::{BatchBuilder, Header, patch};
use ringlog_types::{TimestampMs, TopicPartition};
use tokio::time::Instant;

use super::outcome::Promise;
use super::sequence::Identity;
use super::{ProducerRecord, ProducerSettings};
use crate::error::ClientError;

/// A batch that takes records.
pub(crate) struct OpenBatch {
    /// Absent until the first record, whose time is the base of all others'.
    builder: Option<BatchBuilder>,
    compression: (ringlog_record::Compression, Option<i32>),
    pub(crate) created: Instant,
    pub(crate) promise: Promise,
    /// Memory that its records have reserved.
    pub(crate) charged: usize,
}

/// A batch in its final bytes.
pub(crate) struct SealedBatch {
    pub(crate) partition: TopicPartition,
    pub(crate) bytes: Bytes,
    pub(crate) count: u32,
    /// Its place among the batches of its partition.
    pub(crate) order: u64,
    /// Whether it carries a producer id and a sequence number.
    pub(crate) is_sequenced: bool,
    pub(crate) created: Instant,
    pub(crate) promise: Promise,
    pub(crate) charged: usize,
    /// How often it was sent in vain, and why the last time.
    pub(crate) attempts: u32,
    pub(crate) last_error: Option<ClientError>,
}

/// What is left of a batch that cannot be sealed.
pub(crate) struct Unsealed {
    pub(crate) promise: Promise,
    pub(crate) charged: usize,
}

/// Where a batch's producer id, producer epoch and base sequence stand.
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;

impl OpenBatch {
    pub(crate) fn new(settings: &ProducerSettings, now: Instant) -> OpenBatch {
        OpenBatch {
            builder: None,
            compression: (settings.compression, settings.compression_level),
            created: now,
            promise: Promise::default(),
            charged: 0,
        }
    }

    fn size(&self) -> usize {
        self.builder.as_ref().map_or(0, BatchBuilder::size_bytes)
    }

    /// Whether a record of at most `size` bytes fits; the first one always does.
    pub(crate) fn has_room(&self, size: usize, settings: &ProducerSettings) -> bool {
        self.builder.is_none() || self.size() + size <= settings.batch_bytes
    }

    pub(crate) fn is_full(&self, settings: &ProducerSettings) -> bool {
        self.size() >= settings.batch_bytes
    }

    /// Appends a record; gives its place in the batch.
    pub(crate) fn append(
        &mut self,
        record: &ProducerRecord,
        timestamp: TimestampMs,
        charged: usize,
    ) -> u32 {
        let (codec, level) = self.compression;
        let builder = self
            .builder
            .get_or_insert_with(|| BatchBuilder::new(timestamp).compression(codec, level));
        let place = builder.len() as u32;
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key, value: value.as_deref() })
            .collect();
        builder.push(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        self.charged += charged;
        place
    }

    /// The batch as it will be sent.
    pub(crate) fn seal(
        self,
        partition: &TopicPartition,
        identity: Option<(Identity, i32)>,
        order: u64,
    ) -> Result<SealedBatch, (Unsealed, ClientError)> {
        let mut builder = self.builder.expect("a batch is opened for its first record");
        if let Some((identity, sequence)) = identity {
            builder = builder.producer(identity.producer_id, identity.epoch, sequence);
        }
        let count = builder.len() as u32;
        match builder.build() {
            Ok((bytes, _)) => Ok(SealedBatch {
                partition: partition.clone(),
                bytes: bytes.into(),
                count,
                order,
                is_sequenced: identity.is_some(),
                created: self.created,
                promise: self.promise,
                charged: self.charged,
                attempts: 0,
                last_error: None,
            }),
            Err(error) => {
                let error = ClientError::Invalid(format!("{partition}: {error}"));
                Err((Unsealed { promise: self.promise, charged: self.charged }, error))
            }
        }
    }
}

impl SealedBatch {
    /// Gives the batch another identity and sequence number.
    pub(crate) fn renumber(&mut self, identity: Identity, sequence: i32) {
        let mut bytes = self.bytes.to_vec();
        let id = identity.producer_id.to_be_bytes();
        bytes[PRODUCER_ID..PRODUCER_ID + 8].copy_from_slice(&id);
        bytes[PRODUCER_EPOCH..PRODUCER_EPOCH + 2].copy_from_slice(&identity.epoch.to_be_bytes());
        bytes[BASE_SEQUENCE..BASE_SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
        patch::set_crc(&mut bytes);
        self.bytes = bytes.into();
    }
}

#[cfg(test)]
mod tests {
    use ringlog_record::BatchView;

    use super::*;

    #[test]
    fn a_renumbered_batch_is_whole() {
        let settings = ProducerSettings::default();
        let mut batch = OpenBatch::new(&settings, Instant::now());
        for value in ["a", "b"] {
            let value = Some(Bytes::from_static(value.as_bytes()));
            let record = ProducerRecord { value, ..Default::default() };
            batch.append(&record, 1_000, 50);
        }
        let partition = TopicPartition::new("t", 0);
        let identity = Identity { producer_id: 7, epoch: 1 };
        let Ok(mut sealed) = batch.seal(&partition, Some((identity, 40)), 0) else {
            panic!("two records make a batch")
        };
        let view = BatchView::check(&sealed.bytes).unwrap();
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (7, 1, 40));
        sealed.renumber(Identity { producer_id: 8, epoch: 0 }, 0);
        let view = BatchView::check(&sealed.bytes).unwrap();
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (8, 0, 0));
        assert_eq!((sealed.count, sealed.charged, view.record_count()), (2, 100, 2));
    }
}
