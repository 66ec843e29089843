//! Groups that change their protocol (`group.consumer.migration.policy`).
//!
//! An empty group becomes of the kind that joins it; nothing but its kind changes.

use super::ConsumerGroup;
use super::refusal::Refusal;
use crate::group::classic::ClassicState;
use crate::group::{Effects, Group, GroupCoordinator, record};

impl GroupCoordinator {
    /// Sees to it that a heartbeat has a consumer group: a new one is returned if it joins and
    /// there is none yet, or one of the classic protocol that may become one.
    pub(super) fn consumer_group_for(
        &self,
        group_id: &str,
        joins: bool,
        effects: &mut Effects,
    ) -> Result<Option<ConsumerGroup>, Refusal> {
        match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => Ok(None),
            None if joins => Ok(Some(ConsumerGroup::new(group_id.into()))),
            None => Err(Refusal::not_found(format!("Consumer group {group_id} not found."))),
            Some(Group::Classic(group)) if joins && group.state() == ClassicState::Empty => {
                effects.records.push(record::group_record(group_id, None));
                Ok(Some(ConsumerGroup::new(group_id.into())))
            }
            Some(Group::Classic(_) | Group::Other(_)) => {
                Err(Refusal::not_found(format!("Group {group_id} is not a consumer group.")))
            }
        }
    }
}
