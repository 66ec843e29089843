//! The node as a whole: what its shards have in common, and how it starts and stops.
//!
//! Starting: every shard's thread comes up and waits for jobs; shard 0 opens the directories and
//! the metadata log, hands every shard its partitions (`startup.rs`), and when all of them are
//! open, tells them to listen. Stopping goes the other way (`shutdown.rs`).

pub(crate) mod checkpoints;
pub(crate) mod housekeeping;
pub(crate) mod log_directories;
mod shutdown;
pub(crate) mod simulated;
pub(crate) mod startup;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringlog_admin::metrics::NodeMetrics;
use ringlog_config::{BrokerConfig, IoBackend};
use ringlog_runtime::{Backend, IoChoice, Launch, Mesh, Poster, Runtime, address};
use ringlog_storage::{LogDir, LogDirs};
use ringlog_types::BrokerId;

use crate::authorizer::Authorizer;
use crate::metadata_source::embedded::controller::CONTROLLER_SHARD;
use crate::network::connection_limits::ConnectionLimits;
use crate::router::Job;
use crate::shard::Shard;

/// How long to wait for an address that is in use: a killed node has its own for 12 ms after it.
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often to look meanwhile.
const ADDRESS_RETRY: Duration = Duration::from_millis(5);

/// Why a node could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The operating system refused something; the text says what, and what to do.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// The data directories could not be used.
    #[error(transparent)]
    Storage(#[from] ringlog_storage::StorageError),
    /// The metadata log holds something this version cannot take over.
    #[error("the metadata log: {0}")]
    Metadata(String),
    /// A setting asks for what cannot be had.
    #[error("{0}")]
    Setting(String),
}

/// What clients are told of a broker.
pub(crate) struct BrokerEndpoint {
    pub(crate) id: BrokerId,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// What the shards of a node share: settings, identity and counters. Immutable once set.
pub(crate) struct Common {
    pub(crate) config: BrokerConfig,
    pub(crate) metrics: Arc<NodeMetrics>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    directories: OnceLock<LogDirs>,
    /// How many partitions each directory holds, by its place in `log.dirs`.
    partition_counts: Vec<AtomicUsize>,
    /// Host and port that clients are told.
    advertised: OnceLock<(String, u16)>,
    /// Logs could be opened with less to read than the file of the recovery points says.
    pub(crate) recovery_points_moved: AtomicBool,
    pub(crate) authorizer: Authorizer,
}

impl Common {
    pub(crate) fn new(config: BrokerConfig, metrics: Arc<NodeMetrics>) -> Common {
        Common {
            connection_limits: ConnectionLimits::new(&config, shard_count(&config)),
            partition_counts: config.log_dirs.iter().map(|_| AtomicUsize::new(0)).collect(),
            config,
            metrics,
            directories: OnceLock::new(),
            advertised: OnceLock::new(),
            recovery_points_moved: AtomicBool::new(false),
            authorizer: Authorizer::AllowAll,
        }
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

/// A running node.
pub struct Node {
    threads: ringlog_runtime::Node<Job>,
    address: SocketAddr,
    common: Arc<Common>,
}

/// Stops a node from any thread.
#[derive(Clone)]
pub struct NodeStopper(Poster<Job>);

impl NodeStopper {
    /// Begins a clean stop; [`Node::wait`] returns when it is complete. Calling it again does
    /// no harm.
    pub fn stop(&self) {
        self.0.post(CONTROLLER_SHARD, Box::new(shutdown::begin));
    }
}

impl Node {
    /// Starts a node and returns when it serves.
    ///
    /// # Errors
    /// Directories that cannot be used, an address that is taken, an I/O backend that the
    /// machine refuses. Nothing is left running.
    pub fn start(config: BrokerConfig, metrics: Arc<NodeMetrics>) -> Result<Node, NodeError> {
        let address = free_address(listen_address(&config)?)?;
        let common = Arc::new(Common::new(config, metrics));
        let launch = Launch {
            shards: shard_count(&common.config),
            io: match common.config.io {
                IoBackend::Auto => IoChoice::Auto,
                IoBackend::Uring => IoChoice::Uring,
                IoBackend::Fallback => IoChoice::Fallback,
            },
            pin: common.config.pin_shards,
            name: "shard".into(),
        };
        let (started, outcome) = mpsc::channel();
        let for_shards = common.clone();
        let threads = ringlog_runtime::launch(launch, move |rt, mesh| {
            let started = started.clone();
            // Nobody listens any more when the starting thread has given up.
            let tell = move |outcome| drop(started.send(outcome));
            run_shard(rt, mesh, for_shards.clone(), address, tell)
        })
        .map_err(|error| NodeError::Io("cannot start the shards".into(), error))?;
        match outcome.recv() {
            Ok(Ok(address)) => Ok(Node { threads, address, common }),
            Ok(Err(error)) => {
                // Startup has told every shard to stop.
                drop(threads.join());
                Err(error)
            }
            Err(_) => Err(NodeError::Setting("the shards stopped while starting".into())),
        }
    }

    /// The address clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The backend the shards run on.
    pub fn backend(&self) -> Backend {
        self.threads.backend()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        shard_count(&self.common.config)
    }

    /// A handle to stop the node with.
    pub fn stopper(&self) -> NodeStopper {
        NodeStopper(self.threads.poster())
    }

    /// Waits until the node has stopped.
    ///
    /// # Errors
    /// A shard that could not be joined.
    pub fn wait(self) -> Result<(), NodeError> {
        self.threads.join().map_err(|error| NodeError::Io("a shard failed".into(), error))
    }
}

pub(crate) fn shard_count(config: &BrokerConfig) -> usize {
    match config.shards {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        shards => shards,
    }
}

pub(crate) fn listen_address(config: &BrokerConfig) -> Result<SocketAddr, NodeError> {
    let [listener] = config.listeners.as_slice() else {
        let count = config.listeners.len();
        return Err(NodeError::Setting(format!(
            "listeners has {count} entries; this version serves one PLAINTEXT listener"
        )));
    };
    address::resolve(&listener.host, listener.port).map_err(|error| {
        let host = &listener.host;
        let what = format!("listeners: {host} has no address; name one of this machine");
        NodeError::Io(what, error)
    })
}

/// Checks that nobody else listens there, and finds a port where 0 is given. A node that was killed
/// a moment ago still does, while the kernel takes its rings down.
///
/// The shards share their address by `SO_REUSEPORT`, which would let a second node have it too.
fn free_address(address: SocketAddr) -> Result<SocketAddr, NodeError> {
    let deadline = Instant::now() + ADDRESS_WAIT_MAX;
    let probe = loop {
        match address::bind(address).and_then(|probe| probe.local_addr()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(ADDRESS_RETRY);
            }
            probe => break probe,
        }
    };
    probe.map_err(|error| {
        let what = format!("cannot listen on {address}; choose another with --listen HOST:PORT");
        NodeError::Io(what, error)
    })
}

/// The whole life of one shard. Shard 0 tells whether the node has come up, and where.
pub(crate) async fn run_shard(
    rt: Runtime,
    mesh: Mesh<Job>,
    common: Arc<Common>,
    address: SocketAddr,
    tell: impl FnOnce(Result<SocketAddr, NodeError>) + 'static,
) {
    let shard = Shard::new(rt, mesh, common);
    if shard.id() == CONTROLLER_SHARD {
        let shard = shard.clone();
        shard.rt.clone().spawn(async move {
            // Once, and it is large.
            let outcome = Box::pin(startup::start(&shard, address)).await;
            if outcome.is_err() {
                shutdown::stop_shards(&shard);
            }
            tell(outcome);
        });
    }
    run_jobs(&shard).await;
}

/// Takes up the jobs of other shards and threads until the shard is stopped.
async fn run_jobs(shard: &Rc<Shard>) {
    while !shard.is_stopped() {
        let job = shard.mesh.recv().await;
        shard.metrics.mailbox_messages.increment();
        job(shard);
    }
}
