//! Sets of partitions of several topics, as members own and are promised them.

use std::collections::{BTreeMap, BTreeSet};

use ringlog_types::Uuid;
use ringlog_wire::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;

/// Partitions by topic. A topic without partitions is not in it.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// Partitions by topic, each with the member epoch in which its owner got it.
pub(crate) type Assigned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// Whether a partition is in it.
pub(crate) fn contains(assigned: &Assigned, topic_id: &Uuid, partition: i32) -> bool {
    assigned.get(topic_id).is_some_and(|partitions| partitions.contains_key(&partition))
}

/// Puts a partition in.
pub(crate) fn insert(assigned: &mut Assigned, topic_id: Uuid, partition: i32, epoch: i32) {
    assigned.entry(topic_id).or_default().insert(partition, epoch);
}

/// Whether two members own the same, whenever they got it.
pub(crate) fn same_partitions(one: &Assigned, other: &Assigned) -> bool {
    let places = |assigned: &Assigned| -> Vec<(Uuid, i32)> {
        let topics = assigned.iter();
        topics.flat_map(|(id, partitions)| partitions.keys().map(|index| (*id, *index))).collect()
    };
    places(one) == places(other)
}

/// Whether everything that a member reports is assigned to it.
pub(crate) fn is_subset(reported: &[Reported], assigned: &Assigned) -> bool {
    reported.iter().all(|topic| {
        let known = assigned.get(&topic.topic_id);
        topic.partitions.iter().all(|index| known.is_some_and(|known| known.contains_key(index)))
    })
}

/// Whether a member still reports one of these partitions. One that does not say what it owns is
/// taken to own them.
pub(crate) fn still_owns(reported: Option<&[Reported]>, assigned: &Assigned) -> bool {
    let Some(reported) = reported else { return true };
    let owns = |topic: &Reported| {
        let mut partitions = topic.partitions.iter();
        partitions.any(|index| contains(assigned, &topic.topic_id, *index))
    };
    reported.iter().any(owns)
}
