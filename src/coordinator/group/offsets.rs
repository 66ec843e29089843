//! The offsets that groups committed.

use std::rc::Rc;

use imbl::{HashMap, OrdMap};
use ringlog_types::{LeaderEpoch, Offset, TimestampMs, Uuid};
use ringlog_wire::messages::offset_commit_value::OffsetCommitValue;

/// A topic's name and a partition of it, in the order in which answers list them.
pub(crate) type TopicAndIndex = (Rc<str>, i32);

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommittedOffset {
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) metadata: Rc<str>,
    pub(crate) commit_timestamp: TimestampMs,
    /// When it expires, if whoever committed it said so (OffsetCommit 2 to 4).
    pub(crate) expire_timestamp: Option<TimestampMs>,
    /// Zero if the commit named the topic by name alone.
    pub(crate) topic_id: Uuid,
}

impl CommittedOffset {
    pub(crate) fn from_value(value: &OffsetCommitValue<'_>) -> CommittedOffset {
        CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.as_ref().into(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: (value.expire_timestamp >= 0).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }

    /// Whether it expires at `now_ms`, if retention counts from `since_ms`.
    pub(crate) fn is_expired(
        &self,
        since_ms: TimestampMs,
        retention_ms: i64,
        now_ms: TimestampMs,
    ) -> bool {
        match self.expire_timestamp {
            Some(at_ms) => now_ms >= at_ms,
            None => now_ms.saturating_sub(since_ms) >= retention_ms,
        }
    }
}

/// The offsets of all groups of a partition; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offsets {
    groups: HashMap<Rc<str>, OrdMap<TopicAndIndex, CommittedOffset>>,
}

impl Offsets {
    /// The offsets of a group, by topic and partition.
    pub(crate) fn of(&self, group: &str) -> Option<&OrdMap<TopicAndIndex, CommittedOffset>> {
        self.groups.get(group)
    }

    /// One of them.
    pub(crate) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(&(Rc::from(topic), partition))
    }

    /// Notes a commit.
    pub(crate) fn insert(&mut self, group: &str, place: TopicAndIndex, offset: CommittedOffset) {
        match self.groups.get_mut(group) {
            Some(offsets) => {
                offsets.insert(place, offset);
            }
            None => {
                self.groups.insert(group.into(), OrdMap::unit(place, offset));
            }
        }
    }

    /// Notes that an offset is deleted.
    pub(crate) fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(offsets) = self.groups.get_mut(group) else { return };
        offsets.remove(&(Rc::from(topic), partition));
        if offsets.is_empty() {
            self.groups.remove(group);
        }
    }

    /// The groups that have any.
    pub(crate) fn group_ids(&self) -> impl Iterator<Item = &Rc<str>> {
        self.groups.keys()
    }

    /// How many offsets are kept.
    pub(crate) fn len(&self) -> usize {
        self.groups.values().map(OrdMap::len).sum()
    }
}
