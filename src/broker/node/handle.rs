//! A node as other threads know it: what it counts, and the way to its shards.
//!
//! A handle is made before its node, so that monitoring is answered while logs are recovered. It
//! outlives the node; what is asked of a node that does not run is not answered.

use std::sync::{Arc, OnceLock};

use ringlog_metadata::Image;
use ringlog_metrics::NodeMetrics;
use ringlog_runtime::Poster;
use tokio::sync::oneshot;

use crate::node::shutdown;
use crate::shard::{Job, Shard};
use crate::shared::CONTROLLER_SHARD;

/// A node as other threads know it. Clones are of the same node.
#[derive(Clone)]
pub struct NodeHandle(Arc<State>);

struct State {
    metrics: Arc<NodeMetrics>,
    /// From the moment the node serves.
    shards: OnceLock<Poster<Job>>,
}

impl NodeHandle {
    /// Of a node that [`Node::start`](crate::Node::start) starts, once.
    pub fn new(metrics: Arc<NodeMetrics>) -> NodeHandle {
        NodeHandle(Arc::new(State { metrics, shards: OnceLock::new() }))
    }

    /// The counters of the node, and whether it is ready.
    pub fn metrics(&self) -> &Arc<NodeMetrics> {
        &self.0.metrics
    }

    /// The node serves.
    pub(crate) fn set_serving(&self, shards: Poster<Job>) {
        assert!(self.0.shards.set(shards).is_ok(), "a handle is of one node");
        self.0.metrics.set_serving();
    }

    /// Begins a clean stop; [`Node::wait`](crate::Node::wait) returns when it is complete. Calling
    /// it again does no harm. Returns whether there is a node that serves, or did.
    pub fn stop(&self) -> bool {
        let Some(shards) = self.0.shards.get() else { return false };
        self.0.metrics.set_stopping();
        shards.post(CONTROLLER_SHARD, Box::new(shutdown::begin));
        true
    }

    /// The cluster's metadata as the node serves them; `None` if it does not serve.
    pub async fn image(&self) -> Option<Image> {
        self.ask(|shard| shard.image().clone()).await
    }

    /// Asks the controller's shard from any thread. `None` if the node does not serve, or ends
    /// before it has answered.
    async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Shard) -> R + Send + 'static,
    ) -> Option<R> {
        let (tell, answer) = oneshot::channel();
        let shards = self.0.shards.get()?;
        // Whoever asked may have given up by then.
        let job: Job = Box::new(move |shard| drop(tell.send(question(shard))));
        shards.post(CONTROLLER_SHARD, job);
        answer.await.ok()
    }
}
