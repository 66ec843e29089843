//! The state that the shards of a node share: its settings, its identity, and what they count
//! together.
//!
//! The state is made before the shards start; what startup learns later is set once, before anybody
//! asks.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_metrics::NodeMetrics;
use ringlog_quota::Buckets;
use ringlog_runtime::{Descriptors, ShardId};
use ringlog_storage::{BackgroundRate, LogDir, LogDirs};
use ringlog_types::BrokerId;

use crate::authorizer::Authorizer;

/// The shard that leads start and stop, has the controller and its log, and looks after what is
/// the whole node's.
pub(crate) const CONTROLLER_SHARD: ShardId = ShardId(0);

/// How many clients the node counts apart that have a quota and are using it: 1 MiB of buckets.
const QUOTA_BUCKETS: usize = 1 << 16;

/// A broker as clients are told of it.
pub(crate) struct BrokerEndpoint {
    pub(crate) id: BrokerId,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// The state that the shards of a node share: settings, identity and counters. Immutable once set.
pub(crate) struct NodeState {
    pub(crate) config: BrokerConfig,
    pub(crate) metrics: Arc<NodeMetrics>,
    pub(crate) descriptors: Descriptors,
    directories: OnceLock<LogDirs>,
    /// How many partitions each directory holds, by its place in `log.dirs`.
    partition_counts: Vec<AtomicUsize>,
    /// Host and port that clients are told.
    advertised: OnceLock<(String, u16)>,
    /// What all compactions share.
    pub(crate) compactions: Compactions,
    /// Logs could be opened with less to read than the file of the recovery points says.
    pub(crate) recovery_points_moved: AtomicBool,
    pub(crate) authorizer: Authorizer,
    halting: AtomicBool,
    /// Tells the one who waits for the node that it stops by itself.
    on_halt: Option<OnHalt>,
    /// How long every client is told to hold back; zero outside of tests.
    pub(crate) throttle_time: Duration,
    /// What was used of quotas.
    pub(crate) buckets: Arc<Buckets>,
}

/// What the compactions of all shards share.
#[derive(Default)]
pub(crate) struct Compactions {
    /// What they read and write together.
    pub(crate) rate: Arc<BackgroundRate>,
    /// How many there are.
    pub(crate) running: AtomicUsize,
    /// One has ended since the last checkpoint of where they are.
    pub(crate) ended: AtomicBool,
}

/// Takes the reason.
type OnHalt = Box<dyn Fn(&str) + Send + Sync>;

impl NodeState {
    pub(crate) fn new(
        config: BrokerConfig,
        metrics: Arc<NodeMetrics>,
        descriptors: Descriptors,
    ) -> NodeState {
        NodeState {
            descriptors,
            partition_counts: config.log_dirs.iter().map(|_| AtomicUsize::new(0)).collect(),
            config,
            metrics,
            directories: OnceLock::new(),
            advertised: OnceLock::new(),
            compactions: Compactions::default(),
            recovery_points_moved: AtomicBool::new(false),
            authorizer: Authorizer::AllowAll,
            halting: AtomicBool::new(false),
            on_halt: None,
            throttle_time: Duration::ZERO,
            buckets: Arc::new(Buckets::new(QUOTA_BUCKETS, RandomState::new().hash_one(0))),
        }
    }

    /// Has somebody told when the node stops by itself.
    pub(crate) fn on_halt(&mut self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.on_halt = Some(Box::new(tell));
    }

    /// Notes, once, that the node stops by itself. Returns whether that is news.
    pub(crate) fn halt(&self, reason: &str) -> bool {
        let is_news = !self.halting.swap(true, Ordering::Relaxed);
        if let Some(tell) = self.on_halt.as_ref().filter(|_| is_news) {
            tell(reason);
        }
        is_news
    }

    /// The cluster's id.
    pub(crate) fn cluster_id(&self) -> String {
        self.directories().identity().cluster_id.clone()
    }

    /// The log directories; set by startup before anything else happens.
    pub(crate) fn directories(&self) -> &LogDirs {
        self.directories.get().expect("set by startup")
    }

    pub(crate) fn set_directories(&self, directories: LogDirs) {
        assert!(self.directories.set(directories).is_ok(), "directories are opened once");
    }

    /// The directory for a new partition, which counts from now on.
    pub(crate) fn pick_directory(&self) -> Option<Arc<LogDir>> {
        loop {
            let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            let counts: Vec<usize> = self.partition_counts.iter().map(load).collect();
            let dir = self.directories().pick_dir(&counts)?;
            let (counted, known) = (&self.partition_counts[dir.index()], counts[dir.index()]);
            // Another shard may have chosen it meanwhile; then it may not be the emptiest.
            let taken =
                counted.compare_exchange(known, known + 1, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(dir.clone());
            }
        }
    }

    /// Counts a partition that is in a directory already.
    pub(crate) fn count_partition(&self, dir_index: usize) {
        self.partition_counts[dir_index].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a partition off that has left its directory.
    pub(crate) fn discount_partition(&self, dir_index: usize) {
        self.partition_counts[dir_index].fetch_sub(1, Ordering::Relaxed);
    }

    /// Host and port that clients are told; set by startup before the first of them connects.
    pub(crate) fn advertised(&self) -> (String, u16) {
        self.advertised.get().cloned().expect("set before a connection is accepted")
    }

    pub(crate) fn set_advertised(&self, host: String, port: u16) {
        self.advertised.set((host, port)).expect("the listener is opened once, by startup");
    }

    /// The brokers that clients may use: this one.
    pub(crate) fn brokers(&self) -> Vec<BrokerEndpoint> {
        let (host, port) = self.advertised();
        let rack = self.config.broker_rack.clone();
        vec![BrokerEndpoint { id: self.config.node_id, host, port: i32::from(port), rack }]
    }
}

/// How many shards a node with these settings has.
pub(crate) fn shard_count(config: &BrokerConfig) -> usize {
    match config.shards {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        shards => shards,
    }
}
