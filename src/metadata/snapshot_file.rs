//! Snapshot files of the metadata log, `<end offset>-<epoch>.checkpoint`, as Kafka's.
//!
//! A file is batches like the log's, with offsets of its own from 0: a control batch with the
//! snapshot's header, batches of records, a control batch with its footer.

use ringlog_record::{BatchBuilder, patch};
use ringlog_wire::messages::snapshot_footer_record::SnapshotFooterRecord;
use ringlog_wire::messages::snapshot_header_record::SnapshotHeaderRecord;
use ringlog_wire::{Message, Writer};

use crate::error::MetadataError;
use crate::image::Image;

/// Records in one batch of a snapshot.
const RECORDS_PER_BATCH: usize = 1024;

// `ControlRecordType`.
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;

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

    /// The bytes of a snapshot file. `last_timestamp_ms` is that of the last batch of the log
    /// that it contains.
    ///
    /// # Panics
    /// Inside a transaction, which has no outcome to write down yet.
    pub fn to_snapshot(&self, last_timestamp_ms: i64) -> Result<Vec<u8>, MetadataError> {
        assert!(!self.in_transaction(), "a snapshot was asked for inside a transaction");
        let mut file = File { bytes: Vec::new(), offset: 0, epoch: self.last_epoch() };
        let header =
            SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: last_timestamp_ms };
        file.control(SNAPSHOT_HEADER, &header, last_timestamp_ms)?;
        for records in self.to_records()?.chunks(RECORDS_PER_BATCH) {
            let mut batch = BatchBuilder::new(last_timestamp_ms);
            for record in records {
                let value = record.encode(self)?;
                batch.push(last_timestamp_ms, None, Some(&value), &[]);
            }
            file.append(batch)?;
        }
        file.control(SNAPSHOT_FOOTER, &SnapshotFooterRecord { version: 0 }, last_timestamp_ms)?;
        Ok(file.bytes)
    }
}

/// A snapshot file under way.
struct File {
    bytes: Vec<u8>,
    offset: i64,
    epoch: i32,
}

impl File {
    fn control<'a>(
        &mut self,
        kind: i16,
        value: &impl Message<'a>,
        timestamp_ms: i64,
    ) -> Result<(), MetadataError> {
        // Version 0 of the key: the version, and the type.
        let key = [0i16.to_be_bytes(), kind.to_be_bytes()].concat();
        let mut writer = Writer::new();
        value.encode(&mut writer, 0).map_err(|error| self.error(error.to_string()))?;
        let mut batch = BatchBuilder::new(timestamp_ms).control();
        batch.push(timestamp_ms, Some(&key), Some(&writer.into_bytes()), &[]);
        self.append(batch)
    }

    fn append(&mut self, batch: BatchBuilder) -> Result<(), MetadataError> {
        let records = batch.len();
        let (mut bytes, _) = batch.build().map_err(|error| self.error(error.to_string()))?;
        patch::set_base_offset(&mut bytes, self.offset);
        patch::set_leader_epoch(&mut bytes, self.epoch);
        self.bytes.extend_from_slice(&bytes);
        self.offset += records as i64;
        Ok(())
    }

    fn error(&self, reason: String) -> MetadataError {
        MetadataError::Batch { offset: self.offset, reason }
    }
}
