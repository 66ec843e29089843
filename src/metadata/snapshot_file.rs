//! Snapshot files of the metadata log, `<end offset>-<epoch>.checkpoint`, as Kafka's.
//!
//! A file is batches like the log's, with offsets of its own from 0: a control batch with the
//! snapshot's header, batches of records, a control batch with its footer. Without its footer a
//! file is not a snapshot.

use bytes::Bytes;
use ringlog_record::{BatchBuilder, BatchView, ControlRecordType, RecordIter, patch};
use ringlog_wire::messages::snapshot_footer_record::SnapshotFooterRecord;
use ringlog_wire::messages::snapshot_header_record::SnapshotHeaderRecord;
use ringlog_wire::{Message, Reader, Writer};

use crate::error::MetadataError;
use crate::image::Image;
use crate::record::MetadataRecord;

/// Records in one batch of a snapshot.
const RECORDS_PER_BATCH: usize = 1024;
/// A batch ends at this size though it has fewer. Kafka reads none above 8 MiB.
const BATCH_BYTES: usize = 1 << 20;

/// Which part of the log a snapshot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The first offset that is not in it.
    pub end_offset: i64,
    /// The leader epoch of the last record that is.
    pub epoch: i32,
}

impl SnapshotId {
    /// The snapshot's file name.
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset, self.epoch)
    }
}

/// Reads a snapshot's file name; `None` for all other names.
pub fn parse_snapshot_name(name: &str) -> Option<SnapshotId> {
    let (end_offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(end_offset, 20) || !digits(epoch, 10) {
        return None;
    }
    Some(SnapshotId { end_offset: end_offset.parse().ok()?, epoch: epoch.parse().ok()? })
}

impl Image {
    /// Which part of the log this image stands for.
    pub fn snapshot_id(&self) -> SnapshotId {
        SnapshotId { end_offset: self.last_offset() + 1, epoch: self.last_epoch() }
    }

    /// The bytes of a snapshot file, batch by batch. `last_timestamp_ms` is that of the last
    /// batch of the log that it contains.
    ///
    /// # Panics
    /// Inside a transaction, which has no outcome to write down yet.
    pub fn snapshot_batches(&self, last_timestamp_ms: i64) -> SnapshotBatches<'_> {
        assert!(!self.in_transaction(), "a snapshot was asked for inside a transaction");
        SnapshotBatches {
            image: self,
            records: Box::new(self.records()),
            next: Part::Header,
            offset: 0,
            last_timestamp_ms,
        }
    }

    /// The bytes of a snapshot file as a whole; see [`Image::snapshot_batches`].
    pub fn to_snapshot(&self, last_timestamp_ms: i64) -> Result<Vec<u8>, MetadataError> {
        let batches: Result<Vec<_>, _> = self.snapshot_batches(last_timestamp_ms).collect();
        Ok(batches?.concat())
    }
}

/// Whether `batch` is the first of a snapshot file. Returns the time of the last batch of the log
/// that the snapshot contains.
pub(crate) fn header_timestamp_ms(batch: &BatchView<'_>) -> Option<i64> {
    let value = control_record(batch, ControlRecordType::SnapshotHeader)?;
    let header = SnapshotHeaderRecord::decode(&mut Reader::new(&value), 0).ok()?;
    Some(header.last_contained_log_timestamp)
}

/// Whether `batch` is the last of a snapshot file.
pub(crate) fn is_footer(batch: &BatchView<'_>) -> bool {
    control_record(batch, ControlRecordType::SnapshotFooter).is_some()
}

fn control_record(batch: &BatchView<'_>, kind: ControlRecordType) -> Option<Bytes> {
    if !batch.attributes().is_control() || batch.verify_crc().is_err() {
        return None;
    }
    RecordIter::new(batch, batch.records_bytes()).map_while(Result::ok).find_map(|record| {
        let known = ControlRecordType::from_key(record.key?)?;
        (known == kind).then(|| Bytes::copy_from_slice(record.value.unwrap_or_default()))
    })
}

/// When the last batch of the log that a snapshot contains was written, by the beginning of its
/// file; `None` if that is not one of a snapshot.
pub fn snapshot_timestamp_ms(beginning: &[u8]) -> Option<i64> {
    header_timestamp_ms(&BatchView::check(beginning).ok()?)
}

/// The rest of a snapshot file.
enum Part {
    Header,
    Records,
    Footer,
    Nothing,
}

/// The batches of a snapshot file, one after the other.
pub struct SnapshotBatches<'a> {
    image: &'a Image,
    records: Box<dyn Iterator<Item = Result<MetadataRecord<'a>, MetadataError>> + 'a>,
    next: Part,
    offset: i64,
    last_timestamp_ms: i64,
}

impl Iterator for SnapshotBatches<'_> {
    type Item = Result<Vec<u8>, MetadataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.next {
            Part::Header => {
                self.next = Part::Records;
                self.header()
            }
            Part::Records => match self.some_records() {
                Ok(batch) if batch.is_empty() => {
                    self.next = Part::Footer;
                    return self.next();
                }
                batch => batch,
            },
            Part::Footer => {
                self.next = Part::Nothing;
                let footer = SnapshotFooterRecord { version: 0 };
                self.control(ControlRecordType::SnapshotFooter, &footer)
            }
            Part::Nothing => return None,
        };
        let built = batch.and_then(|batch| self.build(batch));
        if built.is_err() {
            self.next = Part::Nothing;
        }
        Some(built)
    }
}

impl SnapshotBatches<'_> {
    fn batch(&self) -> BatchBuilder {
        BatchBuilder::new(self.last_timestamp_ms)
    }

    /// The snapshot's header, and in the same batch what Kafka has there of the quorum.
    fn header(&self) -> Result<BatchBuilder, MetadataError> {
        let last_contained_log_timestamp = self.last_timestamp_ms;
        let header = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp };
        let mut batch = self.control(ControlRecordType::SnapshotHeader, &header)?;
        for (kind, value) in self.image.quorum() {
            let key = [0i16.to_be_bytes(), kind.to_be_bytes()].concat();
            batch.push(self.last_timestamp_ms, Some(&key), Some(value), &[]);
        }
        Ok(batch)
    }

    fn some_records(&mut self) -> Result<BatchBuilder, MetadataError> {
        let mut batch = self.batch();
        while batch.len() < RECORDS_PER_BATCH && batch.size_bytes() < BATCH_BYTES {
            let Some(record) = self.records.next() else { break };
            let value = record?.encode(self.image)?;
            batch.push(self.last_timestamp_ms, None, Some(&value), &[]);
        }
        Ok(batch)
    }

    fn control<'m>(
        &self,
        kind: ControlRecordType,
        value: &impl Message<'m>,
    ) -> Result<BatchBuilder, MetadataError> {
        let mut writer = Writer::new();
        value.encode(&mut writer, 0).map_err(|error| self.error(error.to_string()))?;
        let mut batch = self.batch().control();
        let value = writer.into_bytes();
        batch.push(self.last_timestamp_ms, Some(&kind.key()), Some(&value), &[]);
        Ok(batch)
    }

    fn build(&mut self, batch: BatchBuilder) -> Result<Vec<u8>, MetadataError> {
        let records = batch.len();
        let (mut bytes, _) = batch.build().map_err(|error| self.error(error.to_string()))?;
        patch::set_base_offset(&mut bytes, self.offset);
        patch::set_leader_epoch(&mut bytes, self.image.last_epoch());
        self.offset += records as i64;
        Ok(bytes)
    }

    fn error(&self, reason: String) -> MetadataError {
        MetadataError::Batch { offset: self.offset, reason }
    }
}
