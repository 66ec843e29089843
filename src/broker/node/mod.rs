//! The node as a whole: what its shards have in common, and how it starts and stops.
//!
//! Starting: every shard's thread comes up and waits for jobs; shard 0 opens the directories and
//! the metadata log, hands every shard its partitions (`startup.rs`), and when all of them are
//! open, tells them to listen. Stopping goes the other way (`shutdown.rs`).

pub(crate) mod compaction;
mod halt;
mod handle;
pub(crate) mod housekeeping;
pub(crate) mod log_directories;
mod shutdown;
pub(crate) mod simulated;
pub(crate) mod startup;

pub use handle::NodeHandle;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringlog_config::{BrokerConfig, IoBackend};
use ringlog_runtime::{Backend, Descriptors, IoChoice, Launch, Mesh, Runtime, address};

use crate::error::NodeError;
use crate::network::connection_limits::ConnectionLimits;
use crate::publisher::offline;
use crate::shard::{Job, Shard};
use crate::shared::{CONTROLLER_SHARD, NodeState, shard_count};

/// How long to wait for an address that is in use: a killed node has its own for 12 ms after it.
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often to look meanwhile.
const ADDRESS_RETRY: Duration = Duration::from_millis(5);

/// With fewer descriptors than this, clients may find no place.
const OPEN_FILES_FEW: usize = 65_536;

/// The parts that a node is made of before its shards start, and each of them gets.
#[derive(Clone)]
pub(crate) struct NodeParts {
    shared: Arc<NodeState>,
    connection_limits: Arc<ConnectionLimits>,
}

impl NodeParts {
    pub(crate) fn new(shared: NodeState) -> NodeParts {
        let shards = shard_count(&shared.config);
        let limits = ConnectionLimits::new(&shared.config, shards, shared.descriptors.connections);
        NodeParts { shared: Arc::new(shared), connection_limits: limits }
    }
}

/// A running node.
pub struct Node {
    threads: ringlog_runtime::Node<Job>,
    address: SocketAddr,
    shared: Arc<NodeState>,
    events: (mpsc::Sender<halt::Event>, mpsc::Receiver<halt::Event>),
}

impl Node {
    /// Starts the node of `handle` and returns when it serves.
    ///
    /// # Errors
    /// Directories that cannot be used, an address that is taken, an I/O backend that the
    /// machine refuses. Nothing is left running.
    pub fn start(config: BrokerConfig, handle: &NodeHandle) -> Result<Node, NodeError> {
        let address = free_address(listen_address(&config)?)?;
        let descriptors = Descriptors::of_process(shard_count(&config));
        tell_descriptors(&descriptors, &config);
        let events = mpsc::channel();
        let mut state = NodeState::new(config, handle.metrics().clone(), descriptors);
        let tell = events.0.clone();
        state.on_halt(move |reason| drop(tell.send(halt::Event::Halting(reason.into()))));
        let parts = NodeParts::new(state);
        let shared = parts.shared.clone();
        let launch = Launch {
            shards: shard_count(&shared.config),
            io: match shared.config.io {
                IoBackend::Auto => IoChoice::Auto,
                IoBackend::Uring => IoChoice::Uring,
                IoBackend::Fallback => IoChoice::Fallback,
            },
            pin: shared.config.pin_shards,
            name: "shard".into(),
        };
        let (started, outcome) = mpsc::channel();
        let threads = ringlog_runtime::launch(launch, move |rt, mesh| {
            let started = started.clone();
            // Nobody listens any more when the starting thread has given up.
            let tell = move |outcome| drop(started.send(outcome));
            run_shard(rt, mesh, parts.clone(), address, tell)
        })
        .map_err(|error| NodeError::Io("cannot start the shards".into(), error))?;
        match outcome.recv() {
            Ok(Ok(address)) => {
                handle.set_serving(threads.poster());
                Ok(Node { threads, address, shared, events })
            }
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
        shard_count(&self.shared.config)
    }

    /// Waits until the node has stopped, because it was told to or has no log directory left.
    ///
    /// # Errors
    /// A shard that could not be joined; no log directory is left. In that case a thread that
    /// hangs on a disk may still run.
    pub fn wait(self) -> Result<(), NodeError> {
        let Node { threads, events: (tell, events), .. } = self;
        let join = move || drop(tell.send(halt::Event::Ended(threads.join())));
        let joining = std::thread::Builder::new().name("join".into()).spawn(join);
        joining.map_err(|error| NodeError::Io("cannot wait for the shards".into(), error))?;
        halt::wait(&events)
    }
}

/// Says how many connections there may be where a small limit of descriptors decides it.
fn tell_descriptors(descriptors: &Descriptors, config: &BrokerConfig) {
    let Descriptors { open_files_max, connections, .. } = *descriptors;
    if open_files_max < OPEN_FILES_FEW && connections < config.max_connections.max(1) as usize {
        tracing::warn!(
            open_files_max,
            connections,
            "few descriptors: as many connections are \
            served at once, and the rest is for storage; raise LimitNOFILE of the unit, or \
            ulimit -n"
        );
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
#[expect(clippy::disallowed_methods, reason = "the shards have not started yet")]
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
    parts: NodeParts,
    address: SocketAddr,
    tell: impl FnOnce(Result<SocketAddr, NodeError>) + 'static,
) {
    let shard = Shard::new(rt, mesh, parts.shared, parts.connection_limits);
    shard.rt.spawn(offline::watch(shard.clone()));
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
