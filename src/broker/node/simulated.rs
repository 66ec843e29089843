//! The node on the simulated runtime, for tests: the same shards, without threads.
//!
//! A machine of a [`Simulation`] boots them, and boots them again at each restart; everything but
//! its disk is new then. What differs from [`crate::Node`] is only what lies outside the shards:
//! no probe for a free address, and no admin server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_metrics::NodeMetrics;
use ringlog_runtime::sim::{NodeId, Simulation};
use ringlog_runtime::{Descriptors, Mesh, Poster, Runtime};

use crate::authorizer::Authorizer;
use crate::error::NodeError;
use crate::node::shutdown;
use crate::node::{NodeParts, listen_address, run_shard};
use crate::shard::Job;
use crate::shared::{CONTROLLER_SHARD, NodeState, shard_count};

/// A node on a simulated machine, through all its restarts. Clones are the same node.
#[derive(Clone, Default)]
pub struct SimulatedNode(Rc<State>);

#[derive(Default)]
struct State {
    authorizer: Cell<Authorizer>,
    throttle_time: Cell<Duration>,
    /// The state that the shards of the present life share. Shard 0 boots first and makes it.
    parts: RefCell<Option<NodeParts>>,
    poster: RefCell<Option<Poster<Job>>>,
    serving: Cell<bool>,
    refused: RefCell<Option<String>>,
}

impl SimulatedNode {
    /// Boots a node on a machine that runs nothing. It serves a little later, at the port of
    /// `listeners`; that address has to be the machine's, or any. `metrics` makes the counters of
    /// each life.
    ///
    /// # Errors
    /// `listeners` is not one address.
    ///
    /// # Panics
    /// The machine runs something already.
    pub fn boot(
        &self,
        simulation: &mut Simulation,
        machine: NodeId,
        config: BrokerConfig,
        metrics: impl Fn() -> Arc<NodeMetrics> + 'static,
    ) -> Result<(), NodeError> {
        let address = listen_address(&config)?;
        let node = self.clone();
        simulation.start(machine, shard_count(&config), move |rt: Runtime, mesh: Mesh<Job>| {
            if rt.shard() == CONTROLLER_SHARD {
                let descriptors = Descriptors::plenty(shard_count(&config));
                node.begin_life(&mesh, NodeState::new(config.clone(), metrics(), descriptors));
            }
            let parts = node.0.parts.borrow().clone().expect("shard 0 boots first");
            let told = node.clone();
            run_shard(rt, mesh, parts, address, move |outcome| told.has_come_up(outcome))
        });
        Ok(())
    }

    fn begin_life(&self, mesh: &Mesh<Job>, mut shared: NodeState) {
        shared.authorizer = self.0.authorizer.get();
        shared.throttle_time = self.0.throttle_time.get();
        self.0.parts.replace(Some(NodeParts::new(shared)));
        self.0.poster.replace(Some(mesh.poster()));
        self.0.serving.set(false);
        self.0.refused.take();
    }

    fn has_come_up<T>(&self, outcome: Result<T, NodeError>) {
        match outcome {
            Ok(_) => self.0.serving.set(true),
            Err(error) => drop(self.0.refused.replace(Some(error.to_string()))),
        }
    }

    /// Whether the present life, or the latest, has come as far as to serve clients.
    pub fn has_served(&self) -> bool {
        self.0.serving.get()
    }

    /// Why the present life did not come up.
    pub fn refused(&self) -> Option<String> {
        self.0.refused.borrow().clone()
    }

    /// Begins a clean stop, as [`crate::NodeHandle::stop`] does; the machine runs nothing any
    /// more when it is complete.
    pub fn stop(&self) {
        if let Some(poster) = &*self.0.poster.borrow() {
            poster.post(CONTROLLER_SHARD, Box::new(shutdown::begin));
        }
    }

    /// Lets nobody do anything in the lives to come, so that a test sees what clients are told.
    pub fn deny_all(&self) {
        self.0.authorizer.set(Authorizer::DenyAll);
    }

    /// Tells all clients to hold back for so long in the lives to come.
    pub fn throttle_all(&self, time: Duration) {
        self.0.throttle_time.set(time);
    }
}
