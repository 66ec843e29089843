//! From a group to its coordinator: the partition of `__consumer_offsets` that its id names, on the
//! shard that owns it.

use std::future::Future;
use std::rc::Rc;

use ringlog_metadata::{GROUP_VERSION, GROUP_VERSION_CONSUMER};
use ringlog_runtime::ShardId;
use ringlog_types::{ErrorCode, LeaderEpoch, Uuid};
use ringlog_wire::{Message, Reader};

use crate::coordinators::{GROUP_TOPIC, Groups};
use crate::shard::Shard;

/// Where the coordinator of a group is.
struct Place {
    owner: ShardId,
    topic_id: Uuid,
    partition: i32,
    leader_epoch: LeaderEpoch,
}

/// Kafka's `Utils.abs(groupId.hashCode()) % partitions`, with Java's hash of a string.
pub(super) fn partition_of(group_id: &str, partitions: usize) -> usize {
    let hash = group_id
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive as usize % partitions
}

fn place_of(shard: &Shard, group_id: &str) -> Result<Place, ErrorCode> {
    let topic =
        shard.replicas.topics.by_name(GROUP_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let index = partition_of(group_id, topic.partitions.len());
    let entry = &topic.partitions[index];
    let (owner, leader_epoch) = (entry.owner, entry.leader_epoch);
    Ok(Place { owner, topic_id: topic.id, partition: index as i32, leader_epoch })
}

/// Runs `work` with the coordinator of the group.
///
/// # Errors
/// COORDINATOR_NOT_AVAILABLE before the topic is there, NOT_COORDINATOR if its partition is not
/// open, and what `work` returns.
pub(super) async fn on_coordinator<R, W, F>(
    shard: &Rc<Shard>,
    group_id: &str,
    work: W,
) -> Result<R, ErrorCode>
where
    W: FnOnce(Rc<Groups>) -> F + Send + 'static,
    F: Future<Output = Result<R, ErrorCode>> + 'static,
    R: Send + 'static,
{
    let Place { owner, topic_id, partition, leader_epoch } = place_of(shard, group_id)?;
    let asked = shard.start_on(owner, move |shard| {
        let local = shard.replicas.topics.local_partition(&topic_id, partition);
        let open = local.filter(|partition| !partition.is_offline());
        let work = open.map(|open| work(shard.coordinators.of_groups(&open, leader_epoch)));
        async move {
            match work {
                Some(work) => work.await,
                None => Err(ErrorCode::NotCoordinator),
            }
        }
    });
    asked.await
}

/// Decodes a body that the connection's shard has decoded before.
pub(super) fn decode_again<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> M {
    M::decode(&mut Reader::new(body), version).expect("decoded once before")
}

/// Whether this node coordinates consumer groups: its setting and the cluster's feature say so.
pub(crate) fn serves_consumer_groups(shard: &Shard) -> bool {
    let level = shard.image().feature_level(GROUP_VERSION).unwrap_or(0);
    let protocols = &shard.node.config.group_coordinator_rebalance_protocols;
    level >= GROUP_VERSION_CONSUMER && protocols.iter().any(|protocol| protocol == "consumer")
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    /// Found with Java: `"...".hashCode()`.
    #[test]
    fn groups_go_where_kafka_puts_them() {
        for (group, hash) in [("", 0), ("a", 97), ("group", 98_629_247), ("ä", 228)] {
            assert_eq!(partition_of(group, 50), hash % 50, "{group}");
        }
        // The hash of this one is the smallest number, whose absolute value is none.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }
}
