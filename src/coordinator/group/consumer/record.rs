//! The records of consumer groups.

use std::borrow::Cow;

use ringlog_wire::messages::consumer_group_current_member_assignment_key as assignment_key;
use ringlog_wire::messages::consumer_group_current_member_assignment_value as assignment_value;
use ringlog_wire::messages::consumer_group_member_metadata_key as member_key;
use ringlog_wire::messages::consumer_group_member_metadata_value as member_value;
use ringlog_wire::messages::consumer_group_metadata_key as group_key;
use ringlog_wire::messages::consumer_group_metadata_value as group_value;
use ringlog_wire::messages::consumer_group_partition_metadata_key as partition_key;
use ringlog_wire::messages::consumer_group_regular_expression_key as regex_key;
use ringlog_wire::messages::consumer_group_regular_expression_value as regex_value;
use ringlog_wire::messages::consumer_group_target_assignment_member_key as target_key;
use ringlog_wire::messages::consumer_group_target_assignment_member_value as target_value;
use ringlog_wire::messages::consumer_group_target_assignment_metadata_key as target_metadata_key;
use ringlog_wire::messages::consumer_group_target_assignment_metadata_value as target_metadata;
use ringlog_wire::{Message, Reader};

use super::member::Member;
use super::partitions::Partitions;
use super::regex::ResolvedRegex;
use crate::error::CoordinatorError;
use crate::group::record::{Reading, encode};
use crate::outcome::Record;

const GROUP: i16 = 3;
const PARTITION_METADATA: i16 = 4;
const MEMBER: i16 = 5;
const TARGET_METADATA: i16 = 6;
const TARGET: i16 = 7;
const ASSIGNMENT: i16 = 8;
const REGEX: i16 = 16;

/// A part of a consumer group, as a record has it; `None` deletes it.
#[derive(Debug, Clone, PartialEq)]
pub enum ConsumerRecord<'a> {
    /// The group: its epoch and the hash of its topics.
    Group(Option<group_value::ConsumerGroupMetadataValue>),
    /// The topics' metadata, which Kafka 4.0 wrote; whether it is there.
    PartitionMetadata(bool),
    /// What a member said of itself.
    Member(Cow<'a, str>, Option<member_value::ConsumerGroupMemberMetadataValue<'a>>),
    /// The epoch of the target assignment.
    TargetMetadata(Option<target_metadata::ConsumerGroupTargetAssignmentMetadataValue>),
    /// What a member is promised.
    Target(Cow<'a, str>, Option<target_value::ConsumerGroupTargetAssignmentMemberValue>),
    /// What a member owns.
    Assignment(Cow<'a, str>, Option<assignment_value::ConsumerGroupCurrentMemberAssignmentValue>),
    /// A regular expression, and the topics it stands for.
    Regex(Cow<'a, str>, Option<regex_value::ConsumerGroupRegularExpressionValue<'a>>),
}

impl<'a> ConsumerRecord<'a> {
    /// Whether records of this type belong to consumer groups.
    pub(in crate::group) fn has(type_number: i16) -> bool {
        matches!(type_number, GROUP..=ASSIGNMENT | REGEX)
    }

    /// Reads the rest of a key, and the value: the group's id and the part of it.
    pub(in crate::group) fn decode(
        read: &Reading,
        key: &mut Reader<'a>,
        value: Option<&'a [u8]>,
    ) -> Result<(Cow<'a, str>, ConsumerRecord<'a>), CoordinatorError> {
        fn of<'a, M: Message<'a>>(
            read: &Reading,
            value: Option<&'a [u8]>,
        ) -> Result<Option<M>, CoordinatorError> {
            value.map(|value| read.value(value)).transpose()
        }
        Ok(match read.kind {
            GROUP => {
                let key: group_key::ConsumerGroupMetadataKey<'a> = read.key(key)?;
                (key.group_id, ConsumerRecord::Group(of(read, value)?))
            }
            PARTITION_METADATA => {
                let key: partition_key::ConsumerGroupPartitionMetadataKey<'a> = read.key(key)?;
                (key.group_id, ConsumerRecord::PartitionMetadata(value.is_some()))
            }
            MEMBER => {
                let key: member_key::ConsumerGroupMemberMetadataKey<'a> = read.key(key)?;
                (key.group_id, ConsumerRecord::Member(key.member_id, of(read, value)?))
            }
            TARGET_METADATA => {
                let key: target_metadata_key::ConsumerGroupTargetAssignmentMetadataKey<'a> =
                    read.key(key)?;
                (key.group_id, ConsumerRecord::TargetMetadata(of(read, value)?))
            }
            TARGET => {
                let key: target_key::ConsumerGroupTargetAssignmentMemberKey<'a> = read.key(key)?;
                (key.group_id, ConsumerRecord::Target(key.member_id, of(read, value)?))
            }
            ASSIGNMENT => {
                let key: assignment_key::ConsumerGroupCurrentMemberAssignmentKey<'a> =
                    read.key(key)?;
                (key.group_id, ConsumerRecord::Assignment(key.member_id, of(read, value)?))
            }
            _ => {
                let key: regex_key::ConsumerGroupRegularExpressionKey<'a> = read.key(key)?;
                (key.group_id, ConsumerRecord::Regex(key.regular_expression, of(read, value)?))
            }
        })
    }
}

fn record<'a>(
    type_number: i16,
    key: &impl Message<'a>,
    value: Option<&impl Message<'a>>,
) -> Record {
    Record { key: encode(type_number, key, 0), value: value.map(|value| encode(0, value, 0)) }
}

fn deletion<'a>(type_number: i16, key: &impl Message<'a>) -> Record {
    Record { key: encode(type_number, key, 0), value: None }
}

pub(super) fn group(group_id: &str, epoch: i32, metadata_hash: i64) -> Record {
    let key = group_key::ConsumerGroupMetadataKey { group_id: Cow::Borrowed(group_id) };
    let value = group_value::ConsumerGroupMetadataValue { epoch, metadata_hash };
    record(GROUP, &key, Some(&value))
}

pub(super) fn group_deletion(group_id: &str) -> Record {
    deletion(GROUP, &group_key::ConsumerGroupMetadataKey { group_id: Cow::Borrowed(group_id) })
}

pub(super) fn partition_metadata_deletion(group_id: &str) -> Record {
    let group_id = Cow::Borrowed(group_id);
    deletion(PARTITION_METADATA, &partition_key::ConsumerGroupPartitionMetadataKey { group_id })
}

pub(super) fn member(group_id: &str, member: &Member) -> Record {
    record(MEMBER, &member_key(group_id, &member.id), Some(&member.metadata_value()))
}

pub(super) fn member_deletion(group_id: &str, member_id: &str) -> Record {
    deletion(MEMBER, &member_key(group_id, member_id))
}

fn member_key<'a>(
    group_id: &'a str,
    member_id: &'a str,
) -> member_key::ConsumerGroupMemberMetadataKey<'a> {
    member_key::ConsumerGroupMemberMetadataKey {
        group_id: Cow::Borrowed(group_id),
        member_id: Cow::Borrowed(member_id),
    }
}

pub(super) fn target_metadata(group_id: &str, epoch: i32, made_ms: i64) -> Record {
    let group_id = Cow::Borrowed(group_id);
    let key = target_metadata_key::ConsumerGroupTargetAssignmentMetadataKey { group_id };
    let value = target_metadata::ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch,
        assignment_timestamp: made_ms,
    };
    record(TARGET_METADATA, &key, Some(&value))
}

pub(super) fn target_metadata_deletion(group_id: &str) -> Record {
    let group_id = Cow::Borrowed(group_id);
    deletion(
        TARGET_METADATA,
        &target_metadata_key::ConsumerGroupTargetAssignmentMetadataKey { group_id },
    )
}

pub(super) fn target(group_id: &str, member_id: &str, partitions: &Partitions) -> Record {
    let topics = partitions.iter().map(|(topic_id, partitions)| target_value::TopicPartition {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    let value = target_value::ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: topics.collect(),
    };
    record(TARGET, &target_key(group_id, member_id), Some(&value))
}

pub(super) fn target_deletion(group_id: &str, member_id: &str) -> Record {
    deletion(TARGET, &target_key(group_id, member_id))
}

fn target_key<'a>(
    group_id: &'a str,
    member_id: &'a str,
) -> target_key::ConsumerGroupTargetAssignmentMemberKey<'a> {
    target_key::ConsumerGroupTargetAssignmentMemberKey {
        group_id: Cow::Borrowed(group_id),
        member_id: Cow::Borrowed(member_id),
    }
}

pub(super) fn assignment(group_id: &str, member: &Member) -> Record {
    record(ASSIGNMENT, &assignment_key(group_id, &member.id), Some(&member.assignment_value()))
}

pub(super) fn assignment_deletion(group_id: &str, member_id: &str) -> Record {
    deletion(ASSIGNMENT, &assignment_key(group_id, member_id))
}

fn assignment_key<'a>(
    group_id: &'a str,
    member_id: &'a str,
) -> assignment_key::ConsumerGroupCurrentMemberAssignmentKey<'a> {
    assignment_key::ConsumerGroupCurrentMemberAssignmentKey {
        group_id: Cow::Borrowed(group_id),
        member_id: Cow::Borrowed(member_id),
    }
}

pub(super) fn regex(group_id: &str, regex: &str, resolved: &ResolvedRegex) -> Record {
    let topics = resolved.topics.iter().map(|name| Cow::Borrowed(&**name));
    let value = regex_value::ConsumerGroupRegularExpressionValue {
        topics: topics.collect(),
        version: resolved.version,
        timestamp: resolved.resolved_ms,
    };
    record(REGEX, &regex_key(group_id, regex), Some(&value))
}

pub(super) fn regex_deletion(group_id: &str, regex: &str) -> Record {
    deletion(REGEX, &regex_key(group_id, regex))
}

fn regex_key<'a>(
    group_id: &'a str,
    regex: &'a str,
) -> regex_key::ConsumerGroupRegularExpressionKey<'a> {
    regex_key::ConsumerGroupRegularExpressionKey {
        group_id: Cow::Borrowed(group_id),
        regular_expression: Cow::Borrowed(regex),
    }
}
