//! DeleteGroups and OffsetDelete, and what goes with a deleted topic.

use std::borrow::Cow;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::offset_delete_request::OffsetDeleteRequest;
use ringlog_wire::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::classic::{ClassicGroup, ClassicState};
use super::{Effects, Group, GroupCoordinator, Outcome, record};

/// The protocol type of consumers, whose subscriptions can be read.
const CONSUMER: &str = "consumer";

impl GroupCoordinator {
    /// DeleteGroups, of one group.
    pub fn delete_group(&mut self, group_id: &str) -> Outcome<ErrorCode> {
        let deletable = match self.groups.get(group_id) {
            None => Err(ErrorCode::GroupIdNotFound),
            // Whether it has members is not known here.
            Some(Group::Other(_)) => Err(ErrorCode::NonEmptyGroup),
            Some(Group::Classic(group)) => match group.state() {
                ClassicState::Empty => Ok(()),
                ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
        };
        if let Err(error) = deletable {
            return Outcome::unchanged(error);
        }
        let mut effects = Effects::default();
        for (topic, partition) in self.committed_places(group_id) {
            effects.records.push(record::offset_record(group_id, &topic, partition, None));
        }
        effects.records.push(record::group_record(group_id, None));
        Outcome { response: ErrorCode::None, effects }
    }

    /// OffsetDelete: offsets of topics that nobody in the group subscribes to.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest<'_>,
    ) -> Outcome<OffsetDeleteResponse<'static>> {
        let group = match self.deletable_offsets_of(&request.group_id) {
            Ok(group) => group,
            Err(error) => {
                let error_code = error.code();
                return Outcome::unchanged(OffsetDeleteResponse {
                    error_code,
                    ..Default::default()
                });
            }
        };
        let mut effects = Effects::default();
        let topics = request.topics.iter().map(|topic| {
            let is_subscribed = group.is_some_and(|group| group.subscribes_to(&topic.name));
            let error =
                if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let known = self.offsets.newest().get(&request.group_id, &topic.name, index);
                if !is_subscribed && known.is_some() {
                    let (group, name) = (&request.group_id, &topic.name);
                    effects.records.push(record::offset_record(group, name, index, None));
                }
                OffsetDeleteResponsePartition { partition_index: index, error_code: error.code() }
            });
            let partitions = partitions.collect();
            OffsetDeleteResponseTopic { name: Cow::Owned(topic.name.to_string()), partitions }
        });
        let topics = topics.collect();
        Outcome { response: OffsetDeleteResponse { topics, ..Default::default() }, effects }
    }

    /// The group whose members are to be asked, or `None` if it has none (`validateOffsetDelete`).
    fn deletable_offsets_of(&self, group_id: &str) -> Result<Option<&ClassicGroup>, ErrorCode> {
        let group = self.classic(group_id)?;
        match group.state() {
            ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
            ClassicState::Empty => Ok(None),
            _ if group.protocol_type() == Some(CONSUMER) => Ok(Some(group)),
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// A topic is deleted, and with it what was committed of it.
    pub fn topic_deleted(&mut self, topic: &str) -> Effects {
        let mut effects = Effects::default();
        let groups: Vec<_> = self.offsets.newest().group_ids().cloned().collect();
        for group in groups {
            let places = self.committed_places(&group);
            for (_, partition) in places.iter().filter(|(of, _)| **of == *topic) {
                effects.records.push(record::offset_record(&group, topic, *partition, None));
            }
        }
        effects
    }
}
