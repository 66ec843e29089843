//! Stamping a batch in place. Base offset and leader epoch lie outside the checksum; the others
//! cost a new one.

use ringlog_types::{LeaderEpoch, Offset, TimestampMs};

use crate::HEADER_BYTES;
use crate::batch::{ATTRIBUTES, Attributes, BASE_OFFSET, CRC, LEADER_EPOCH, MAX_TIMESTAMP};
use crate::checksum::{crc32c, crc32c_of_two};

/// Sets the offset of the first record.
///
/// # Panics
/// When `batch` is shorter than a batch header; so do the others.
pub fn set_base_offset(batch: &mut [u8], offset: Offset) {
    batch[BASE_OFFSET..BASE_OFFSET + 8].copy_from_slice(&offset.to_be_bytes());
}

/// Sets the epoch of the leader that appends it.
pub fn set_leader_epoch(batch: &mut [u8], epoch: LeaderEpoch) {
    batch[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&epoch.to_be_bytes());
}

/// Gives all records the broker's time, and the batch a new checksum.
pub fn set_log_append_time(batch: &mut [u8], now_ms: TimestampMs) {
    set_time(batch, now_ms);
    set_crc(batch);
}

fn set_time(header: &mut [u8], now_ms: TimestampMs) {
    let attributes = i16::from_be_bytes([header[ATTRIBUTES], header[ATTRIBUTES + 1]]);
    let attributes = attributes | Attributes::LOG_APPEND_TIME;
    header[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    header[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&now_ms.to_be_bytes());
}

/// A copy of the batch's header with what a log assigns: offset, epoch, and the time of the append
/// if the topic wants that. The records behind it stay where they are.
pub fn stamped_header(
    batch: &[u8],
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    log_append_time: Option<TimestampMs>,
) -> [u8; HEADER_BYTES] {
    let (header, records) = batch.split_at(HEADER_BYTES);
    let mut header: [u8; HEADER_BYTES] = header.try_into().expect("split there");
    set_base_offset(&mut header, base_offset);
    set_leader_epoch(&mut header, leader_epoch);
    if let Some(now_ms) = log_append_time {
        set_time(&mut header, now_ms);
        let crc = crc32c_of_two(&header[ATTRIBUTES..], records);
        header[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    }
    header
}

/// Sets the largest timestamp, and the batch's new checksum.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: TimestampMs) {
    batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    set_crc(batch);
}

/// A copy of the batch that says what its records were found to be, the producer's timestamps and
/// this the largest of them; `None` when its header says both already.
///
/// Some producers leave the field unset, or say that a broker stamped the records.
/// [`crate::validate::validate_produce`] finds that out, and the header must be right before the
/// batch is appended.
pub fn with_create_time(batch: &[u8], max_timestamp: TimestampMs) -> Option<Vec<u8>> {
    let attributes = i16::from_be_bytes([batch[ATTRIBUTES], batch[ATTRIBUTES + 1]]);
    if !Attributes(attributes).is_log_append_time()
        && batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8] == max_timestamp.to_be_bytes()
    {
        return None;
    }
    let mut batch = batch.to_vec();
    let attributes = attributes & !Attributes::LOG_APPEND_TIME;
    batch[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(&mut batch, max_timestamp);
    Some(batch)
}

/// Computes the checksum anew.
pub fn set_crc(batch: &mut [u8]) {
    let crc = crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}
