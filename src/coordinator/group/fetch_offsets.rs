//! OffsetFetch: what a group has committed.

use std::borrow::Cow;
use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use super::offsets::{CommittedOffset, TopicAndIndex};
use super::{Group, GroupCoordinator};

/// Partitions of a topic whose offsets are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedOffsets<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Its id, which stands in the answer.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: &'a [i32],
}

impl GroupCoordinator {
    /// Whether a member of a consumer group is the one that it says (OffsetFetch from version 9
    /// on). Who says nothing of itself may read.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, or that its epoch is not the one that it has.
    pub fn check_fetch(
        &self,
        group_id: &str,
        member_id: Option<&str>,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return Ok(()) };
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = group.member(member_id.unwrap_or_default());
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == member.epoch { Ok(()) } else { Err(member.stale()) }
    }

    /// OffsetFetch of one group: of what is `wanted`, or of everything that it has committed.
    /// A partition without a commit has offset -1; a group that is not known has none.
    ///
    /// Only what is committed to the log is told.
    pub fn fetch_offsets(
        &self,
        group_id: &str,
        wanted: Option<&[WantedOffsets<'_>]>,
    ) -> OffsetFetchResponseGroup<'static> {
        let topics = match wanted {
            Some(wanted) => wanted.iter().map(|topic| self.fetch_topic(group_id, topic)).collect(),
            None => self.fetch_all(group_id),
        };
        let group_id = Cow::Owned(group_id.to_owned());
        OffsetFetchResponseGroup { group_id, topics, ..Default::default() }
    }

    fn fetch_topic(
        &self,
        group_id: &str,
        wanted: &WantedOffsets<'_>,
    ) -> OffsetFetchResponseTopics<'static> {
        let committed = self.offsets.committed().of(group_id);
        let topic: Rc<str> = wanted.topic.into();
        let partitions = wanted.partitions.iter().map(|&index| {
            let found = committed.and_then(|offsets| offsets.get(&(topic.clone(), index)));
            // An offset of a topic of the same name that was there before is none of this one.
            answer(index, found.filter(|found| is_of(found.topic_id, wanted.topic_id)))
        });
        OffsetFetchResponseTopics {
            name: Cow::Owned(wanted.topic.to_owned()),
            topic_id: wanted.topic_id,
            partitions: partitions.collect(),
        }
    }

    fn fetch_all(&self, group_id: &str) -> Vec<OffsetFetchResponseTopics<'static>> {
        let Some(committed) = self.offsets.committed().of(group_id) else { return Vec::new() };
        let mut topics: Vec<OffsetFetchResponseTopics<'static>> = Vec::new();
        // In order of the topics: those of one follow each other.
        for ((topic, index), offset) in committed {
            if topics.last().is_none_or(|last| last.name != **topic) {
                let name = Cow::Owned(topic.to_string());
                topics.push(OffsetFetchResponseTopics { name, ..Default::default() });
            }
            let last = topics.last_mut().expect("it was just pushed");
            last.partitions.push(answer(*index, Some(offset)));
        }
        topics
    }

    /// The committed offset of one partition, for lag.
    pub fn committed_offset(&self, group_id: &str, topic: &str, partition: i32) -> Option<i64> {
        let found = self.offsets.committed().get(group_id, topic, partition);
        found.map(|found| found.offset)
    }

    /// Every partition that a group has committed an offset of.
    pub(super) fn committed_places(&self, group_id: &str) -> Vec<TopicAndIndex> {
        let offsets = self.offsets.newest().of(group_id);
        offsets.map(|offsets| offsets.keys().cloned().collect()).unwrap_or_default()
    }
}

/// Whether two ids can be of one topic; zero says nothing.
fn is_of(committed: Uuid, wanted: Uuid) -> bool {
    committed == wanted || committed == Uuid::ZERO || wanted == Uuid::ZERO
}

fn answer(index: i32, found: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions<'static> {
    let metadata = found.map_or("", |found| &found.metadata);
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: found.map_or(-1, |found| found.offset),
        committed_leader_epoch: found.map_or(-1, |found| found.leader_epoch),
        metadata: Some(Cow::Owned(metadata.to_owned())),
        error_code: 0,
    }
}
