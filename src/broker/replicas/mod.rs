//! The partitions of this shard: their logs, what is read of them, and who waits for more.

pub(crate) mod apply;
pub(crate) mod message_sets;
pub(crate) mod offline;
pub(crate) mod opening;
pub(crate) mod partition;
pub(crate) mod read;
pub(crate) mod storage_metrics;
pub(crate) mod topics;

use std::sync::Arc;

use ringlog_metrics::ShardMetrics;
use ringlog_runtime::{Runtime, ShardId};
use ringlog_storage::StorageShard;

use crate::replicas::offline::Offline;
use crate::replicas::opening::Openings;
use crate::replicas::topics::Topics;
use crate::shared::NodeState;

/// The state of this room on one shard.
pub(crate) struct Replicas {
    pub(crate) rt: Runtime,
    /// How many shards share the partitions.
    pub(crate) shards: usize,
    pub(crate) shared: Arc<NodeState>,
    pub(crate) metrics: Arc<ShardMetrics>,
    /// The logs of this shard.
    pub(crate) storage: StorageShard,
    pub(crate) topics: Topics,
    pub(crate) offline: Offline,
    pub(crate) openings: Openings,
}

impl Replicas {
    pub(crate) fn new(
        rt: Runtime,
        shards: usize,
        shared: Arc<NodeState>,
        metrics: Arc<ShardMetrics>,
        storage: StorageShard,
    ) -> Replicas {
        let (topics, offline) = (Topics::default(), Offline::default());
        let openings = Openings::default();
        Replicas { rt, shards, shared, metrics, storage, topics, offline, openings }
    }

    pub(crate) fn id(&self) -> ShardId {
        self.rt.shard()
    }
}
