//! OffsetCommit, and deleting committed offsets.

use std::borrow::Cow;

use ringlog_types::{ErrorCode, TimestampMs};
use ringlog_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringlog_wire::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ringlog_wire::messages::offset_commit_value::OffsetCommitValue;

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::ConsumerGroup;
use super::{Effects, Group, GroupCoordinator, ID_BYTES_MAX, Outcome, record};
use crate::outcome::Now;

/// From this version of OffsetCommit on there are member epochs.
const MEMBER_EPOCH_VERSION: i16 = 9;

/// What a client says of its membership when it commits.
struct Committer<'a> {
    member_id: &'a str,
    instance_id: Option<&'a str>,
    generation: i32,
    version: i16,
}

impl GroupCoordinator {
    /// OffsetCommit, of topics that exist and are named. The order of topics and partitions is
    /// that of the request.
    pub fn commit_offsets(
        &mut self,
        request: &OffsetCommitRequest<'_>,
        version: i16,
        now: Now,
    ) -> Outcome<OffsetCommitResponse<'static>> {
        let committer = Committer {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
            version,
        };
        if let Err(error) = self.check_commit(&request.group_id, &committer) {
            return Outcome::unchanged(answer_all(request, error));
        }
        let mut effects = self.with_classic(&request.group_id, now, |group, context| {
            group.show_life(&request.member_id, context);
        });
        let mut response = OffsetCommitResponse::default();
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|partition| {
                let result = self.commit_one(request, topic, partition, now, &mut effects);
                answer_one(partition, result.err().unwrap_or(ErrorCode::None))
            });
            let partitions = partitions.collect();
            response.topics.push(answer_topic(topic, partitions));
        }
        Outcome { response, effects }
    }

    /// Who may commit (`validateOffsetCommit`).
    fn check_commit(&self, group_id: &str, committer: &Committer<'_>) -> Result<(), ErrorCode> {
        if group_id.len() > ID_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.groups.get(group_id) {
            // Whoever assigns partitions by hand needs no group to be there.
            None if committer.generation < 0 => Ok(()),
            None => Err(ErrorCode::IllegalGeneration),
            Some(Group::Consumer(group)) => check_consumer(group, committer),
            Some(Group::Other(_)) => Err(ErrorCode::UnknownMemberId),
            Some(Group::Classic(group)) => check_member(group, committer),
        }
    }

    /// A member of an older epoch commits for what it has owned since then.
    fn check_epoch_of_partition(
        &self,
        request: &OffsetCommitRequest<'_>,
        topic: &OffsetCommitRequestTopic<'_>,
        partition: &OffsetCommitRequestPartition<'_>,
    ) -> Result<(), ErrorCode> {
        let Some(Group::Consumer(group)) = self.groups.get(&*request.group_id) else {
            return Ok(());
        };
        let Some(member) = group.member(&request.member_id) else { return Ok(()) };
        let epoch = request.generation_id_or_member_epoch;
        if epoch == member.epoch {
            return Ok(());
        }
        match member.owns_since(&topic.topic_id, partition.partition_index) {
            Some(since) if epoch >= since => Ok(()),
            _ => Err(member.stale()),
        }
    }

    fn commit_one(
        &self,
        request: &OffsetCommitRequest<'_>,
        topic: &OffsetCommitRequestTopic<'_>,
        partition: &OffsetCommitRequestPartition<'_>,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        self.check_epoch_of_partition(request, topic, partition)?;
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        if metadata.len() > self.settings.offset_metadata_bytes_max.min(ID_BYTES_MAX) {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        if topic.name.len() > ID_BYTES_MAX {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let value = OffsetCommitValue {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: Cow::Borrowed(metadata),
            commit_timestamp: now.wall_ms,
            expire_timestamp: expire_timestamp(request.retention_time_ms, now.wall_ms),
            topic_id: topic.topic_id,
        };
        let (group, index) = (&request.group_id, partition.partition_index);
        effects.records.push(record::offset_record(group, &topic.name, index, Some(&value)));
        Ok(())
    }
}

/// Who may commit for a consumer group (`ConsumerGroup.validateOffsetCommit`). A member that does
/// not know its newest epoch yet is looked at partition by partition.
fn check_consumer(group: &ConsumerGroup, committer: &Committer<'_>) -> Result<(), ErrorCode> {
    if committer.generation < 0 && group.members().next().is_none() {
        return Ok(());
    }
    let member = group.member(committer.member_id).ok_or(ErrorCode::UnknownMemberId)?;
    if member.classic.is_none() && committer.version < MEMBER_EPOCH_VERSION {
        return Err(ErrorCode::UnsupportedVersion);
    }
    if committer.generation > member.epoch {
        return Err(member.stale());
    }
    Ok(())
}

fn check_member(group: &ClassicGroup, committer: &Committer<'_>) -> Result<(), ErrorCode> {
    let is_member = committer.generation >= 0
        || !committer.member_id.is_empty()
        || committer.instance_id.is_some();
    match group.state() {
        ClassicState::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
        ClassicState::Empty if committer.generation < 0 => return Ok(()),
        _ if !is_member => return Err(ErrorCode::UnknownMemberId),
        _ => {}
    }
    group.check_member(committer.member_id, committer.instance_id)?;
    if committer.generation != group.generation() {
        return Err(ErrorCode::IllegalGeneration);
    }
    if group.state() == ClassicState::CompletingRebalance {
        // Its partitions may be another's by now.
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

/// OffsetCommit 2 to 4 may say how long the offset is kept; -1 leaves it to the broker.
fn expire_timestamp(retention_time_ms: i64, now_ms: TimestampMs) -> TimestampMs {
    if retention_time_ms < 0 { -1 } else { now_ms.saturating_add(retention_time_ms) }
}

/// The same error for every partition of a request.
pub(super) fn answer_all(
    request: &OffsetCommitRequest<'_>,
    error: ErrorCode,
) -> OffsetCommitResponse<'static> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| answer_one(partition, error));
        answer_topic(topic, partitions.collect())
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn answer_topic(
    topic: &OffsetCommitRequestTopic<'_>,
    partitions: Vec<OffsetCommitResponsePartition>,
) -> OffsetCommitResponseTopic<'static> {
    let name = Cow::Owned(topic.name.to_string());
    OffsetCommitResponseTopic { name, topic_id: topic.topic_id, partitions }
}

fn answer_one(
    partition: &OffsetCommitRequestPartition<'_>,
    error: ErrorCode,
) -> OffsetCommitResponsePartition {
    let partition_index = partition.partition_index;
    OffsetCommitResponsePartition { partition_index, error_code: error.code() }
}
