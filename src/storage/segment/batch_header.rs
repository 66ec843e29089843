//! The fixed 61 bytes at the start of a record batch, as they are met while walking a segment.
//!
//! Pure. Only the fields by which batches are found, ordered and told apart are read here; whether
//! the records are whole is for the CRC to say. A header is *plausible* when walking on by its
//! length can be tried; everything it claims is still to be compared with the file.

pub(crate) use ringlog_record::HEADER_BYTES;
#[cfg(test)]
use ringlog_record::crc32c;
use ringlog_record::{Attributes, BatchView, ControlRecordType, RecordIter};
use ringlog_types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use crate::producers::state::ProducerBatch;

/// Bytes before those that `length` counts.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
/// The first byte the CRC covers.
pub(crate) const CRC_COVERS_FROM: usize = 21;

/// Why bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Only zeros: the file was prepared up to here and beyond, and nothing was written.
    Empty,
    /// Fewer bytes are left than the batch has.
    Incomplete,
    /// A message set of the time before Kafka 0.11.
    OldMagic,
    /// Not a header at all.
    Garbage,
}

impl HeaderFault {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            HeaderFault::Empty => "zeros instead of a batch",
            HeaderFault::Incomplete => "the batch is longer than the file",
            HeaderFault::OldMagic => "a message format older than v2",
            HeaderFault::Garbage => "not a batch header",
        }
    }
}

/// A batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: Offset,
    /// The whole batch in bytes, header included.
    pub(crate) size: usize,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) crc: u32,
    pub(crate) attributes: Attributes,
    pub(crate) last_offset_delta: i32,
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl BatchHeader {
    /// Reads a header from the start of `bytes`, of which the file has `available`, possibly more
    /// than are given.
    pub(crate) fn parse(bytes: &[u8], available: u64) -> Result<BatchHeader, HeaderFault> {
        // An old message may be shorter than a header of today; length and magic are in place.
        if let Some(start) = bytes.get(..17)
            && matches!(start[16], 0 | 1)
            && start[0] & 0x80 == 0
            && i32::from_be_bytes(start[8..12].try_into().expect("4 bytes")) >= 14
        {
            return Err(HeaderFault::OldMagic);
        }
        let Some(header) = bytes.get(..HEADER_BYTES) else {
            let zeros = bytes.iter().all(|byte| *byte == 0);
            return Err(if zeros { HeaderFault::Empty } else { HeaderFault::Incomplete });
        };
        if header[..17].iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Empty);
        }
        let i64_at =
            |at: usize| i64::from_be_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let i32_at =
            |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let i16_at = |at: usize| i16::from_be_bytes([header[at], header[at + 1]]);
        let length = i32_at(8);
        let plausible_length = length >= (HEADER_BYTES - LENGTH_OVERHEAD) as i32;
        let batch = BatchHeader {
            base_offset: i64_at(0),
            size: length.max(0) as usize + LENGTH_OVERHEAD,
            leader_epoch: i32_at(12),
            crc: i32_at(17) as u32,
            attributes: Attributes(i16_at(21)),
            last_offset_delta: i32_at(23),
            max_timestamp: i64_at(35),
            producer_id: i64_at(43),
            producer_epoch: i16_at(51),
            base_sequence: i32_at(53),
            record_count: i32_at(57),
        };
        let plausible = plausible_length
            && header[16] == 2
            && batch.base_offset >= 0
            && batch.last_offset_delta >= 0
            && batch.base_offset.checked_add(i64::from(batch.last_offset_delta) + 1).is_some();
        if !plausible {
            return Err(HeaderFault::Garbage);
        }
        if batch.size as u64 > available {
            return Err(HeaderFault::Incomplete);
        }
        Ok(batch)
    }

    /// The offset of the last record.
    pub(crate) fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after the last record.
    pub(crate) fn next_offset(&self) -> Offset {
        self.last_offset() + 1
    }

    /// Whether the batch is a marker or another control record, not data.
    pub(crate) fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Whether the CRC of the whole batch is right.
    #[cfg(test)]
    pub(crate) fn crc_matches(&self, batch: &[u8]) -> bool {
        batch.len() == self.size && crc32c(&batch[CRC_COVERS_FROM..]) == self.crc
    }

    /// What concerns the producer's state; `None` without a producer id.
    pub(crate) fn producer_batch(&self) -> Option<ProducerBatch> {
        (self.producer_id >= 0).then(|| ProducerBatch {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            base_offset: self.base_offset,
            last_offset: self.last_offset(),
            max_timestamp: self.max_timestamp,
            transactional: self.attributes.is_transactional(),
        })
    }
}

/// The two fields by which a batch is found whole, of one whose other fields may be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchStart {
    length: i32,
    pub(crate) crc: u32,
}

impl BatchStart {
    pub(crate) fn parse(bytes: &[u8]) -> Option<BatchStart> {
        let field = |at: usize| Some(bytes.get(at..at + 4)?.try_into().expect("4 bytes"));
        Some(BatchStart {
            length: i32::from_be_bytes(field(8)?),
            crc: u32::from_be_bytes(field(17)?),
        })
    }

    /// The whole batch in bytes, header included. `None` if no batch has that length.
    pub(crate) fn size(&self) -> Option<u64> {
        size_of_length(self.length)
    }

    /// The same if one bit of the length had been another.
    pub(crate) fn size_with_bit_changed(&self, bit: u32) -> Option<u64> {
        size_of_length(self.length ^ 1 << bit)
    }
}

fn size_of_length(length: i32) -> Option<u64> {
    let size = u64::try_from(length).ok()? + LENGTH_OVERHEAD as u64;
    (size >= HEADER_BYTES as u64).then_some(size)
}

/// What a marker at the end of a transaction says (`EndTransactionMarker`): the coordinator's
/// epoch. `None` when the batch is another control record.
pub(crate) fn coordinator_epoch(batch: &[u8]) -> Option<i32> {
    let view = BatchView::parse(batch).ok()?;
    let marker = RecordIter::new(&view, view.records_bytes()).next()?.ok()?;
    match ControlRecordType::from_key(marker.key?)? {
        // The value: version, coordinator epoch.
        ControlRecordType::Abort | ControlRecordType::Commit => {
            Some(i32::from_be_bytes(marker.value?.get(2..6)?.try_into().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ringlog_record::patch;

    use super::*;

    fn header_bytes() -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[7] = 9;
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&4i32.to_be_bytes());
        bytes
    }

    #[test]
    fn faults_are_told_apart() {
        let good = header_bytes();
        let parsed = BatchHeader::parse(&good, 61).expect("plausible");
        assert_eq!((parsed.base_offset, parsed.next_offset(), parsed.size), (9, 14, 61));
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            BatchHeader::parse(&bytes, 61)
        };
        for (result, fault) in [
            (BatchHeader::parse(&[0; 61], 61), HeaderFault::Empty),
            (BatchHeader::parse(&[0; 10], 10), HeaderFault::Empty),
            (BatchHeader::parse(&good[..60], 60), HeaderFault::Incomplete),
            (BatchHeader::parse(&good, 60), HeaderFault::Incomplete),
            (with(16, 1), HeaderFault::OldMagic),
            (with(16, 3), HeaderFault::Garbage),
            (with(0, 0x80), HeaderFault::Garbage),
            (with(8, 0x80), HeaderFault::Garbage),
            (with(11, 48), HeaderFault::Garbage),
            (with(23, 0x80), HeaderFault::Garbage),
        ] {
            assert_eq!(result, Err(fault));
        }
    }

    #[test]
    fn markers_tell_their_coordinators_epoch() {
        use ringlog_record::{end_transaction_batch, leader_change_batch};
        for kind in [ControlRecordType::Abort, ControlRecordType::Commit] {
            let (marker, _) = end_transaction_batch(kind, 4_000, 1, 7, 1000);
            assert_eq!(coordinator_epoch(&marker), Some(7));
            assert_eq!(coordinator_epoch(&marker[..marker.len() - 1]), None);
        }
        assert_eq!(coordinator_epoch(&leader_change_batch(1, 1000).0), None);
    }

    #[test]
    fn patching_the_time_renews_the_crc() {
        let mut batch = header_bytes().to_vec();
        batch.extend_from_slice(b"records");
        batch[8..12].copy_from_slice(&56i32.to_be_bytes());
        let header = patch::stamped_header(&batch, 70, 3, Some(1234));
        batch[..HEADER_BYTES].copy_from_slice(&header);
        let parsed = BatchHeader::parse(&batch, 68).expect("plausible");
        assert_eq!((parsed.base_offset, parsed.leader_epoch, parsed.max_timestamp), (70, 3, 1234));
        assert!(parsed.crc_matches(&batch));
        batch[67] ^= 1;
        assert!(!parsed.crc_matches(&batch));
    }
}
