//! Partitions that are not served because of their disk, until the node is started again.
//!
//! The owner of such a partition notices; every shard has to know, because each of them answers
//! Metadata: the partition has no leader there, as when Kafka's controller hears of a failed
//! directory, so that clients wait for one instead of asking this node in vain. When a directory
//! fails, all its logs on all shards follow it (`ReplicaManager.handleLogDirFailure`).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_types::{ErrorCode, TopicPartition, Uuid};

use crate::replicas::topics::TopicEntry;
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// Under which reason `/health/ready` names the partitions that are offline.
const UNREADY: &str = "partitions";

/// A partition that is offline.
#[derive(Clone)]
pub(crate) struct OfflinePartition {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: Uuid,
    pub(crate) reason: Arc<str>,
}

/// What a shard knows of offline partitions: those of all shards.
#[derive(Default)]
pub(crate) struct Offline {
    known: RefCell<HashMap<(Uuid, i32), OfflinePartition>>,
    /// Of this shard, noticed and not told yet. One task tells all that come while it is waiting.
    untold: RefCell<Vec<OfflinePartition>>,
    /// Directories, by their place, whose logs on this shard have followed them.
    followed: RefCell<HashSet<usize>>,
}

impl Offline {
    pub(crate) fn contains(&self, topic_id: Uuid, partition: i32) -> bool {
        self.known.borrow().contains_key(&(topic_id, partition))
    }

    /// Forgets the partitions of a topic that is deleted.
    pub(crate) fn forget(&self, topic_id: &Uuid) {
        self.known.borrow_mut().retain(|(topic, _), _| topic != topic_id);
    }
}

/// What Metadata says of a partition's leader.
pub(crate) struct Leader {
    pub(crate) error: ErrorCode,
    pub(crate) id: i32,
    pub(crate) offline_replicas: Vec<i32>,
}

/// The leader of a partition: none while it is offline, or if the metadata know of none.
pub(crate) fn leader(shard: &Shard, topic: &TopicEntry, index: usize) -> Leader {
    let partition = &topic.partitions[index];
    if !shard.offline.contains(topic.id, index as i32) {
        let (id, offline_replicas) = (partition.leader, Vec::new());
        let error = if id < 0 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        return Leader { error, id, offline_replicas };
    }
    let node_id = shard.node.config.node_id;
    let here = partition.replicas.iter().copied().filter(|replica| *replica == node_id);
    Leader { error: ErrorCode::LeaderNotAvailable, id: -1, offline_replicas: here.collect() }
}

/// Notes a partition of this shard that went offline while it was served, and has every shard
/// told. Called from within the log that fails, so it only starts what has to be done.
pub(crate) fn notice(shard: &Rc<Shard>, partition: OfflinePartition) {
    let is_first = shard.offline.untold.borrow().is_empty();
    shard.offline.untold.borrow_mut().push(partition);
    if is_first {
        let shard = shard.clone();
        shard.rt.clone().spawn(async move {
            let partitions = shard.offline.untold.take();
            tell(&shard, partitions).await;
            follow_directories(&shard).await;
        });
    }
}

/// Tells every shard of partitions of this one that are offline.
pub(crate) async fn tell(shard: &Rc<Shard>, partitions: Vec<OfflinePartition>) {
    if partitions.is_empty() {
        return;
    }
    let partitions: Arc<[OfflinePartition]> = partitions.into();
    let hear = move |shard: &Rc<Shard>| {
        let known = partitions
            .iter()
            .map(|partition| ((partition.topic_id, partition.name.partition), partition.clone()));
        shard.offline.known.borrow_mut().extend(known);
        shard.forget_cached_answers();
        report(shard);
        std::future::ready(())
    };
    shard.on_every_shard(hear).await;
}

/// Takes every log of a directory that went offline with it, on all shards.
pub(crate) async fn follow_directories(shard: &Rc<Shard>) {
    let is_new = |shard: &Shard, index: usize| !shard.offline.followed.borrow().contains(&index);
    let offline = shard.node.directories().iter().filter(|dir| dir.is_offline());
    let new: Vec<usize> =
        offline.map(|dir| dir.index()).filter(|index| is_new(shard, *index)).collect();
    if new.is_empty() {
        return;
    }
    let follow = move |shard: &Rc<Shard>| {
        shard.offline.followed.borrow_mut().extend(new);
        for partition in shard.topics.local_partitions() {
            partition.log.follow_directory();
        }
        std::future::ready(())
    };
    shard.on_every_shard(follow).await;
}

/// On the shard that looks after the node's readiness: says what is offline.
pub(crate) fn report(shard: &Shard) {
    if shard.id() != CONTROLLER_SHARD {
        return;
    }
    let known = shard.offline.known.borrow();
    let named = known.values().min_by(|a, b| a.name.cmp(&b.name));
    let Some(OfflinePartition { name, reason, .. }) = named else {
        return shard.node.metrics.clear_unready(UNREADY);
    };
    let said = match known.len() {
        1 => format!("partition {name} is offline: {reason}"),
        count => format!("{count} partitions are offline, such as {name}: {reason}"),
    };
    shard.node.metrics.set_unready(UNREADY, &said);
}
