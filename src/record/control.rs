//! Control batches: markers that brokers write among the records.
//!
//! A control record's key is a version (0) and a type, both 16 bits; the value depends on the type
//! (schemas `LeaderChangeMessage`, `SnapshotHeaderRecord`, `SnapshotFooterRecord`,
//! `EndTransactionMarker`).

use ringlog_types::TimestampMs;

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
    let mut builder = BatchBuilder::new(now_ms).control();
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
