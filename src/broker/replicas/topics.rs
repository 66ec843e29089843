//! What a shard needs to know of the topics to serve requests: built from the metadata image,
//! one entry a topic, shared by reference with the requests in work.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::TopicConfig;
use ringlog_metadata::is_internal_topic;
use ringlog_runtime::ShardId;
use ringlog_types::{BrokerId, ErrorCode, LeaderEpoch, TopicPartition, Uuid};

use crate::replicas::opening::LocalReplica;
use crate::replicas::partition::Partition;

/// The shard that owns a partition: neighbours go to different shards. It is decided anew at
/// every start, and never written to disk.
pub(crate) fn owner_of(topic_id: Uuid, partition: i32, shards: usize) -> ShardId {
    let [a, b, c, d, ..] = topic_id.0;
    let topic = u64::from(u32::from_be_bytes([a, b, c, d]));
    ShardId(((topic + partition as u64) % shards as u64) as u16)
}

/// How a request names a topic; a fetch by topic name up to version 12, by topic id from 13.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicRef {
    Name(Arc<str>),
    Id(Uuid),
}

/// One partition as the requests see it.
pub(crate) struct PartitionEntry {
    pub(crate) owner: ShardId,
    pub(crate) leader: BrokerId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) isr: Vec<BrokerId>,
    /// What this shard has of it, if it owns it.
    pub(crate) replica: Option<Rc<LocalReplica>>,
}

impl PartitionEntry {
    /// The partition itself, on the shard that owns it; none where its log is not open.
    pub(crate) fn local(&self) -> Option<&Rc<Partition>> {
        self.replica.as_ref()?.partition()
    }

    /// Whether this shard owns it and still opens its log.
    fn is_opening(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.is_opening())
    }
}

/// One topic.
pub(crate) struct TopicEntry {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) partitions: Vec<PartitionEntry>,
}

impl TopicEntry {
    /// The partition with this index, if the topic has it.
    pub(crate) fn partition(&self, index: i32) -> Option<&PartitionEntry> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// How many replicas must be in sync for `acks=all`: no more than the partition has
    /// (`Partition.effectiveMinIsr`, Kafka 3.7).
    pub(crate) fn min_insync_replicas(&self, partition: &PartitionEntry) -> usize {
        let configured = usize::try_from(self.config.min_insync_replicas).unwrap_or(0);
        configured.min(partition.replicas.len())
    }

    /// Whether clients should hide the topic by default (`Topic.isInternal`).
    pub(crate) fn is_internal(&self) -> bool {
        is_internal_topic(&self.name)
    }
}

/// All topics, by name and by id.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: RefCell<HashMap<Arc<str>, Rc<TopicEntry>>>,
    /// Equal seeds of a simulation visit it in equal order. The ids are ours, so that nobody can
    /// choose them to collide.
    by_id: RefCell<HashMap<Uuid, Rc<TopicEntry>, BuildHasherDefault<DefaultHasher>>>,
}

impl Topics {
    pub(crate) fn by_name(&self, name: &str) -> Option<Rc<TopicEntry>> {
        self.by_name.borrow().get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: &Uuid) -> Option<Rc<TopicEntry>> {
        self.by_id.borrow().get(id).cloned()
    }

    /// The topic a request names, or the error for one this node does not know.
    pub(crate) fn find(&self, topic: &TopicRef) -> Result<Rc<TopicEntry>, ErrorCode> {
        match topic {
            TopicRef::Name(name) => self.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicRef::Id(id) => self.by_id(id).ok_or(ErrorCode::UnknownTopicId),
        }
    }

    /// Why [`Topics::local_partition`] has none on the shard that owns it. Where the topic is not
    /// known, it was deleted a moment ago, or will be known in one.
    pub(crate) fn why_not_local(&self, topic_id: &Uuid, partition: i32) -> ErrorCode {
        let topic = self.by_id(topic_id);
        match topic.as_ref().and_then(|topic| topic.partition(partition)) {
            Some(entry) if entry.is_opening() => ErrorCode::NotLeaderOrFollower,
            Some(_) => ErrorCode::KafkaStorageError,
            None => ErrorCode::UnknownTopicOrPartition,
        }
    }

    /// The partition, if this shard owns it and can serve it.
    pub(crate) fn serving_partition(
        &self,
        topic_id: &Uuid,
        partition: i32,
    ) -> Result<Rc<Partition>, ErrorCode> {
        match self.local_partition(topic_id, partition) {
            Some(partition) if partition.is_offline() => Err(ErrorCode::KafkaStorageError),
            Some(partition) => Ok(partition),
            None => Err(self.why_not_local(topic_id, partition)),
        }
    }

    /// The partition, if this shard owns it and its log is open.
    pub(crate) fn local_partition(&self, topic_id: &Uuid, partition: i32) -> Option<Rc<Partition>> {
        self.by_id(topic_id)?.partition(partition)?.local().cloned()
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Rc<TopicEntry>> {
        let mut topics: Vec<_> = self.by_id.borrow().values().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Adds the topic or puts it in the place of its earlier entry.
    pub(crate) fn put(&self, entry: TopicEntry) {
        let entry = Rc::new(entry);
        self.by_name.borrow_mut().insert(entry.name.clone(), entry.clone());
        self.by_id.borrow_mut().insert(entry.id, entry);
    }

    /// Forgets the topic and returns what was known of it.
    pub(crate) fn remove(&self, id: &Uuid) -> Option<Rc<TopicEntry>> {
        let entry = self.by_id.borrow_mut().remove(id)?;
        let mut by_name = self.by_name.borrow_mut();
        // A topic of the same name may have been created since.
        if by_name.get(&entry.name).is_some_and(|named| named.id == *id) {
            by_name.remove(&entry.name);
        }
        Some(entry)
    }

    /// The partitions this shard owns, in no order.
    pub(crate) fn local_partitions(&self) -> Vec<Rc<Partition>> {
        let by_id = self.by_id.borrow();
        let entries = by_id.values().flat_map(|topic| &topic.partitions);
        entries.filter_map(|partition| partition.local().cloned()).collect()
    }

    /// The partitions that `shard` owns and whose logs could not be opened, in no order.
    pub(crate) fn unopened_partitions(&self, shard: ShardId) -> Vec<TopicPartition> {
        let mut unopened = Vec::new();
        for topic in self.by_id.borrow().values() {
            let is_unopened =
                |entry: &PartitionEntry| entry.owner == shard && entry.local().is_none();
            let entries = topic.partitions.iter().enumerate();
            let here = entries.filter(|(_, entry)| is_unopened(entry));
            unopened.extend(here.map(|(at, _)| TopicPartition::new(topic.name.clone(), at as i32)));
        }
        unopened
    }

    /// The places of the log directories with logs of this shard that are not open.
    pub(crate) fn unopened_directories(&self) -> HashSet<usize> {
        let by_id = self.by_id.borrow();
        let entries = by_id.values().flat_map(|topic| &topic.partitions);
        entries.filter_map(|entry| entry.replica.as_ref()?.unopened_in()).collect()
    }

    /// Whether logs of this shard are being opened at this moment.
    pub(crate) fn are_being_opened(&self) -> bool {
        let by_id = self.by_id.borrow();
        let mut entries = by_id.values().flat_map(|topic| &topic.partitions);
        entries.any(|entry| entry.replica.as_ref().is_some_and(|replica| replica.is_running()))
    }
}

/// Fences a client that knows an older leader epoch, and sends one that knows a newer one to
/// refresh (KIP-320). -1 means the client does not say.
pub(crate) fn check_leader_epoch(
    client: LeaderEpoch,
    current: LeaderEpoch,
) -> Result<(), ErrorCode> {
    match client {
        client if client < 0 || client == current => Ok(()),
        client if client < current => Err(ErrorCode::FencedLeaderEpoch),
        _ => Err(ErrorCode::UnknownLeaderEpoch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_live_on_different_shards() {
        for seed in 0..100u128 {
            let id = Uuid::from_random(seed << 100 | seed);
            let owners: Vec<u16> = (0..4).map(|index| owner_of(id, index, 4).0).collect();
            let mut sorted = owners.clone();
            sorted.sort();
            assert_eq!(sorted, [0, 1, 2, 3], "{owners:?}");
            assert_eq!(owner_of(id, 3, 1), ShardId(0));
        }
    }
}
