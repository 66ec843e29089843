//! The records of `__consumer_offsets`, in Kafka's own format (`GroupCoordinatorRecordSerde`).
//!
//! A key is the number of its type, 16 bits, and the message; a value is the number of its version
//! and the message. Types that this node does not act on are kept: their groups' ids stay taken,
//! and their records live on in the log.

use std::borrow::Cow;

use bytes::Bytes;
use ringlog_types::{Offset, Uuid};
use ringlog_wire::messages::group_metadata_key::GroupMetadataKey;
use ringlog_wire::messages::group_metadata_value::GroupMetadataValue;
use ringlog_wire::messages::legacy_offset_commit_key::LegacyOffsetCommitKey;
use ringlog_wire::messages::offset_commit_key::OffsetCommitKey;
use ringlog_wire::messages::offset_commit_value::OffsetCommitValue;
use ringlog_wire::{Message, Reader, Writer};

use super::consumer::record::ConsumerRecord;
use crate::error::CoordinatorError;
use crate::outcome::Record;

const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// Kafka 3 reads it too; version 4 adds nothing to a group.
const GROUP_METADATA_VERSION: i16 = 3;
/// Kafka 3 reads it too.
const OFFSET_COMMIT_VERSION: i16 = 3;
/// The only one that says when the offset expires.
const OFFSET_COMMIT_EXPIRING_VERSION: i16 = 1;
/// Has the topic's id.
const OFFSET_COMMIT_ID_VERSION: i16 = 4;

/// What kind of group other types of records belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKind {
    /// A share group (KIP-932).
    Share,
    /// A streams group (KIP-1071).
    Streams,
}

/// A record, borrowed from the log.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRecord<'a> {
    /// An offset that a group committed; without a value it is deleted.
    Offset {
        /// The group, topic and partition.
        key: OffsetCommitKey<'a>,
        /// What was committed.
        value: Option<OffsetCommitValue<'a>>,
    },
    /// A classic group; without a value it is deleted.
    Classic {
        /// Its id.
        group_id: Cow<'a, str>,
        /// Its generation and members.
        value: Option<GroupMetadataValue<'a>>,
    },
    /// A part of a consumer group.
    Consumer {
        /// Its id.
        group_id: Cow<'a, str>,
        /// The part.
        part: ConsumerRecord<'a>,
    },
    /// A part of a group that this node does not coordinate.
    Other {
        /// Which kind of group.
        kind: OtherKind,
        /// The number of the record's type.
        type_number: i16,
        /// The group.
        group_id: Cow<'a, str>,
        /// Whether the part is deleted.
        is_tombstone: bool,
    },
    /// A type that is newer than this code. Kafka steps over it, with a warning.
    Unknown(i16),
}

impl<'a> GroupRecord<'a> {
    /// Reads the record at `offset`.
    ///
    /// # Errors
    /// If key or value do not follow their schema.
    pub fn decode(
        offset: Offset,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    ) -> Result<GroupRecord<'a>, CoordinatorError> {
        let no_key = CoordinatorError::NoKey { offset };
        let mut reader = Reader::new(key.ok_or(no_key.clone())?);
        let kind = reader.i16().map_err(|_| no_key)?;
        let read = Reading { kind, offset };
        Ok(match kind {
            OFFSET_COMMIT => GroupRecord::Offset {
                key: read.key(&mut reader)?,
                value: value.map(|value| read.value(value)).transpose()?,
            },
            // Written by Kafka 0.8; the values are those of type 1.
            LEGACY_OFFSET_COMMIT => {
                let legacy: LegacyOffsetCommitKey<'a> = read.key(&mut reader)?;
                let (group, topic, partition) = (legacy.group, legacy.topic, legacy.partition);
                let value = value.map(|value| read.value(value)).transpose()?;
                GroupRecord::Offset { key: OffsetCommitKey { group, topic, partition }, value }
            }
            GROUP_METADATA => {
                let key: GroupMetadataKey<'a> = read.key(&mut reader)?;
                let value = value.map(|value| read.value(value)).transpose()?;
                GroupRecord::Classic { group_id: key.group, value }
            }
            type_number if ConsumerRecord::has(type_number) => {
                let (group_id, part) = ConsumerRecord::decode(&read, &mut reader, value)?;
                GroupRecord::Consumer { group_id, part }
            }
            type_number => match other_kind(type_number) {
                None => GroupRecord::Unknown(type_number),
                Some(kind) => {
                    let group_id = reader.string(false).map_err(|error| read.malformed(&error))?;
                    let is_tombstone = value.is_none();
                    GroupRecord::Other { kind, type_number, group_id, is_tombstone }
                }
            },
        })
    }
}

fn other_kind(type_number: i16) -> Option<OtherKind> {
    match type_number {
        10..=15 => Some(OtherKind::Share),
        17 | 19..=23 => Some(OtherKind::Streams),
        _ => None,
    }
}

/// Whether records of this type say that the group exists, rather than something about it.
pub(crate) fn is_group_itself(type_number: i16) -> bool {
    matches!(type_number, 11 | 17)
}

/// Which record is being read, for what is said when it cannot be.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) kind: i16,
    offset: Offset,
}

impl Reading {
    fn malformed(&self, reason: &dyn std::fmt::Display) -> CoordinatorError {
        let Reading { kind, offset } = *self;
        CoordinatorError::Malformed { kind, offset, reason: reason.to_string() }
    }

    /// All keys have version 0.
    pub(super) fn key<'a, M: Message<'a>>(
        &self,
        reader: &mut Reader<'a>,
    ) -> Result<M, CoordinatorError> {
        M::decode(reader, 0).map_err(|error| self.malformed(&error))
    }

    pub(super) fn value<'a, M: Message<'a>>(&self, value: &'a [u8]) -> Result<M, CoordinatorError> {
        let mut reader = Reader::new(value);
        let version = reader.i16().map_err(|error| self.malformed(&error))?;
        M::decode(&mut reader, version).map_err(|error| self.malformed(&error))
    }
}

/// The record of an offset, or the one that deletes it.
pub(crate) fn offset_record(
    group: &str,
    topic: &str,
    partition: i32,
    value: Option<&OffsetCommitValue<'_>>,
) -> Record {
    let key =
        OffsetCommitKey { group: Cow::Borrowed(group), topic: Cow::Borrowed(topic), partition };
    let version = |value: &OffsetCommitValue<'_>| match value.topic_id {
        _ if value.expire_timestamp >= 0 => OFFSET_COMMIT_EXPIRING_VERSION,
        Uuid::ZERO => OFFSET_COMMIT_VERSION,
        _ => OFFSET_COMMIT_ID_VERSION,
    };
    Record {
        key: encode(OFFSET_COMMIT, &key, 0),
        value: value.map(|value| encode(version(value), value, version(value))),
    }
}

/// The record of a classic group, or the one that deletes it.
pub(crate) fn group_record(group: &str, value: Option<&GroupMetadataValue<'_>>) -> Record {
    let key = GroupMetadataKey { group: Cow::Borrowed(group) };
    let version = GROUP_METADATA_VERSION;
    Record {
        key: encode(GROUP_METADATA, &key, 0),
        value: value.map(|value| encode(version, value, version)),
    }
}

/// A message behind its number.
///
/// # Panics
/// If a string is longer than its schema allows: they came in requests with the same limits.
pub(super) fn encode<'a>(number: i16, message: &impl Message<'a>, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(number);
    message.encode(&mut writer, version).expect("what a request had fits into a record");
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(record: &Record) -> GroupRecord<'_> {
        GroupRecord::decode(7, Some(&record.key), record.value.as_deref()).unwrap()
    }

    #[test]
    fn records_come_back_as_they_were() {
        let value = OffsetCommitValue {
            offset: 42,
            leader_epoch: 3,
            metadata: "note".into(),
            commit_timestamp: 1_700_000_000_000,
            ..Default::default()
        };
        let with_id = OffsetCommitValue { topic_id: Uuid::from_u128(9), ..value.clone() };
        for value in [value, with_id] {
            let record = offset_record("g", "t", 5, Some(&value));
            let GroupRecord::Offset { key, value: found } = decode(&record) else { panic!() };
            assert_eq!((&*key.group, &*key.topic, key.partition), ("g", "t", 5));
            assert_eq!(found, Some(value));
        }
        let gone = offset_record("g", "t", 5, None);
        assert!(matches!(decode(&gone), GroupRecord::Offset { value: None, .. }));
        let gone = group_record("g", None);
        assert!(matches!(decode(&gone), GroupRecord::Classic { value: None, .. }));
    }

    /// The bytes that Kafka writes (`GroupCoordinatorRecordHelpers`), by hand.
    #[test]
    fn the_bytes_are_kafkas() {
        let value = OffsetCommitValue {
            offset: 1,
            leader_epoch: -1,
            commit_timestamp: 2,
            ..Default::default()
        };
        let record = offset_record("g", "t", 3, Some(&value));
        assert_eq!(record.key[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
        let expected = [
            &[0, 3][..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[255, 255, 255, 255],
            &[0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 2],
        ];
        assert_eq!(record.value.unwrap()[..], expected.concat());
        assert_eq!(group_record("ab", None).key[..], [0, 2, 0, 2, b'a', b'b']);
    }

    #[test]
    fn other_groups_keep_their_ids_and_newer_types_are_stepped_over() {
        let share = [0, 11, 0, 1, b's'];
        let found = GroupRecord::decode(0, Some(&share), Some(&[0, 0])).unwrap();
        let GroupRecord::Other { kind: OtherKind::Share, group_id, is_tombstone: false, .. } =
            found
        else {
            panic!("{found:?}")
        };
        assert_eq!(group_id, "s");
        assert_eq!(GroupRecord::decode(0, Some(&[0, 99, 1]), None), Ok(GroupRecord::Unknown(99)));
    }

    #[test]
    fn damage_is_named_with_its_offset() {
        assert_eq!(GroupRecord::decode(4, None, None), Err(CoordinatorError::NoKey { offset: 4 }));
        for (key, value) in [(&[0, 1, 0, 9][..], None), (&[0, 2, 0, 1, b'g'], Some(&[0, 9][..]))] {
            let error = GroupRecord::decode(4, Some(key), value).unwrap_err();
            assert!(matches!(error, CoordinatorError::Malformed { offset: 4, .. }), "{error}");
        }
    }
}
