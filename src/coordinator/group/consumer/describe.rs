//! ConsumerGroupDescribe.

use std::borrow::Cow;
use std::rc::Rc;

use ringlog_types::Uuid;
use ringlog_wire::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};

use super::ConsumerGroup;
use super::member::Member;
use crate::group::GroupCoordinator;
use crate::group::cluster_view::ClusterView;

/// What `member_type` says of members of either protocol.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl GroupCoordinator {
    /// ConsumerGroupDescribe, of one group.
    pub fn describe_consumer(&self, group_id: &str) -> DescribedGroup<'static> {
        let group = match self.consumer_group(group_id) {
            Ok(group) => group,
            Err(refusal) => {
                return DescribedGroup {
                    error_code: refusal.error.code(),
                    error_message: Some(Cow::Owned(refusal.message)),
                    group_id: owned(group_id),
                    ..Default::default()
                };
            }
        };
        let assignor = group.assignor(None, &self.settings.consumer.assignors);
        let cluster = &*self.cluster;
        DescribedGroup {
            group_id: owned(&group.id),
            group_state: Cow::Borrowed(group.state().name()),
            group_epoch: group.epoch,
            assignment_epoch: group.target_epoch,
            assignor_name: Cow::Borrowed(assignor.name()),
            members: group.members().map(|member| described(group, member, cluster)).collect(),
            ..Default::default()
        }
    }
}

fn described(
    group: &ConsumerGroup,
    member: &Member,
    cluster: &dyn ClusterView,
) -> DescribedMember<'static> {
    let owns = member.assigned.iter().map(|(id, partitions)| (id, partitions.keys().copied()));
    let target = group.target.get(&member.id);
    let promised = target.into_iter().flatten();
    let promised = promised.map(|(id, partitions)| (id, partitions.iter().copied()));
    DescribedMember {
        member_id: owned(&member.id),
        instance_id: member.instance_id.as_deref().map(owned),
        rack_id: member.rack_id.as_deref().map(owned),
        member_epoch: member.epoch,
        client_id: owned(&member.client_id),
        client_host: owned(&member.client_host),
        subscribed_topic_names: member.subscribed_topics.iter().map(|name| owned(name)).collect(),
        subscribed_topic_regex: member.subscribed_regex.as_deref().map(owned),
        assignment: assignment(owns, cluster),
        target_assignment: assignment(promised, cluster),
        member_type: if member.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

/// Partitions of topics that exist, with the topics' names.
fn assignment<'a, P: Iterator<Item = i32>>(
    topics: impl Iterator<Item = (&'a Uuid, P)>,
    cluster: &dyn ClusterView,
) -> Assignment<'static> {
    let named = topics.filter_map(|(id, partitions)| {
        let name: Rc<str> = cluster.name_of(id)?;
        Some(TopicPartitions {
            topic_id: *id,
            topic_name: owned(&name),
            partitions: partitions.collect(),
        })
    });
    Assignment { topic_partitions: named.collect() }
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}
