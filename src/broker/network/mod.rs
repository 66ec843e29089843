//! A connection's bytes, from the listener to the answer.

pub(crate) mod answers;
pub(crate) mod connection;
pub(crate) mod connection_limits;
pub(crate) mod frames;
pub(crate) mod home;
pub(crate) mod lane;
pub(crate) mod listener;
pub(crate) mod pace;
pub(crate) mod registry;
pub(crate) mod request;
pub(crate) mod request_memory;
pub(crate) mod throttle;
pub(crate) mod turn_metrics;
pub(crate) mod work;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_metrics::ShardMetrics;
use ringlog_runtime::{Runtime, ShardId, WorkOwner};

use crate::network::connection_limits::ConnectionLimits;
use crate::network::home::LastGiven;
use crate::network::listener::Listening;
use crate::network::registry::Connections;
use crate::network::request_memory::RequestMemory;
use crate::network::throttle::{Throttle, Windows};
use crate::shared::NodeState;

/// The state of this room on one shard.
pub(crate) struct Network {
    pub(crate) rt: Runtime,
    pub(crate) shared: Arc<NodeState>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) connections: Connections,
    /// Of the whole node.
    pub(crate) limits: Arc<ConnectionLimits>,
    /// The memory that requests in work and their answers may take.
    pub(crate) memory: Rc<RequestMemory>,
    pub(crate) throttle: Throttle,
    last_given: RefCell<LastGiven>,
    /// How many connections were served here by now.
    served: Cell<u64>,
    /// The task that accepts connections; dropping it closes the listener.
    listening: Cell<Option<Listening>>,
    stopping: Cell<bool>,
    /// Connections that are open only to be closed later.
    turned_away: Cell<usize>,
}

impl Network {
    pub(crate) fn new(
        rt: Runtime,
        shared: Arc<NodeState>,
        metrics: Arc<ShardMetrics>,
        limits: Arc<ConnectionLimits>,
        memory: RequestMemory,
    ) -> Network {
        let throttle = Throttle::new(
            shared.throttle_time,
            shared.buckets.clone(),
            Windows::of(&shared.config),
        );
        Network {
            rt,
            shared,
            metrics,
            connections: Connections::default(),
            limits,
            memory: Rc::new(memory),
            throttle,
            last_given: RefCell::default(),
            served: Cell::new(0),
            listening: Cell::default(),
            stopping: Cell::new(false),
            turned_away: Cell::new(0),
        }
    }

    pub(crate) fn id(&self) -> ShardId {
        self.rt.shard()
    }

    /// In whose name long computations of one more connection are made: another than any other
    /// connection's of the node.
    fn new_work_owner(&self) -> WorkOwner {
        let number = self.served.get() + 1;
        self.served.set(number);
        WorkOwner(u64::from(self.id().0) << 48 | number)
    }

    /// Whether no new connection is taken, and no new request.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Takes no new connection and no new request from now on. Returns whether that is news.
    pub(crate) fn begin_stop(&self) -> bool {
        !self.stopping.replace(true)
    }

    /// Closes the listener.
    pub(crate) fn close_listener(&self) {
        self.listening.take();
    }
}
