//! Telling all shards which partitions are offline, and readiness probes with them.

use std::rc::Rc;
use std::sync::Arc;

use crate::replicas::offline::OfflinePartition;
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// Under which reason `/health/ready` names the partitions that are offline.
const UNREADY: &str = "partitions";

/// Tells all shards of the partitions of this one that go offline while they are served; runs as
/// long as the shard.
pub(crate) async fn watch(shard: Rc<Shard>) {
    loop {
        let partitions = shard.replicas.offline.take_noticed().await;
        tell(&shard, partitions).await;
        follow_directories(&shard).await;
    }
}

/// Tells every shard of partitions of this one that are offline.
pub(crate) async fn tell(shard: &Rc<Shard>, partitions: Vec<OfflinePartition>) {
    if partitions.is_empty() {
        return;
    }
    let partitions: Arc<[OfflinePartition]> = partitions.into();
    let hear = move |shard: &Rc<Shard>| {
        shard.replicas.offline.hear(&partitions);
        shard.forget_cached_answers();
        report(shard);
        std::future::ready(())
    };
    shard.on_every_shard(hear).await;
}

/// Takes every log of a directory that went offline with it, on all shards.
pub(crate) async fn follow_directories(shard: &Rc<Shard>) {
    let is_followed = |index: &usize| shard.replicas.offline.is_followed(*index);
    let offline = shard.node.directories().iter().filter(|dir| dir.is_offline());
    let new: Vec<usize> =
        offline.map(|dir| dir.index()).filter(|index| !is_followed(index)).collect();
    if new.is_empty() {
        return;
    }
    let follow = move |shard: &Rc<Shard>| {
        shard.replicas.offline.follow(&new);
        for partition in shard.replicas.topics.local_partitions() {
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
    match shard.replicas.offline.said() {
        Some(said) => shard.node.metrics.set_unready(UNREADY, &said),
        None => shard.node.metrics.clear_unready(UNREADY),
    }
}
