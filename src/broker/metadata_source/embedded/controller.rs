//! The embedded controller: one change of the metadata at a time is decided on, its records are
//! flushed to `__cluster_metadata-0`, and only then does anybody see it.
//!
//! The controller lives on shard 0. Decisions are `ringlog_metadata::Controller`'s (pure); this
//! file makes their records durable. That all shards serve a change is `publisher`'s.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::BrokerConfig;
use ringlog_metadata::{Controller as Decisions, Decision, Delta, Image, MetadataRecord};
use ringlog_metrics::NodeMetrics;
use ringlog_runtime::sync::{Permit, Semaphore};
use ringlog_storage::Log;
use ringlog_types::{BrokerId, ErrorCode, LeaderEpoch};

use crate::metadata_source::embedded::log::MetadataLog;

/// The controller of this node.
pub(crate) struct Controller {
    decisions: RefCell<Decisions>,
    log: MetadataLog,
    /// One change at a time: its holder decides, writes and publishes.
    turn: Semaphore,
    /// Set when the shards have the first image; changes before that reach them with it.
    publishes: Cell<bool>,
}

impl Controller {
    pub(crate) fn new(decisions: Decisions, log: MetadataLog) -> Controller {
        Controller {
            decisions: RefCell::new(decisions),
            log,
            turn: Semaphore::new(1),
            publishes: Cell::new(false),
        }
    }

    /// The log of the metadata records.
    pub(crate) fn log(&self) -> &Rc<Log> {
        &self.log.log
    }

    /// The epoch in which this start writes the log.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.log.leader_epoch
    }

    /// Whether the last change failed for want of space, which passes.
    pub(crate) fn waits_for_space(&self) -> bool {
        self.log.lacks_space()
    }

    /// Whether the broker was registered before.
    pub(crate) fn knows_broker(&self, id: BrokerId) -> bool {
        self.decisions.borrow().image().broker(id).is_some()
    }

    /// The decisions; not to be held across a wait.
    pub(crate) fn decisions(&self) -> Ref<'_, Decisions> {
        self.decisions.borrow()
    }

    /// Writes a snapshot of the metadata if it is time to; see [`Snapshots::look_after`].
    ///
    /// [`Snapshots::look_after`]: super::snapshots::Snapshots::look_after
    pub(crate) async fn look_after_snapshots(&self) {
        let image = self.decisions().image().clone();
        self.log.snapshots.look_after(&image).await;
        self.log.keep_spare().await;
    }

    /// The turn to make a change: its holder decides, writes and publishes.
    pub(crate) async fn turn(&self) -> Permit {
        self.turn.acquire(1).await
    }

    /// Whether the shards have the first image, so that they have to hear of changes.
    pub(crate) fn publishes(&self) -> bool {
        self.publishes.get()
    }

    /// The cluster's metadata.
    pub(crate) fn image(&self) -> Image {
        self.decisions().image().clone()
    }

    /// Writes the records of a decision, batch by batch. If it fails in the middle, none of them
    /// counts.
    pub(crate) async fn write_all<R>(&self, decision: &Decision<R>) -> Result<Delta, ErrorCode> {
        let mut deltas = Vec::new();
        for batch in decision.batches() {
            match self.write(batch).await {
                Ok(delta) => deltas.push(delta),
                Err(reason) => {
                    tracing::error!(reason, "the metadata cannot be changed");
                    // If that is not possible now either, the next change begins with it.
                    let _ = self.end_unfinished().await;
                    return Err(ErrorCode::KafkaStorageError);
                }
            }
        }
        Ok(merged(deltas))
    }

    /// Writes the end of a transaction that failed in the middle. Anything that was written
    /// before that would be a part of it, and be undone with it at the next start.
    pub(crate) async fn end_unfinished(&self) -> Result<(), ErrorCode> {
        let records = self.decisions().abort_transaction();
        if records.is_empty() {
            return Ok(());
        }
        match self.write(&records).await {
            Ok(_) => Ok(()),
            Err(reason) => {
                tracing::error!(reason, "the metadata stay as they are until a transaction ends");
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    /// Writes one batch of records, waits until it is on disk, and applies it. A batch that does
    /// not fit the image is not written: no start could read past it.
    async fn write(&self, records: &[MetadataRecord<'static>]) -> Result<Delta, String> {
        let mut next = self.decisions().clone();
        let base_offset = self.log.next_offset();
        let delta = next
            .commit(records, base_offset, self.log.leader_epoch)
            .map_err(|error| error.to_string())?;
        let image = self.decisions().image().clone();
        // Boxed: what an append holds while it waits is large, and much waits for it.
        let written = Box::pin(self.log.append(records, &image)).await;
        let written = written.map_err(|error| error.to_string())?;
        assert_eq!(written.base_offset, base_offset, "one change at a time");
        self.decisions.replace(next);
        self.log.snapshots.log_grew(written.bytes, written.timestamp_ms);
        Ok(delta)
    }

    /// The image for shards that have none yet. From now on they get every change.
    pub(crate) fn first_image(&self) -> (Image, Arc<BrokerConfig>) {
        self.publishes.set(true);
        self.newest()
    }

    /// The newest image, and the settings of this node that follow from it.
    pub(crate) fn newest(&self) -> (Image, Arc<BrokerConfig>) {
        let decisions = self.decisions();
        (decisions.image().clone(), decisions.config().clone())
    }

    /// Shows operators what the cluster knows.
    pub(crate) fn count(&self, metrics: &NodeMetrics) {
        let decisions = self.decisions();
        let image = decisions.image();
        let partitions: usize = image.topics().map(|topic| topic.partitions.len()).sum();
        metrics.topics.set(image.topic_count() as i64);
        metrics.partitions.set(partitions as i64);
        metrics.metadata_offset.set(image.last_offset());
    }
}

/// Everything that several batches touched together.
fn merged(deltas: Vec<Delta>) -> Delta {
    let mut merged = Delta::default();
    for delta in deltas {
        // Named one by one: what is new in a delta is not left out unseen.
        let Delta { topics, removed_topics, configs, client_quotas, brokers, features } = delta;
        merged.topics.extend(topics);
        merged.removed_topics.extend(removed_topics);
        merged.configs.extend(configs);
        merged.client_quotas |= client_quotas;
        merged.brokers.extend(brokers);
        merged.features |= features;
    }
    merged
}
