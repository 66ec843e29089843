//! One shard: a pinned thread that owns partitions, connections and a ring, and shares nothing
//! on the data path.
//!
//! [`Shard`] is what the tasks of the thread have in common. It is built when the thread starts;
//! what the node learns later (its identity, its topics) is filled in by jobs from shard 0 before
//! the first connection is accepted.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::BrokerConfig;
use ringlog_metadata::Image;
use ringlog_metrics::ShardMetrics;
use ringlog_quota::{ClientQuotas, Entity};
use ringlog_runtime::sync::{Semaphore, SharedRun};
use ringlog_runtime::{Mesh, Runtime, ShardId};
use ringlog_storage::{DirLocks, StorageOptions, StorageShard};
use ringlog_types::ProducerId;
use smallvec::SmallVec;

use crate::coordinators::Coordinators;
use crate::fetch_session::SessionCache;
use crate::metadata_cache::{ApiVersionsCache, MetadataCache};
use crate::metadata_source::embedded::controller::Controller;
use crate::network::Network;
use crate::network::connection::Peer;
use crate::network::connection_limits::ConnectionLimits;
use crate::network::request_memory::RequestMemory;
use crate::network::turn_metrics::TurnMetrics;
use crate::refused_topics::RefusedTopics;
use crate::replicas::Replicas;
use crate::replicas::storage_metrics::StorageMetrics;
use crate::shared::{CONTROLLER_SHARD, NodeState};

/// Work for another shard. It runs to its first wait at once and owns everything it needs.
pub(crate) type Job = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// The state of one shard, shared by its tasks.
pub(crate) struct Shard {
    pub(crate) rt: Runtime,
    pub(crate) mesh: Mesh<Job>,
    /// The state that all shards of the process have in common.
    pub(crate) node: Arc<NodeState>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) network: Rc<Network>,
    /// The partitions of this shard.
    pub(crate) replicas: Rc<Replicas>,
    config: RefCell<Arc<BrokerConfig>>,
    image: RefCell<Image>,
    pub(crate) coordinators: Coordinators,
    pub(crate) metadata_cache: MetadataCache,
    pub(crate) refused_topics: RefusedTopics,
    pub(crate) api_versions_cache: ApiVersionsCache,
    /// The rest of this shard's block of producer ids.
    producer_ids: RefCell<Range<ProducerId>>,
    pub(crate) fetch_sessions: RefCell<SessionCache>,
    /// On shard 0: keeps other processes out of the directories, as long as the shard lives.
    directory_locks: OnceCell<DirLocks>,
    /// On shard 0: its holder reads or writes the checkpoint files.
    pub(crate) checkpoint_turn: Semaphore,
    /// On shard 0: see [`settle_log_starts`](crate::checkpoints::settle_log_starts).
    pub(crate) log_starts_run: SharedRun<Vec<usize>>,
    /// On shard 0, once the metadata log is open.
    controller: OnceCell<Rc<Controller>>,
    stopped: Cell<bool>,
}

impl Shard {
    pub(crate) fn new(
        rt: Runtime,
        mesh: Mesh<Job>,
        node: Arc<NodeState>,
        connection_limits: Arc<ConnectionLimits>,
    ) -> Rc<Shard> {
        let shards = mesh.shards();
        let config = &node.config;
        let tail_cache_bytes = config.tail_cache_bytes / shards;
        let read_ahead_bytes = tail_cache_bytes / 2;
        let dirty_bytes_max = config.unflushed_bytes_max / shards;
        let request_bytes = (config.request_memory_bytes / shards).max(1 << 20);
        let storage = StorageOptions {
            tail_cache_bytes,
            read_ahead_bytes,
            // No directory takes another's share: what one does not write is its own concern.
            dirty_bytes_max: dirty_bytes_max / config.log_dirs.len().max(1),
            // Beyond all of these together, it is answers that peers do not take.
            buffer_bytes_max: tail_cache_bytes + read_ahead_bytes + dirty_bytes_max + request_bytes,
            buffer_bytes_reserved: request_bytes / 4,
            recovery_checkpoint_bytes: config.recovery_checkpoint_bytes,
            producer_id_expiration_ms: i64::from(config.producer_id_expiration_ms),
            open_segments_max: node
                .descriptors
                .sealed_segments_of_shard
                .min(StorageOptions::default().open_segments_max),
            ..StorageOptions::default()
        };
        let slots = config.max_incremental_fetch_session_cache_slots.max(0) as usize;
        let metrics = node.metrics.shard(rt.shard().0);
        rt.watch_turns(Rc::new(TurnMetrics::new(rt.clone(), metrics.clone())));
        let storage = StorageShard::new(rt.clone(), storage);
        storage.set_observer(Rc::new(StorageMetrics::new(metrics.clone(), node.clone())));
        let replicas = Replicas::new(rt.clone(), shards, node.clone(), metrics.clone(), storage);
        let memory = RequestMemory::new(request_bytes);
        let network =
            Network::new(rt.clone(), node.clone(), metrics.clone(), connection_limits, memory);
        let replicas = Rc::new(replicas);
        Rc::new(Shard {
            metrics,
            network: Rc::new(network),
            coordinators: Coordinators::new(rt.clone(), replicas.clone(), config),
            replicas,
            config: RefCell::new(Arc::new(config.clone())),
            image: RefCell::default(),
            metadata_cache: MetadataCache::default(),
            refused_topics: RefusedTopics::default(),
            api_versions_cache: ApiVersionsCache::default(),
            producer_ids: RefCell::default(),
            fetch_sessions: RefCell::new(SessionCache::new(slots, request_bytes / 8)),
            directory_locks: OnceCell::new(),
            checkpoint_turn: Semaphore::new(1),
            log_starts_run: SharedRun::new(),
            controller: OnceCell::new(),
            stopped: Cell::new(false),
            rt,
            mesh,
            node,
        })
    }

    pub(crate) fn id(&self) -> ShardId {
        self.rt.shard()
    }

    /// Ends the job loop after the job that calls this.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// The node's settings with what was set while running.
    pub(crate) fn config(&self) -> Arc<BrokerConfig> {
        self.config.borrow().clone()
    }

    /// The cluster's metadata as of the last published change. Not to be held across a wait.
    pub(crate) fn image(&self) -> Ref<'_, Image> {
        self.image.borrow()
    }

    /// Goes over to a newer image, and the settings that follow from it.
    pub(crate) fn take_over(&self, image: &Image, config: &Arc<BrokerConfig>) {
        let before = self.image.replace(image.clone());
        let (from, to) = (before.last_offset(), image.last_offset());
        assert!(from <= to, "the metadata go from {from} back to {to}");
        self.config.replace(config.clone());
        if !image.has_the_client_quotas_of(&before) {
            self.network.throttle.set_quotas(client_quotas(image));
        }
        self.forget_cached_answers();
    }

    /// The next id of this shard's block, if one is left.
    pub(crate) fn next_producer_id(&self) -> Option<ProducerId> {
        self.producer_ids.borrow_mut().next()
    }

    /// Goes on with a new block. What is left of the one before is given up.
    pub(crate) fn set_producer_ids(&self, block: Range<ProducerId>) {
        assert!(block.start >= 0 && !block.is_empty(), "a block of ids: {block:?}");
        self.producer_ids.replace(block);
    }

    /// Keeps other processes out of the directories for as long as the shard lives.
    pub(crate) fn keep(&self, locks: DirLocks) {
        assert!(self.directory_locks.set(locks).is_ok(), "a node starts once");
    }

    /// The node's controller, on its shard once the metadata log is open.
    pub(crate) fn controller(&self) -> Option<&Rc<Controller>> {
        self.controller.get()
    }

    pub(crate) fn set_controller(&self, controller: Rc<Controller>) {
        assert_eq!(self.id(), CONTROLLER_SHARD);
        assert!(self.controller.set(controller).is_ok(), "a node starts once");
    }

    /// Notes that a request of `peer` was for partitions of `owner` alone, or of several shards
    /// (`None`), and how many bytes of records it brought or took.
    pub(crate) fn touched(&self, peer: &Peer, owner: Option<ShardId>, bytes: usize) {
        let shards = self.mesh.shards();
        if shards > 1 {
            let busy = |shard| self.mesh.busy_percent(ShardId(shard as u16));
            let busy_percent: SmallVec<[u8; 32]> = (0..shards).map(busy).collect();
            peer.touched(self.id(), owner, bytes, &busy_percent);
        }
    }

    /// Forgets answers that were encoded from an image that is no longer the newest.
    pub(crate) fn forget_cached_answers(&self) {
        self.metadata_cache.clear();
        self.api_versions_cache.clear();
    }
}

/// The quotas of an image, made for looking them up.
fn client_quotas(image: &Image) -> ClientQuotas {
    let quotas = image.client_quotas().flat_map(|(entity, values)| {
        let part = |kind| entity.part(kind);
        let entity = Entity { user: part("user"), client_id: part("client-id"), ip: part("ip") };
        values.iter().map(move |(key, value)| (entity, &**key, *value))
    });
    ClientQuotas::new(quotas)
}
