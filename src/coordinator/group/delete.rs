//! DeleteGroups and OffsetDelete, and what goes with a deleted topic.

use std::borrow::Cow;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::offset_delete_request::OffsetDeleteRequest;
use ringlog_wire::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::{ConsumerGroup, ConsumerState};
use super::{Effects, Group, GroupCoordinator, Outcome, record};

/// The protocol type of consumers, whose subscriptions can be read.
const CONSUMER: &str = "consumer";

/// Whose subscriptions keep offsets from being deleted.
#[derive(Clone, Copy)]
enum Readers<'a> {
    None,
    Classic(&'a ClassicGroup),
    Consumers(&'a ConsumerGroup),
}

impl GroupCoordinator {
    /// DeleteGroups, of one group.
    pub fn delete_group(&mut self, group_id: &str) -> Outcome<ErrorCode> {
        let deletable = match self.groups.get(group_id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Group::Consumer(group)) => match group.state() {
                ConsumerState::Empty => Ok(()),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
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
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => effects.records.append(&mut group.deletion()),
            _ => effects.records.push(record::group_record(group_id, None)),
        }
        Outcome { response: ErrorCode::None, effects }
    }

    /// OffsetDelete: offsets of topics that nobody in the group subscribes to.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest<'_>,
    ) -> Outcome<OffsetDeleteResponse<'static>> {
        let readers = match self.readers_of(&request.group_id) {
            Ok(readers) => readers,
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
            let is_subscribed = match readers {
                Readers::None => false,
                Readers::Classic(group) => group.subscribes_to(&topic.name),
                Readers::Consumers(group) => group.subscribes_to(&topic.name),
            };
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

    /// The members that are to be asked what they read (`validateOffsetDelete`).
    fn readers_of(&self, group_id: &str) -> Result<Readers<'_>, ErrorCode> {
        if let Some(Group::Consumer(group)) = self.groups.get(group_id) {
            return Ok(Readers::Consumers(group));
        }
        let group = self.classic(group_id)?;
        match group.state() {
            ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
            ClassicState::Empty => Ok(Readers::None),
            _ if group.protocol_type() == Some(CONSUMER) => Ok(Readers::Classic(group)),
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
