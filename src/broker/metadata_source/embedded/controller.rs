//! The embedded controller: one change of the metadata at a time is decided on, its records are
//! flushed to `__cluster_metadata-0`, and only then does anybody see it.
//!
//! It lives on shard 0. Decisions are `ringlog_metadata::Controller`'s (pure); this file gives
//! them chance, makes their records durable, and publishes the new image to the shards. A
//! client's request returns when every shard serves the change, so that the next request on any
//! connection sees it.

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_admin::metrics::NodeMetrics;
use ringlog_metadata::{Controller as Decisions, Decision, Delta, Image, MetadataRecord};
use ringlog_runtime::sync::Semaphore;
use ringlog_storage::Log;
use ringlog_types::{ErrorCode, LeaderEpoch, Uuid};
use ringlog_wire::{Message, Reader};

use crate::checkpoints;
use crate::metadata_source::embedded::log::MetadataLog;
use crate::node::log_directories;
use crate::replicas::apply::{self, Change};
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

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
    pub(crate) fn knows_broker(&self, id: i32) -> bool {
        self.decisions.borrow().image().broker(id).is_some()
    }

    /// What decides; not to be held across a wait.
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

    /// Makes one change: `decide` looks at the image and says what to write and to answer.
    pub(crate) async fn change<R>(
        &self,
        shard: &Rc<Shard>,
        decide: impl FnOnce(&Decisions, u128) -> Decision<R>,
    ) -> Result<R, ErrorCode> {
        let _turn = self.turn.acquire(1).await;
        self.end_unfinished().await?;
        let random = u128::from(shard.rt.random_u64()) << 64 | u128::from(shard.rt.random_u64());
        let decision = decide(&self.decisions(), random);
        let created = checkpoints::created_topics(&decision.records);
        Box::pin(checkpoints::forget_topics(shard, &created)).await.map_err(|error| {
            tracing::error!(%error, "checkpoints may know topics of these names: none is created");
            ErrorCode::KafkaStorageError
        })?;
        let delta = self.write_all(&decision).await?;
        shard.node.metrics.metadata_records.add(decision.records.len() as u64);
        self.count(&shard.node.metrics);
        if !delta.is_empty() && self.publishes.get() {
            let topics = delta.topics.clone();
            Box::pin(self.publish(shard, delta)).await;
            Box::pin(self.record_directories(shard, topics)).await;
        }
        Ok(decision.response)
    }

    /// Records in which directories the shards have made new logs. If that fails, the next start
    /// does it, where it finds them.
    async fn record_directories(&self, shard: &Rc<Shard>, topics: BTreeSet<Uuid>) {
        if topics.is_empty() || shard.node.directories().iter().nth(1).is_none() {
            return;
        }
        let assignments = log_directories::of_topics(shard, topics).await;
        let node_id = shard.node.config.node_id;
        let decision = self.decisions().assign_directories(node_id, &assignments);
        if let Ok(delta) = self.write_all(&decision).await
            && !delta.is_empty()
        {
            self.publish(shard, delta).await;
        }
    }

    /// What the cluster knows.
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
    pub(crate) fn first_image(&self) -> Change {
        self.publishes.set(true);
        self.snapshot()
    }

    /// Shows operators what the cluster knows.
    fn count(&self, metrics: &NodeMetrics) {
        let decisions = self.decisions();
        let image = decisions.image();
        let partitions: usize = image.topics().map(|topic| topic.partitions.len()).sum();
        metrics.topics.set(image.topic_count() as i64);
        metrics.partitions.set(partitions as i64);
        metrics.metadata_offset.set(image.last_offset());
    }

    fn snapshot(&self) -> Change {
        let decisions = self.decisions();
        Change {
            image: decisions.image().clone(),
            config: decisions.config().clone(),
            delta: Arc::default(),
        }
    }

    /// Hands the image to all shards and waits until they serve it.
    async fn publish(&self, shard: &Rc<Shard>, delta: Delta) {
        let change = Change { delta: Arc::new(delta), ..self.snapshot() };
        let delta = change.delta.clone();
        shard.on_every_shard(move |shard| apply::apply(shard.clone(), change)).await;
        let removed = delta.removed_topics.iter().map(|(name, _)| &**name).collect();
        if let Err(error) = checkpoints::forget_topics(shard, &removed).await {
            tracing::error!(%error, "checkpoints still know deleted topics");
        }
    }
}

/// What several batches touched together.
fn merged(deltas: Vec<Delta>) -> Delta {
    let mut merged = Delta::default();
    for delta in deltas {
        merged.topics.extend(delta.topics);
        merged.removed_topics.extend(delta.removed_topics);
        merged.configs.extend(delta.configs);
        merged.brokers.extend(delta.brokers);
        merged.features |= delta.features;
    }
    merged
}

/// Makes a change from any shard.
pub(crate) async fn change<R: Send + 'static>(
    shard: &Rc<Shard>,
    decide: impl FnOnce(&Decisions, u128) -> Decision<R> + Send + 'static,
) -> Result<R, ErrorCode> {
    let on_controller = shard.start_on(CONTROLLER_SHARD, move |shard| {
        let shard = shard.clone();
        // Boxed: what a change holds while it waits would make every request's future large.
        Box::pin(async move {
            let controller = shard.controller.get().expect("set before connections are accepted");
            controller.clone().change(&shard, decide).await
        })
    });
    on_controller.await
}

/// Creates topics that were asked for by name; those that cannot be created stay missing.
pub(crate) async fn auto_create(shard: &Rc<Shard>, names: Vec<Arc<str>>) {
    let created = change(shard, move |decisions, random| {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        decisions.auto_create_topics(&names, random)
    });
    for topic in created.await.unwrap_or_default() {
        match topic.error {
            ErrorCode::None => tracing::info!(topic = %topic.name, "created by being asked for"),
            error => tracing::debug!(topic = %topic.name, %error, "asked for and not created"),
        }
    }
}

/// Decodes a body that the connection's shard has decoded before.
pub(crate) fn decode_again<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> M {
    M::decode(&mut Reader::new(body), version).expect("decoded once before")
}
