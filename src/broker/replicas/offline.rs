//! Partitions that are not served because of their disk, until the node is started again.
//!
//! The owner of such a partition notices; every shard has to know, because each of them answers
//! Metadata: the partition has no leader there, as when Kafka's controller hears of a failed
//! directory, so that clients wait for one instead of asking this node in vain. When a directory
//! fails, all its logs on all shards follow it (`ReplicaManager.handleLogDirFailure`).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ringlog_runtime::sync::Notify;
use ringlog_types::{BrokerId, ErrorCode, TopicIdPartition, TopicPartition, Uuid};

use crate::replicas::Replicas;
use crate::replicas::topics::TopicEntry;

/// A partition that is offline.
#[derive(Clone)]
pub(crate) struct OfflinePartition {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: Uuid,
    pub(crate) reason: Arc<str>,
}

/// The offline partitions that a shard knows of: those of all shards.
#[derive(Default)]
pub(crate) struct Offline {
    known: RefCell<HashMap<TopicIdPartition, OfflinePartition>>,
    /// Of this shard, noticed and not told yet; each of its partitions is at most once.
    untold: RefCell<Vec<OfflinePartition>>,
    noticed: Notify,
    /// Directories, by their place, whose logs on this shard have followed them.
    followed: RefCell<HashSet<usize>>,
}

impl Offline {
    pub(crate) fn contains(&self, topic_id: Uuid, partition: i32) -> bool {
        self.known.borrow().contains_key(&TopicIdPartition::new(topic_id, partition))
    }

    /// Notes a partition of this shard that went offline while it was served. Called from within
    /// the log that fails, so it only leaves it to be told.
    pub(crate) fn notice(&self, partition: OfflinePartition) {
        self.untold.borrow_mut().push(partition);
        self.noticed.notify_one();
    }

    /// Waits for partitions that were noticed, and takes them to be told.
    pub(crate) async fn take_noticed(&self) -> Vec<OfflinePartition> {
        loop {
            self.noticed.notified().await;
            let noticed = self.untold.take();
            if !noticed.is_empty() {
                return noticed;
            }
        }
    }

    /// Hears of partitions that are offline, of whichever shard.
    pub(crate) fn hear(&self, partitions: &[OfflinePartition]) {
        let known = partitions.iter().map(|partition| {
            let named = TopicIdPartition::new(partition.topic_id, partition.name.partition);
            (named, partition.clone())
        });
        self.known.borrow_mut().extend(known);
    }

    /// Whether the logs of this directory, by its place, have followed it.
    pub(crate) fn is_followed(&self, dir_index: usize) -> bool {
        self.followed.borrow().contains(&dir_index)
    }

    /// Notes that the logs of these directories follow them.
    pub(crate) fn follow(&self, dir_indexes: &[usize]) {
        self.followed.borrow_mut().extend(dir_indexes);
    }

    /// The reason that readiness probes are told: none while all partitions are served.
    pub(crate) fn said(&self) -> Option<String> {
        let known = self.known.borrow();
        let OfflinePartition { name, reason, .. } =
            known.values().min_by(|a, b| a.name.cmp(&b.name))?;
        Some(match known.len() {
            1 => format!("partition {name} is offline: {reason}"),
            count => format!("{count} partitions are offline, such as {name}: {reason}"),
        })
    }

    /// Forgets the partitions of a topic that is deleted.
    pub(crate) fn forget(&self, topic_id: &Uuid) {
        self.known.borrow_mut().retain(|named, _| named.topic_id != *topic_id);
    }
}

/// What Metadata says of a partition's leader.
pub(crate) struct Leader {
    pub(crate) error: ErrorCode,
    pub(crate) id: BrokerId,
    pub(crate) offline_replicas: Vec<BrokerId>,
}

/// The leader of a partition: none while it is offline, or if the metadata know of none.
pub(crate) fn leader(replicas: &Replicas, topic: &TopicEntry, index: usize) -> Leader {
    let partition = &topic.partitions[index];
    if !replicas.offline.contains(topic.id, index as i32) {
        let (id, offline_replicas) = (partition.leader, Vec::new());
        let error = if id.0 < 0 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        return Leader { error, id, offline_replicas };
    }
    let node_id = replicas.shared.config.node_id;
    let here = partition.replicas.iter().copied().filter(|replica| *replica == node_id);
    Leader {
        error: ErrorCode::LeaderNotAvailable,
        id: BrokerId::NONE,
        offline_replicas: here.collect(),
    }
}
