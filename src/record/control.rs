//! Control batches: markers that brokers write among the records.
//!
//! A control record's key is a version (0) and a type, both 16 bits; the value depends on the type
//! (schemas `LeaderChangeMessage`, `SnapshotHeaderRecord`, `SnapshotFooterRecord`,
//! `EndTransactionMarker`).

use ringlog_types::{ProducerId, TimestampMs};

use crate::batch::BatchSummary;
use crate::builder::BatchBuilder;

/// What a control record says (`ControlRecordType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecordType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A new leader of the quorum.
    LeaderChange,
    /// The first record of a snapshot.
    SnapshotHeader,
    /// The last record of a snapshot.
    SnapshotFooter,
    /// The quorum's protocol version.
    KRaftVersion,
    /// The quorum's voters.
    KRaftVoters,
}

impl ControlRecordType {
    const ALL: [(i16, ControlRecordType); 7] = [
        (0, ControlRecordType::Abort),
        (1, ControlRecordType::Commit),
        (2, ControlRecordType::LeaderChange),
        (3, ControlRecordType::SnapshotHeader),
        (4, ControlRecordType::SnapshotFooter),
        (5, ControlRecordType::KRaftVersion),
        (6, ControlRecordType::KRaftVoters),
    ];

    /// The type that a control record's key names; `None` for one that is not known.
    pub fn from_key(key: &[u8]) -> Option<ControlRecordType> {
        let code = i16::from_be_bytes(key.get(2..4)?.try_into().ok()?);
        let known = ControlRecordType::ALL.iter().find(|(number, _)| *number == code);
        known.map(|(_, kind)| *kind)
    }

    /// The key of such a record.
    pub fn key(self) -> [u8; 4] {
        let known = ControlRecordType::ALL.iter().find(|(_, kind)| *kind == self);
        let code = known.expect("every type is in the list").0.to_be_bytes();
        [0, 0, code[0], code[1]]
    }
}

/// A control batch with one record.
pub fn control_batch(
    kind: ControlRecordType,
    value: &[u8],
    now_ms: TimestampMs,
) -> (Vec<u8>, BatchSummary) {
    one_record(BatchBuilder::new(now_ms).control(), kind, value, now_ms)
}

fn one_record(
    mut builder: BatchBuilder,
    kind: ControlRecordType,
    value: &[u8],
    now_ms: TimestampMs,
) -> (Vec<u8>, BatchSummary) {
    builder.push(now_ms, Some(&kind.key()), Some(value), &[]);
    builder.build().expect("one small record makes a batch")
}

/// What a quorum's new leader writes first, for a quorum of that one voter.
pub fn leader_change_batch(leader_id: i32, now_ms: TimestampMs) -> (Vec<u8>, BatchSummary) {
    // Version 0: leader id, voters and granting voters as compact arrays of ids, no tags.
    let mut value = Vec::new();
    value.extend_from_slice(&0i16.to_be_bytes());
    value.extend_from_slice(&leader_id.to_be_bytes());
    for _ in 0..2 {
        value.push(2);
        value.extend_from_slice(&leader_id.to_be_bytes());
        value.push(0);
    }
    value.push(0);
    control_batch(ControlRecordType::LeaderChange, &value, now_ms)
}

/// What a transaction coordinator has written into every partition of a transaction that ended:
/// `kind` is [`ControlRecordType::Commit`] or [`ControlRecordType::Abort`].
///
/// # Panics
/// For another kind.
pub fn end_transaction_batch(
    kind: ControlRecordType,
    producer_id: ProducerId,
    producer_epoch: i16,
    coordinator_epoch: i32,
    now_ms: TimestampMs,
) -> (Vec<u8>, BatchSummary) {
    assert!(matches!(kind, ControlRecordType::Commit | ControlRecordType::Abort), "{kind:?}");
    // Version 0, not flexible.
    let mut value = vec![0, 0];
    value.extend_from_slice(&coordinator_epoch.to_be_bytes());
    // A marker has no sequence.
    let builder = BatchBuilder::new(now_ms).producer(producer_id, producer_epoch, -1);
    one_record(builder.transactional().control(), kind, &value, now_ms)
}

/// The first batch of a snapshot. `last_contained_log_timestamp` is that of the last batch of the
/// log that the snapshot stands for.
pub fn snapshot_header_batch(
    last_contained_log_timestamp: TimestampMs,
    now_ms: TimestampMs,
) -> (Vec<u8>, BatchSummary) {
    // Version 0, the timestamp, no tags.
    let mut value = vec![0, 0];
    value.extend_from_slice(&last_contained_log_timestamp.to_be_bytes());
    value.push(0);
    control_batch(ControlRecordType::SnapshotHeader, &value, now_ms)
}

/// The last batch of a snapshot.
pub fn snapshot_footer_batch(now_ms: TimestampMs) -> (Vec<u8>, BatchSummary) {
    // Version 0, no tags.
    control_batch(ControlRecordType::SnapshotFooter, &[0, 0, 0], now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for (_, kind) in ControlRecordType::ALL {
            assert_eq!(ControlRecordType::from_key(&kind.key()), Some(kind));
        }
        assert_eq!(ControlRecordType::from_key(&[0, 0, 0, 99]), None);
        assert_eq!(ControlRecordType::from_key(&[0, 0]), None);
    }
}
